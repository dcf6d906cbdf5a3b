//! Where CUDA's libraries may lie: toolkits, drivers of containers, and the wheels of Python.

use super::library::Libraries;
use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

/// Folders to look in before all others, separated by colons.
pub const SEARCH_VARIABLE: &str = "COPLA_CUDA_LIB";

/// What to try to open for `lib<stem>.so.<suffix>`, one after the other, the suffixes in the order
/// given within each place. A bare name is for the loader: LD_LIBRARY_PATH and its cache.
pub fn candidates(stem: &str, suffixes: &[u32], libraries: &Libraries) -> Vec<PathBuf> {
    if let Libraries::Emulated(folder) = libraries {
        return vec![folder.join(format!("lib{stem}.so"))];
    }
    let names: Vec<String> =
        suffixes.iter().map(|suffix| format!("lib{stem}.so.{suffix}")).collect();
    let in_folders = |folders: Vec<PathBuf>| {
        let paths: Vec<PathBuf> =
            folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name))).collect();
        paths.into_iter().filter(|path| path.is_file())
    };
    let asked_for = listed(SEARCH_VARIABLE);
    let bare = names.iter().map(PathBuf::from);
    in_folders(asked_for).chain(bare).chain(in_folders(usual_folders())).collect()
}

/// Toolkits, then drivers that a container mounts (Kaggle and Colab; WSL), then Python's wheels.
fn usual_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for home in ["CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX"].into_iter().flat_map(listed) {
        folders.extend([home.join("lib64"), home.join("lib")]);
    }
    let toolkits = below(Path::new("/usr/local"), "cuda");
    folders.extend(toolkits.iter().rev().map(|toolkit| toolkit.join("lib64")));
    folders.extend(["/usr/local/nvidia/lib64", "/usr/lib/wsl/lib"].map(PathBuf::from));
    for packages in site_packages() {
        let wheels = below(&packages.join("nvidia"), "");
        folders.extend(wheels.iter().map(|wheel| wheel.join("lib")));
    }
    folders
}

/// Where the Pythons of $VIRTUAL_ENV, of PATH, of the system and of the user keep their packages.
fn site_packages() -> Vec<PathBuf> {
    let mut prefixes = listed("VIRTUAL_ENV");
    let bins = listed("PATH");
    prefixes.extend(
        bins.iter()
            .filter(|bin| bin.ends_with("bin"))
            .filter_map(|bin| bin.parent())
            .map(PathBuf::from),
    );
    prefixes.extend(["/usr/local", "/usr"].map(PathBuf::from));
    prefixes.extend(env::home_dir().map(|home| home.join(".local")));
    let mut seen = BTreeSet::new();
    prefixes.retain(|prefix| seen.insert(prefix.clone()));
    let pythons = prefixes.iter().flat_map(|prefix| below(&prefix.join("lib"), "python3"));
    pythons.flat_map(|lib| ["site-packages", "dist-packages"].map(|name| lib.join(name))).collect()
}

/// The folders that a variable of the environment lists.
fn listed(variable: &str) -> Vec<PathBuf> {
    let value = env::var_os(variable).unwrap_or_default();
    env::split_paths(&value).filter(|path| path.is_absolute()).collect()
}

/// What begins so in a folder, sorted; nothing where there is no such folder.
fn below(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

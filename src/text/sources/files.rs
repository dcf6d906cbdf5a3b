//! Which files a path stands for, and the format of each: one file, a directory's, or a pattern's.

use super::input::{Input, Packing};
use crate::error::{Error, Result};
use crate::formats::hub::{DataFiles, Repo};
use std::path::{Path, PathBuf};

/// How documents are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Csv,
    Tsv,
    Json,
    Jsonl,
    Parquet,
    Text,
}

/// Every format by the name that `format=` takes, and the ends of its files' names.
const FORMATS: [(Format, &str, &[&str]); 6] = [
    (Format::Csv, "csv", &["csv"]),
    (Format::Tsv, "tsv", &["tsv", "tab"]),
    (Format::Json, "json", &["json"]),
    (Format::Jsonl, "jsonl", &["jsonl", "ndjson"]),
    (Format::Parquet, "parquet", &["parquet"]),
    (Format::Text, "text", &["txt", "text"]),
];

impl Format {
    /// Usage error for a name that is none.
    pub fn parse(name: &str) -> Result<Self> {
        let named = FORMATS.iter().find(|(_, own, _)| *own == name.to_lowercase());
        named.map(|(format, ..)| *format).ok_or_else(|| {
            let names: Vec<&str> = FORMATS.iter().map(|(_, name, _)| *name).collect();
            Error::usage("format", names.join(", "), name)
        })
    }

    pub fn name(self) -> &'static str {
        FORMATS.iter().find(|(format, ..)| *format == self).map_or("", |(_, name, _)| name)
    }

    /// By the end of a file's name, behind which `.gz` or `.zst` may stand.
    fn of(path: &Path) -> Option<Self> {
        let end = |path: &Path| Some(path.extension()?.to_str()?.to_lowercase());
        let mut extension = end(path)?;
        if Packing::of_extension(&extension) != Packing::None {
            extension = end(Path::new(path.file_stem()?))?;
        }
        let known = FORMATS.iter().find(|(.., ends)| ends.contains(&extension.as_str()));
        known.map(|(format, ..)| *format)
    }
}

fn known_ends() -> String {
    let ends: Vec<String> =
        FORMATS.iter().flat_map(|(.., ends)| ends.iter().map(|end| format!(".{end}"))).collect();
    format!("a file that ends in {} (.gz or .zst behind it), or format=", ends.join(", "))
}

/// The files that `path` stands for, in the order of their paths, so that a source is read in the same
/// order everywhere; and how many were passed over, for the ends of their names are unknown. That is the
/// file itself; all files below a directory, but for names that begin with a point; or those that match a
/// pattern (`*`, `?`, `[a-z]`, `**`), if it is no path. With a format given, none is passed over.
///
/// Bad data: nothing there; a single file of unknown format; several and none of a known format.
pub(super) fn find(path: &Path, given: Option<Format>) -> Result<(Vec<(Input, Format)>, u64)> {
    let name = path.display().to_string();
    let wrong = |found: String| Err(Error::bad_data(&*name, known_ends(), found));
    let (mut files, mut is_single) = (Vec::new(), false);
    match std::fs::metadata(path) {
        Ok(about) if about.is_dir() => below(path, &mut files)?,
        Err(_) if name.contains(['*', '?', '[']) => matching(&name, &mut files)?,
        Err(error) => return Err(Error::io(path, "a readable file of text", error)),
        Ok(_) => {
            files.push(path.to_path_buf());
            is_single = true;
        }
    }
    files.sort();
    let known = |path: &PathBuf| given.or_else(|| Format::of(path));
    let inputs = files.iter().filter_map(|path| Some((path, known(path)?)));
    let inputs = inputs.map(|(path, format)| Ok((Input::find(path)?, format)));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    match (inputs.len(), files.len()) {
        (0, 0) => wrong("no file".to_string()),
        (0, 1) if is_single => wrong("another end".to_string()),
        (0, all) => wrong(format!("none among {all} files")),
        (read, all) => Ok((inputs, (all - read) as u64)),
    }
}

/// The files of a data set of the hub, each by its name there.
pub(super) fn downloaded(
    repo: &Repo,
    files: &DataFiles,
    given: Option<Format>,
) -> Result<Vec<(Input, Format)>> {
    let input = |file: &String| {
        let path = files.dir.join(file);
        let name = format!("hf:{repo}/{file}");
        let format = given.or_else(|| Format::of(&path));
        let format = format.ok_or_else(|| Error::bad_data(&*name, known_ends(), "another end"))?;
        Ok((Input::find(&path)?.called(name), format))
    };
    files.files.iter().map(input).collect()
}

/// Links to directories are not followed, for they may lead in a circle.
fn below(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |error| Error::io(directory, "a readable directory", error);
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type().map_err(failed)?.is_dir() {
            below(&path, files)?;
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn matching(pattern: &str, files: &mut Vec<PathBuf>) -> Result<()> {
    let paths = glob::glob(pattern)
        .map_err(|error| Error::usage(pattern, "a path or a pattern of paths", error.msg))?;
    for path in paths {
        let path = path.map_err(|error| {
            let (path, error) = (error.path().to_path_buf(), error.into());
            Error::io(&path, "a readable directory", error)
        })?;
        if path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

//! `copla doctor` says what there is, whatever there is; and its check passes where CUDA is emulated.

use serde_json::Value;
use std::process::{Command, Output};

fn doctor(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_copla"));
    command.arg("doctor").args(arguments).envs(environment.iter().copied());
    command.output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The emulator's report by `arguments`; None, with one line, where it cannot be built and need not.
fn emulated(arguments: &[&str]) -> Option<Value> {
    let output = doctor(&[&["--device", "emulated", "--json"], arguments].concat(), &[]);
    if output.stdout.is_empty() && std::env::var_os("COPLA_REQUIRE_EMULATOR").is_none() {
        eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    Some(json(&output))
}

#[test]
fn whatever_there_is_the_last_line_says_where_copla_computes() {
    let output = doctor(&[], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let last = text.lines().last().unwrap();
    let computes = ["copla computes on the CPU", "copla computes on cuda:"];
    assert!(computes.iter().any(|start| last.starts_with(start)), "{text}");
    for line in ["processor  ", "driver     ", "emulator   "] {
        assert!(text.lines().any(|found| found.starts_with(line)), "no {line}in {text}");
    }
}

#[test]
fn every_operation_on_emulated_cuda_agrees_with_the_cpu() {
    let Some(report) = emulated(&["--check"]) else { return };
    assert_eq!(report["machine"]["cards"][0]["device"], "cuda:0");
    let rows = report["check"].as_array().unwrap();
    let failed: Vec<&Value> = rows.iter().filter(|row| !row["failure"].is_null()).collect();
    assert!(rows.len() > 200 && failed.is_empty(), "{failed:#?}");
}

/// NVIDIA's own NVRTC and cuBLAS, found where a virtual environment has them, behind the emulator's
/// driver in the place of NVIDIA's.
#[test]
fn libraries_are_found_and_chosen_for_the_card() {
    let Some(report) = emulated(&[]) else { return };
    let driver = report["machine"]["driver"]["found"].as_str().unwrap();
    let path = driver.split_once('(').unwrap().1.trim_end_matches(')');
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(path, folder.path().join("libcuda.so.1")).unwrap();
    let folder = folder.path().to_str().unwrap();

    let bare = [("COPLA_CUDA_LIB", folder), ("COPLA_EMULATOR_SM", "60"), ("VIRTUAL_ENV", "")];
    let card = json(&doctor(&["--json"], &bare))["machine"]["cards"][0].clone();
    assert_eq!(card["capability"], 60, "{card}");
    for (what, package) in [("compiler", "nvidia-cuda-nvrtc-cu12"), ("blas", "nvidia-cublas-cu12")]
    {
        // Nothing where nothing is installed, or what CUDA 12 the machine itself has.
        let (missing, found) = (card[what]["missing"].as_str(), card[what]["found"].as_str());
        let says = missing.is_some_and(|missing| missing.contains(package));
        assert!(says || found.is_some_and(|found| found.starts_with("12.")), "{card}");
    }
    if std::env::var_os("COPLA_REQUIRE_NVRTC").is_some() {
        let card = json(&doctor(&["--json"], &bare[..2]))["machine"]["cards"][0].clone();
        let found = |what: &str| card[what]["found"].as_str().unwrap_or_default().to_string();
        assert!(found("compiler").starts_with("12.9 (/"), "{card}");
        assert!(found("blas").starts_with("12.9 (/"), "{card}");
    }
}

#[test]
fn a_check_of_what_is_not_there_is_a_clear_error() {
    let output = doctor(&["--check", "--device", "cuda:77"], &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.lines().count() == 1, "{said}");
    assert!(said.starts_with("copla: ") && said.contains("expected"), "{said}");
}

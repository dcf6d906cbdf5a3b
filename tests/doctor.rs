//! `copla doctor` says what there is, whatever there is; and its check passes where CUDA is emulated.

use serde_json::Value;
use std::process::{Command, Output};

fn doctor(arguments: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_copla");
    let mut command = Command::new(binary);
    // No place where libraries might be but those that the machine itself has.
    command.arg("doctor").args(arguments).env_remove("VIRTUAL_ENV").env_remove("COPLA_CUDA_LIB");
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn whatever_there_is_the_last_line_says_where_copla_computes() {
    let output = doctor(&[]);
    let text = stdout(&output);
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
    let output = doctor(&["--check", "--device", "emulated", "--json"]);
    if !output.status.success() && std::env::var_os("COPLA_REQUIRE_EMULATOR").is_none() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        if why.contains("a g++") {
            return eprintln!("skipped: {why}");
        }
    }
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    assert_eq!(report["machine"]["cards"][0]["device"], "cuda:0");
    let rows = report["check"].as_array().unwrap();
    let failed: Vec<&Value> = rows.iter().filter(|row| !row["failure"].is_null()).collect();
    assert!(rows.len() > 200 && failed.is_empty(), "{failed:#?}");
    assert!(output.status.success());
}

#[test]
fn a_check_of_what_is_not_there_is_a_clear_error() {
    let output = doctor(&["--check", "--device", "cuda:77"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.lines().count() == 1, "{said}");
    assert!(said.starts_with("copla: ") && said.contains("expected"), "{said}");
}

//! `copla train` and `copla evaluate` say what they learn from and are measured on, source by source.

use std::path::Path;
use std::process::{Command, Output};

fn copla(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_copla"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap()
}

/// A training of two short steps.
fn quick<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let rows = "--per-device-train-batch-size";
    [&["train", "--max-steps", "2", "--block-size", "16", rows, "2"], more].concat()
}

/// Twenty poems by four authors and in two files, and a copy of the first.
fn poems(dir: &Path) {
    let poem = |i: usize| {
        let line = |j: usize| format!("verso{i}x{j} de la mar{j}{i} y el río{i}\n");
        (0..6).map(line).collect::<String>()
    };
    let row = |i: usize| format!("Autora {},t{i},\"{}\"\n", i % 4, poem(i));
    let table = |rows: std::ops::Range<usize>| {
        "author,title,content\n".to_string() + &rows.map(row).collect::<String>()
    };
    std::fs::write(dir.join("a.csv"), table(0..10) + &row(0)).unwrap();
    std::fs::write(dir.join("b.csv"), table(10..20)).unwrap();
    std::fs::write(dir.join("v.csv"), table(3..5)).unwrap();
}

fn said(dir: &Path, more: &[&str]) -> String {
    let sources = ["--data", "a.csv", "--data", "b.csv", "--output", "model"];
    let ran = copla(&quick(&[&sources, more].concat()), dir);
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    said
}

#[test]
fn what_is_learnt_from_is_cleaned_split_and_told() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    poems(dir);
    let told = said(dir, &["--validation-share", "0.3"]);
    assert!(told.contains("cleaning: 20 of 21 documents"), "{told}");
    assert!(told.contains("duplicates −1"), "{told}");
    assert!(
        told.contains("leaks: 0 validation documents repeat one of training, 0 nearly"),
        "{told}"
    );
    // Of each source, at both validations and at the end.
    for source in ["  a.csv\n", "  b.csv\n"] {
        assert_eq!(told.matches(source).count(), 3, "{told}");
    }

    let told = said(dir, &["--no-clean", "--split-by", "author", "--validation-share", "0.25"]);
    assert!(!told.contains("cleaning:"), "{told}");
    let kept = ["(5 documents kept", "(6 documents kept"];
    assert!(kept.iter().any(|kept| told.contains(kept)), "all of one author: {told}");

    let told = said(dir, &["--validation-file", "v.csv:column=content"]);
    assert!(told.contains("2 documents are not learnt from: they repeat"), "{told}");
    assert!(told.contains("18 documents, ") && told.contains("(2 documents kept"), "{told}");

    let told = said(dir, &["--split-sentences", "90", "--min-chars", "20"]);
    assert!(told.contains("split sentences +"), "{told}");
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let place = tempfile::tempdir().unwrap();
    poems(place.path());
    for more in [
        &["--no-clean", "--min-chars", "9"][..],
        &["--validation-file", "v.csv", "--validation-share", "0.5"],
        &["--validation-file", "v.csv", "--split-by", "author"],
        &["--split-by", "title"],
        &["--data", "b.csv:weight=0.3"],
    ] {
        let ran = copla(&quick(&[&["--data", "a.csv"], more].concat()), place.path());
        assert_eq!(ran.status.code(), Some(2), "{}", String::from_utf8_lossy(&ran.stderr));
    }
}

#[test]
fn an_evaluation_of_several_sources_is_also_one_of_each() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    poems(dir);
    said(dir, &[]);
    let evaluate = |data: &[&str]| {
        let ran = copla(&[&["evaluate", "--model", "model", "--json"], data].concat(), dir);
        serde_json::from_slice::<serde_json::Value>(&ran.stdout).unwrap()
    };
    let both = evaluate(&["--data", "a.csv", "--data", "b.csv"]);
    for (i, file) in ["a.csv", "b.csv"].into_iter().enumerate() {
        let alone = evaluate(&["--data", file]);
        assert_eq!(both["sources"][i]["evaluation"], alone["sources"][0]["evaluation"]);
        assert_eq!(alone["sources"][0]["evaluation"]["loss"], alone["loss"]);
    }
    let number = |value: &serde_json::Value, name: &str| value[name].as_f64().unwrap();
    let [a, b] = [0, 1].map(|i| &both["sources"][i]["evaluation"]);
    let nats = |part| number(part, "loss") * number(part, "tokens");
    assert!((nats(a) + nats(b) - nats(&both)).abs() < 1e-9 * nats(&both));
    assert_eq!(number(a, "chars") + number(b, "chars"), number(&both, "chars"));
    let ran = copla(&["evaluate", "--model", "model", "--data", "a.csv", "--data", "b.csv"], dir);
    let told = String::from_utf8(ran.stdout).unwrap();
    let header = told.lines().find(|line| line.contains("measure")).unwrap();
    assert!(header.contains("all") && header.contains("b.csv"), "{told}");
}

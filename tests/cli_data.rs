//! The promise: `copla data` describes documents and writes clean ones, and says what it removed.

use copla::text::{BpeOptions, Tokenizer};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const CSV: &str = "author,title,content\n\
    Ana,Pan,\"El aÃ±o que viene, maÃ±ana.\r\nOtro verso.\"\n\
    Ana,Pan,\"El año que viene, mañana.\nOtro VERSO.\"\n\
    Luis,Sal,\"¿Quién? —dijo él—. Nadie. La sal y el pan de cada día.\"\n\
    ,Nada,null\n";

fn copla(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_copla")).current_dir(dir).args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn place() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("a.csv"), CSV).unwrap();
    home
}

#[test]
fn documents_are_described() {
    let home = place();
    let dir = home.path();
    Tokenizer::train_bpe(&["x"], &BpeOptions::new(257)).unwrap().save(dir.join("t")).unwrap();
    let arguments = ["data", "report", "a.csv", "--tokenizer", "t", "--context", "8"];
    let found = &json(&copla(dir, &[&arguments[..], &["--json"]].concat()))["statistics"];
    assert_eq!(found["documents"], 4);
    assert_eq!(found["tokens"]["beyond_context"], 3);
    assert_eq!(found["alphabet"][0]["character"], " ");
    let output = copla(dir, &arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["documents beyond 8 tokens", "median", "language", "U+00C3", "El aÃ±o que viene"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn documents_are_cleaned_and_the_account_is_printed() {
    let home = place();
    let dir = home.path();
    let arguments = ["data", "prepare", "a.csv", "--output", "b.jsonl", "--split_sentences", "32"];
    let report = &json(&copla(dir, &[&arguments[..], &["--json"]].concat()))["cleaning"];
    assert_eq!((&report["documents_in"], &report["documents_out"]), (&4.into(), &4.into()));
    let lines = std::fs::read_to_string(dir.join("b.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<&str> = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
    let expected = [
        "El año que viene, mañana.",
        "Otro verso.",
        "¿Quién? —dijo él—. Nadie.",
        "La sal y el pan de cada día.",
    ];
    assert_eq!(texts, expected);
    assert_eq!((&lines[3]["author"], &lines[3]["title"]), (&"Luis".into(), &"Sal".into()));
    let table = String::from_utf8(copla(dir, &arguments).stdout).unwrap();
    assert!(table.contains("near-duplicates") && table.contains("split sentences"), "{table}");
}

#[test]
fn pieces_of_a_document_are_known_again() {
    let home = place();
    let dir = home.path();
    let prepare = |from: &str, to: &str| {
        let output =
            copla(dir, &["data", "prepare", from, "--output", to, "--split-sentences", "32"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read_to_string(dir.join(to)).unwrap()
    };
    let written = prepare("a.csv", "b.jsonl");
    assert_eq!(prepare("a.csv", "c.jsonl"), written, "the same every time");
    let documents = || {
        let source =
            copla::text::Source::parse(&dir.join("b.jsonl").display().to_string()).unwrap();
        let sources = [source];
        let all = copla::text::sources::read(&sources, Default::default());
        all.collect::<copla::Result<Vec<_>>>().unwrap()
    };
    let origins: Vec<String> = documents().iter().map(|one| one.origin.to_string()).collect();
    assert_eq!(origins, ["a.csv, row 1", "a.csv, row 1", "a.csv, row 3", "a.csv, row 3"]);
    for seed in 0..8 {
        let sides = copla::text::split(documents(), 0.5, seed).unwrap();
        let of = |side: &[copla::text::Document]| side[0].origin.row;
        assert_eq!((sides.train.len(), sides.validation.len()), (2, 2));
        assert_ne!(of(&sides.train), of(&sides.validation));
    }
    // Written once more, it says the same of them.
    assert_eq!(prepare("b.jsonl", "d.jsonl"), written);
}

#[test]
fn a_report_is_of_what_is_there_or_of_what_cleaning_leaves() {
    let home = place();
    let report = |more: &[&str]| {
        json(&copla(home.path(), &[&["data", "report", "a.csv", "--json"], more].concat()))
    };
    assert_eq!(report(&[])["cleaning"], Value::Null);
    assert_eq!(report(&[])["statistics"]["documents"], 4);
    for (more, documents) in [(&["--clean"][..], 2), (&["--min-chars", "45"], 1)] {
        let found = report(more);
        assert_eq!(found["cleaning"]["documents_in"], 4);
        assert_eq!(found["statistics"]["documents"], documents, "{more:?}");
        assert_eq!(found["statistics"]["documents"], found["cleaning"]["documents_out"]);
    }
}

#[test]
fn the_context_is_that_of_the_tokenizers_model() {
    let home = place();
    let dir = home.path();
    let steps =
        "--data a.csv --max-steps 1 --block-size 16 --per-device-train-batch-size 2 --output m";
    let train: Vec<&str> = ["train"].into_iter().chain(steps.split(' ')).collect();
    assert!(copla(dir, &train).status.success());
    let found = json(&copla(dir, &["data", "report", "a.csv", "--tokenizer", "m", "--json"]));
    assert_eq!(found["statistics"]["tokens"]["context"], 16);
}

#[test]
fn what_cannot_be_done_is_one_line() {
    let home = place();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--keep-speaker", "Ana"], 5, "no speakers at all"),
        (&["--language", "xx"], 2, "es, pt, ca"),
        (&["--min-language-share", "0.5"], 2, "--language"),
        (&["--near-duplicates", "2"], 2, "at most 1"),
        (&["--split-sentences", "0"], 2, "at least 1"),
        (&["--min-chars", "9999"], 5, "minimum length"),
        (&["nowhere.csv"], 5, "nowhere.csv"),
    ];
    for (arguments, code, part) in cases {
        let all = [&["data", "prepare", "a.csv", "--output", "b.jsonl"], *arguments].concat();
        let output = copla(home.path(), &all);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {message}");
        assert!(message.contains(part) && message.lines().count() == 1, "{message}");
        assert!(!home.path().join("b.jsonl").exists());
    }
}

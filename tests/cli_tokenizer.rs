//! The promise: `copla tokenizer` learns the same tokenizer every time, says how well several fit a text,
//! and `copla train` takes what was learnt.

use copla::text::{BpeOptions, Tokenizer};
use copla::{DType, Device, models};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const POEMS: &str = "La niña pequeña sueña con la mañana.\n\n¿Quién canta? ¡El corazón canta!\n\n\
    La mañana canta, y la niña sueña con el corazón.\n\nEl corazón de la niña pequeña canta.\n";

fn copla(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_copla")).current_dir(dir).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A directory with texts.
fn place() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("a.txt"), POEMS).unwrap();
    home
}

fn learn<'a>(output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["tokenizer", "train", "--data", "a.txt", "--output", output], more].concat()
}

#[test]
fn what_is_learnt_is_saved_and_the_same_every_time() {
    let home = place();
    let dir = home.path();
    let options = ["--vocab-size", "280", "--special_token", "<pad>", "--special-token", "[FIN]"];
    let text = said(&copla(dir, &learn("t", &options)));
    assert!(text.contains("280 tokens learnt from 4 documents"), "{text}");
    // Once more over it, on one thread.
    let first = fs::read(dir.join("t/tokenizer.json")).unwrap();
    let mut again = Command::new(env!("CARGO_BIN_EXE_copla"));
    again.current_dir(dir).args(learn("t", &options)).env("RAYON_NUM_THREADS", "1");
    said(&again.output().unwrap());
    assert!(fs::read(dir.join("t/tokenizer.json")).unwrap() == first);
    let tokenizer = Tokenizer::load(dir.join("t")).unwrap();
    assert_eq!(
        [0, 1, 2].map(|id| tokenizer.token(id).unwrap()),
        ["<|endoftext|>", "<pad>", "[FIN]"]
    );
    assert!(tokenizer.encode("<pad>[FIN]").unwrap().len() > 2);
    assert_eq!(tokenizer.encode_prompt("<pad>[FIN]").unwrap(), [0, 1, 2]);
    assert_eq!(tokenizer.encode(" niña").unwrap().len(), 1);
    // A pair must come so often.
    said(&copla(dir, &learn("rare", &["--min-frequency", "1000"])));
    assert_eq!(Tokenizer::load(dir.join("rare")).unwrap().vocab_size(), 257);
    said(&copla(dir, &learn("c", &["--characters"])));
    assert_eq!(Tokenizer::load(dir.join("c")).unwrap().encode("niña").unwrap().len(), 4);
}

#[test]
fn several_are_compared_on_a_text() {
    let home = place();
    let dir = home.path();
    Tokenizer::train_bpe(&["x"], &BpeOptions::new(257)).unwrap().save(dir.join("bytes")).unwrap();
    Tokenizer::train_bpe(&[POEMS], &BpeOptions::new(300)).unwrap().save(dir.join("own")).unwrap();
    let arguments = ["tokenizer", "stats", "bytes", "own", "--data", "a.txt"];
    let table = said(&copla(dir, &arguments));
    assert!(table.contains("bytes") && table.contains("áéíóúüñÁÉÍÓÚÑ¿¡—"), "{table}");
    let found = said(&copla(dir, &[&arguments[..], &["--json"]].concat()));
    let found: Value = serde_json::from_str(&found).unwrap();
    let [bytes, own] = [0, 1].map(|i| &found["tokenizers"][i]);
    assert_eq!((&bytes["tokenizer"], &own["tokenizer"]), (&"bytes".into(), &"own".into()));
    assert_eq!(bytes["tokens"], POEMS.trim_end().split("\n\n").map(str::len).sum::<usize>());
    let per_word = |row: &Value| row["tokens_per_word"].as_f64().unwrap();
    assert!(per_word(own) < 2.0 && per_word(bytes) > 4.0, "{found}");
    assert!(own["whole_words"].as_f64().unwrap() > 0.3 && bytes["whole_words"] == 0.0, "{found}");
}

#[test]
fn a_model_begins_with_a_tokenizer_that_was_learnt_and_goes_on_with_another() {
    let home = place();
    let dir = home.path();
    said(&copla(dir, &learn("t", &["--vocab-size", "280"])));
    said(&copla(dir, &learn("u", &["--vocab-size", "285", "--special-token", "<pad>"])));
    let run = |more: &[&str]| {
        let quick = ["train", "--data", "a.txt", "--max-steps", "2"];
        let sizes = ["--block-size", "16", "--per-device-train-batch-size", "2"];
        let share = ["--validation-share", "0.3"];
        said(&copla(dir, &[&quick[..], &sizes, &share, more].concat()))
    };
    let text = run(&["--tokenizer", "t", "--output", "m"]);
    assert!(text.contains("vocabulary 280;"), "{text}");
    let same = |a: &str, b: &str| {
        let read = |dir: &Path| fs::read(dir.join("tokenizer.json")).unwrap();
        read(&dir.join(a)) == read(&dir.join(b))
    };
    assert!(same("t", "m"));
    let text = run(&["--model", "m", "--retokenize", "u", "--output", "n"]);
    assert!(
        text.starts_with("vocabulary: 285 tokens in place of 280; 280 were there, 4 begin"),
        "{text}"
    );
    assert!(same("u", "n"));
    let load = models::Pretrained::load;
    let saved = load(&dir.join("n"), models::Use::Inference, DType::F32, Device::Cpu).unwrap();
    assert_eq!((saved.notes, saved.model.vocab_size()), (vec![], 285));
}

#[test]
fn what_cannot_be_done_is_one_line() {
    let home = place();
    let dir = home.path();
    fs::create_dir_all(dir.join("model")).unwrap();
    fs::write(dir.join("model/config.json"), "{}").unwrap();
    fs::create_dir_all(dir.join("other")).unwrap();
    fs::write(dir.join("other/tokenizer.json"), "{}").unwrap();
    fs::write(dir.join("other/poem.txt"), "La luna").unwrap();
    fs::write(dir.join("marks.txt"), "¿?").unwrap();
    let train = |more: &[&'static str]| [&["tokenizer", "train", "--data", "a.txt"], more].concat();
    let stats = |more: &[&'static str]| [&["tokenizer", "stats"], more].concat();
    for (arguments, code, words) in [
        (train(&["--output", "t", "--vocab-size", "256"]), 2, "at least 257"),
        (
            train(&[
                "--output",
                "t",
                "--vocab-size",
                "258",
                "--special-token",
                "<a>",
                "--special-token",
                "<b>",
            ]),
            2,
            "at least 259 (256 bytes, <|endoftext|> and 2 more)",
        ),
        (train(&["--output", "t", "--special-token", ""]), 2, "at least a character"),
        (train(&["--output", "t", "--special-token", "<|endoftext|>"]), 2, "none twice"),
        (train(&["--output", "t", "--special-token", "la"]), 2, "that no text becomes"),
        (train(&["--output", "t", "--special-token", "a"]), 2, "that no text becomes"),
        (train(&["--output", "t", "--min-frequency", "0"]), 2, "at least 1"),
        (
            train(&["--output", "t", "--characters", "--vocab-size", "300"]),
            2,
            "cannot be used with",
        ),
        (train(&["--output", "model"]), 2, "a directory without a model"),
        (train(&["--output", "other"]), 2, "other files"),
        (train(&["--output", "a.txt"]), 2, "found a file"),
        (
            vec!["tokenizer", "train", "--data", "marks.txt", "--output", "t"],
            5,
            "at least one word",
        ),
        (stats(&["./nowhere"]), 5, "no such directory"),
        (stats(&["model"]), 5, "tokenizer.json, or vocab.json and merges.txt"),
        (stats(&[]), 2, "<MODEL>"),
        (vec!["train", "--tokenizer", "model", "--output", "m"], 5, "tokenizer.json"),
        (vec!["train", "--tokenizer", "t", "--vocab-size", "300"], 2, "cannot be used with"),
        (vec!["train", "--retokenize", "t"], 2, "--model"),
    ] {
        let output = copla(dir, &arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        let last = message.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(last.starts_with("copla: ") && last.contains(words), "{arguments:?}: {message}");
        assert!(!dir.join("t").exists() && !dir.join("m").exists(), "{arguments:?}");
    }
}

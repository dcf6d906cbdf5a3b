//! Bad input is answered by one line on stderr, which names the thing, what was expected and what was
//! found, and by the exit code of its kind; nothing half written is left under a final name.

use copla::Device;
use copla::formats::safetensors::{Entry, Weights, save as save_weights};
use copla::models::decoder::{DropoutShares, Options};
use copla::models::{self, Model, gpt2::Gpt2};
use copla::ops::linear::Activation;
use copla::text::{BpeOptions, Tokenizer};
use std::borrow::Cow;
use std::path::Path;
use std::process::{Command, Output};

const USAGE: i32 = 2;
const OUT_OF_MEMORY: i32 = 3;
const DIVERGED: i32 = 4;
const BAD_DATA: i32 = 5;

/// `dir/m`: a model of two layers, width 16, context 24; `dir/verses.txt`: documents.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("m");
    let texts = ["La niña canta en la orilla.", "La luna baja a la orilla del río."];
    let tokenizer = Tokenizer::train_bpe(&texts, &BpeOptions::new(270)).unwrap();
    let options = Options {
        // A few rows more than the tokenizer has tokens, as published models have.
        vocab: 270,
        context: 24,
        width: 16,
        layers: 2,
        heads: 2,
        mlp_width: 64,
        activation: Activation::GeluTanh,
        eps: 1e-5,
        dropout: DropoutShares::default(),
        window: None,
        tied: true,
    };
    let model = Gpt2::new(options, Some(tokenizer.eos().unwrap())).unwrap();
    let mut params = model.layout().unwrap().build(copla::DType::F32, Device::Cpu).unwrap();
    model.initialise(&mut params, 1).unwrap();
    tokenizer.save(&dir).unwrap();
    models::save(&dir, &model, &params).unwrap();
    write(home.path(), "verses.txt", texts.join("\n\n"));
    home
}

fn write(home: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    std::fs::write(home.join(name), bytes).unwrap();
}

fn copla(home: &Path, command: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_copla"))
        .args(command.split_whitespace())
        .current_dir(home)
        .output()
        .unwrap()
}

/// Every file below `home` with its bytes.
fn files(home: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![home.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push((path.display().to_string(), std::fs::read(&path).unwrap())),
            }
        }
    }
    found.sort();
    found
}

/// The command fails with this code and one line that has all `words`, and leaves every file as it was.
fn refused(home: &Path, command: &str, code: i32, words: &[&str]) {
    let before = files(home);
    let output = copla(home, command);
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "copla {command}: {line}");
    assert_eq!(line.lines().count(), 1, "copla {command}: {line}");
    assert!(line.starts_with("copla: "), "copla {command}: {line}");
    for word in words {
        assert!(line.contains(word), "copla {command}: no `{word}` in {line}");
    }
    assert!(output.stdout.is_empty(), "copla {command}: {:?}", output.stdout);
    assert!(files(home) == before, "copla {command} changed files");
}

#[test]
fn the_model_that_all_others_spoil_is_good() {
    let home = home();
    let evaluated = copla(home.path(), "evaluate --model m --data verses.txt --json");
    assert!(evaluated.status.success() && evaluated.stderr.is_empty(), "{evaluated:?}");
    let found: serde_json::Value = serde_json::from_slice(&evaluated.stdout).unwrap();
    let number = |key: &str| found[key].as_f64().unwrap();
    assert_eq!(found.as_object().unwrap().len(), 8);
    assert_eq!(found["sources"][0]["encodings"]["UTF-8"], 1);
    // Untrained, it guesses among its tokens; bits are nats over the text's own length.
    assert!((number("loss") - 270f64.ln()).abs() < 0.1, "{found}");
    assert!((number("perplexity").ln() - number("loss")).abs() < 1e-9, "{found}");
    assert_eq!(number("chars"), 27.0 + 33.0);
    let bits = number("loss") * number("tokens") / std::f64::consts::LN_2;
    assert!((number("bits_per_char") - bits / 60.0).abs() < 1e-9, "{found}");
    assert!((number("bits_per_byte") - bits / 62.0).abs() < 1e-9, "{found}");
    let table = copla(home.path(), "evaluate --model m --data verses.txt").stdout;
    let loss = format!("{:.4}", number("loss"));
    assert!(String::from_utf8(table).unwrap().contains(&loss));

    let table = copla(home.path(), "inspect --model m --text niña");
    assert!(table.status.success(), "{table:?}");
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.lines().next().unwrap().ends_with("probability"), "{table}");
    let dumped = copla(home.path(), "inspect --model m --token-ids 1,2,3 --dump o --gradients");
    assert!(dumped.status.success(), "{dumped:?}");
    let dump = Weights::open(&home.path().join("o")).unwrap();
    assert_eq!(dump.get("logits").unwrap().shape, [1, 3, 270]);
    assert_eq!(dump.get("hidden.2").unwrap().shape, [1, 3, 16]);
    assert_eq!(dump.get("attention.1").unwrap().shape, [1, 2, 3, 3]);
    assert_eq!(dump.get("grad.transformer.h.1.mlp.c_fc.weight").unwrap().shape, [16, 64]);
}

#[test]
fn texts_that_are_none_are_refused() {
    let home = home();
    let home = home.path();
    write(home, "empty.txt", "");
    write(home, "blank.csv", " \n\n");
    write(home, "broken.txt", b"d\xc3\xada ma\xf1");
    write(home, "verses.csv", "author,verse\nAna,verso\n");
    std::fs::create_dir(home.join("no_files")).unwrap();
    write(home, "open.csv", "author,content\nAna,\"verso\n");
    write(home, "one.txt", "un verso solo");
    let of_a_model = "evaluate --model m --data";
    for command in [of_a_model, "train --max-steps 1 --output new --data"] {
        for (file, words) in [
            ("nowhere.txt", "nowhere.txt: expected a readable file of text, found no such file"),
            ("no_files", "no_files: expected a file that ends in .csv, .tsv"),
            ("*.parquet", "*.parquet: expected a file that ends in .csv, .tsv"),
            ("empty.txt", "empty.txt: expected some text, found an empty or blank file"),
            ("blank.csv", "blank.csv: expected some text, found an empty or blank file"),
            ("broken.txt", "broken.txt: expected UTF-8 text, found 0xf1 at byte 7"),
            ("verses.csv", "\"poema\", found the columns \"author\", \"verse\""),
            ("open.csv", "row 1 (line 2): expected a closing quote"),
        ] {
            refused(home, &format!("{command} {file}"), BAD_DATA, &[words]);
        }
    }
    let words = "expected at least two different ones, found 1";
    refused(home, "train --max-steps 1 --output new --data one.txt", BAD_DATA, &[words]);
}

#[test]
fn options_that_cannot_be_are_refused() {
    let home = home();
    let home = home.path();
    write(home, "o", "an older file");
    std::fs::create_dir(home.join("full")).unwrap();
    write(home, "full/notes.txt", "not a model");
    let long = "a".repeat(100);
    for (command, words) in [
        ("sing", "unrecognized subcommand 'sing'"),
        ("evaluate --model m", "--data"),
        ("evaluate --data verses.txt", "copla train"),
        ("evaluate --model m --data verses.txt --jason", "'--jason'"),
        ("evaluate --model m --data verses.txt --format xls", "format: expected csv, tsv, json"),
        ("evaluate --model m --data verses.txt:colum=x", "one of the keys column, author, title"),
        ("train --output new --data verses.txt --data one.txt:take=0", "take: expected a count"),
        ("inspect --model m", "--text"),
        ("inspect --model m --text a --token-ids 1", "cannot be used with"),
        ("inspect --model m --token-ids 1,x", "invalid value 'x'"),
        ("inspect --model m --token-ids -1", "invalid value '-1'"),
        ("inspect --model m --token-ids 1,270", "below the model's 270, found 270"),
        ("inspect --model m --token-ids 1 --gradients", "--dump"),
        ("inspect --model m --token-ids 1 --dump o --gradients", "2 to 24 tokens, found 1"),
        ("inspect --model m --token-ids 1 --dump no/o", "found no directory to hold it"),
        ("inspect --model m --token-ids 1 --dump m", "expected a file to write, found a directory"),
        (&format!("inspect --model m --text {long} --dump o"), "expected 1 to 24 tokens"),
        (&format!("generate --model m --prompt {long}"), "expected 1 to 24 tokens"),
        ("generate --model m --prompt a --temperature -1", "temperature"),
        ("generate --model m --prompt a --top-p 0", "top-p"),
        ("generate --model m --prompt a --num-return-sequences 0", "num-return-sequences"),
        (
            "train --data verses.txt --output full",
            "a directory with other files and no config.json",
        ),
        ("train --data verses.txt --output verses.txt", "found a file"),
        ("train --data verses.txt --output new --preset giant", "--preset: expected one of nano"),
        ("train --data verses.txt --output new --max-steps 0", "--max-steps: expected at least 1"),
        ("train --data verses.txt --output new --vocab-size 9", "at least 257"),
        ("train --data verses.txt --output new --vocab-size 999999999999999999", "vocabulary size"),
        ("train --data verses.txt --output new --learning-rate -1", "--learning-rate: expected a"),
        ("train --data verses.txt --output new --learning-rate nan", "--learning-rate: expected a"),
        ("train --data verses.txt --output new --dropout 1", "--dropout: expected a share"),
        (
            "train --data verses.txt --output new --block-size 0",
            "--block-size: expected at least 1",
        ),
        (
            "train --data verses.txt --output new --validation-share 1",
            "--validation-share: expected",
        ),
        ("train --data verses.txt --output new --warmup-steps -1", "warmup"),
        ("train --data verses.txt --output new --warmup-steps nan", "warmup"),
        (
            "train --data verses.txt --output new --block-size 99999999999999",
            "batch of rows × tokens",
        ),
        (
            "train --data verses.txt --output new --per-device-train-batch-size 9999999999999999",
            "batch of rows × tokens",
        ),
    ] {
        refused(home, command, USAGE, &[words]);
    }
}

/// What is wrong with the configuration `m/config.json` once `from` is replaced by `to`.
fn config_refused(from: &str, to: &str, code: i32, words: &[&str]) {
    let home = home();
    let path = home.path().join("m/config.json");
    let config = std::fs::read_to_string(&path).unwrap();
    assert!(config.contains(from), "no {from} in {config}");
    std::fs::write(&path, config.replace(from, to)).unwrap();
    for command in [
        "inspect --model m --token-ids 1,2 --dump o",
        "evaluate --model m --data verses.txt",
        "generate --model m --prompt La",
    ] {
        refused(home.path(), command, code, words);
    }
}

#[test]
fn configs_that_cannot_be_are_refused() {
    let file = "config.json";
    config_refused(
        "\"gpt2\"",
        "\"gpt9\"",
        BAD_DATA,
        &[file, "model_type: expected gpt2, gpt_neo, bloom or char_lstm, found \"gpt9\""],
    );
    config_refused("\"model_type\"", "\"type\"", BAD_DATA, &[file, "`model_type`"]);
    config_refused("{", "", BAD_DATA, &[file, "a JSON object"]);
    config_refused("\"n_embd\": 16", "\"n_embd\": \"16\"", BAD_DATA, &[file, "`n_embd`"]);
    config_refused(
        "\"gelu_new\"",
        "\"relu\"",
        BAD_DATA,
        &["activation_function", "found relu", "gelu"],
    );
    let heads = "heads that divide the width";
    for n in ["3", "0", "99999999999999999999"] {
        let words = if n.len() > 9 { "`n_head`" } else { heads };
        config_refused("\"n_head\": 2", &format!("\"n_head\": {n}"), BAD_DATA, &[words]);
    }
    for n in ["0", "9999999999"] {
        let to = format!("\"n_layer\": {n}");
        config_refused("\"n_layer\": 2", &to, BAD_DATA, &["1 to 1000 layers", n]);
    }
    config_refused(
        "\"vocab_size\": 270",
        "\"vocab_size\": 0",
        BAD_DATA,
        &["a vocabulary of at least 1"],
    );
    config_refused(
        "\"n_positions\": 24",
        "\"n_positions\": 0",
        BAD_DATA,
        &["a context of at least 1"],
    );
    config_refused(
        "\"n_positions\": 24",
        "\"n_positions\": -4",
        BAD_DATA,
        &["`n_positions`", "-4"],
    );
}

/// What a repository may have in place of what copla needs.
#[test]
fn what_cannot_be_read_is_named_with_its_remedy() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 548118077\n";
    let generate = "generate --model m --prompt a";
    for name in ["model.safetensors", "pytorch_model.bin", "tokenizer.json", "config.json"] {
        let home = home();
        let home = home.path();
        if name == "pytorch_model.bin" {
            std::fs::remove_file(home.join("m/model.safetensors")).unwrap();
        }
        write(home, &format!("m/{name}"), pointer);
        refused(home, generate, BAD_DATA, &[name, "a Git LFS pointer", "git lfs pull"]);
    }
    for name in ["flax_model.msgpack", "tf_model.h5"] {
        let home = home();
        let home = home.path();
        std::fs::rename(home.join("m/model.safetensors"), home.join("m").join(name)).unwrap();
        refused(home, generate, BAD_DATA, &["only", name, "save_pretrained"]);
    }
    let home = home();
    let long = format!("generate --model m --prompt {}", "ñ".repeat(40));
    refused(home.path(), &long, USAGE, &["prompt", "1 to 24 tokens, the model's context"]);
}

#[test]
fn sizes_beyond_the_memory_are_refused() {
    // The file has not so many, so that no memory is asked for them.
    let to = "\"vocab_size\": 10000000000000";
    config_refused("\"vocab_size\": 270", to, BAD_DATA, &["weight", "shape [10000000000000, 16]"]);
    // More than 2^64 bytes, which no number counts.
    for n in ["1000000000000000000", "18446744073709551615"] {
        let to = format!("\"vocab_size\": {n}");
        config_refused("\"vocab_size\": 270", &to, OUT_OF_MEMORY, &["expected"]);
        let to = format!("\"n_positions\": {n}");
        config_refused("\"n_positions\": 24", &to, OUT_OF_MEMORY, &["expected"]);
    }
    // The later of two equal keys counts.
    let to = "\"n_head\": 36028797018963968, \"n_embd\": 9223372036854775808";
    config_refused("\"n_head\": 2", to, OUT_OF_MEMORY, &["parameters"]);
}

/// Writes `m/model.safetensors` anew, from what `change` leaves of its weights.
fn rewrite(home: &Path, change: impl Fn(&mut Vec<(String, Vec<usize>, Vec<u8>)>)) {
    let path = home.join("m/model.safetensors");
    let mut kept: Vec<_> = {
        let weights = Weights::open(&path).unwrap();
        let whole = |name: &str| {
            let stored = weights.get(name).unwrap();
            (name.to_string(), stored.shape.to_vec(), stored.bytes.to_vec())
        };
        weights.names().map(whole).collect()
    };
    change(&mut kept);
    let entries: Vec<Entry> = kept
        .iter()
        .map(|(name, shape, bytes)| {
            Entry::lazy(name, copla::DType::F32, shape, || Ok(Cow::Borrowed(bytes)))
        })
        .collect();
    save_weights(&path, &entries, &[]).unwrap();
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let weights_refused = |spoil: &dyn Fn(&Path), code: i32, words: &[&str]| {
        let home = home();
        spoil(home.path());
        write(home.path(), "o", "an older file");
        for command in [
            "inspect --model m --token-ids 1,2 --dump o",
            "evaluate --model m --data verses.txt",
            "generate --model m --prompt La",
        ] {
            refused(home.path(), command, code, words);
        }
    };
    let file = "model.safetensors";
    let path = |home: &Path| home.join("m").join(file);
    let cut = |home: &Path, share: f64| {
        let bytes = std::fs::read(path(home)).unwrap();
        let length = (bytes.len() as f64 * share) as usize;
        std::fs::write(path(home), &bytes[..length]).unwrap();
    };
    weights_refused(&|home| cut(home, 0.9), BAD_DATA, &[file, "(truncated)"]);
    weights_refused(&|home| cut(home, 0.01), BAD_DATA, &[file, "(truncated)"]);
    weights_refused(&|home| cut(home, 0.0), BAD_DATA, &[file, "found 0 bytes"]);
    weights_refused(
        &|home| write(home, "m/model.safetensors", "PK\x03\x04 zip"),
        BAD_DATA,
        &[file],
    );
    weights_refused(
        &|home| std::fs::remove_file(path(home)).unwrap(),
        BAD_DATA,
        &[file, "no such"],
    );
    let name = "transformer.h.1.mlp.c_fc.weight";
    let place = |kept: &[(String, Vec<usize>, Vec<u8>)]| {
        kept.iter().position(|(other, ..)| other == name).unwrap()
    };
    weights_refused(
        &|home| {
            rewrite(home, |kept| {
                let at = place(kept);
                kept.remove(at);
            })
        },
        BAD_DATA,
        &[file, "expected a weight `transformer.h.1.mlp.c_fc.weight`", "nearest"],
    );
    weights_refused(
        &|home| rewrite(home, |kept| kept.push(("transformer.h.7.x".into(), vec![1], vec![0; 4]))),
        BAD_DATA,
        &[file, "weight `transformer.h.7.x`", "found an unknown one"],
    );
    weights_refused(
        &|home| {
            rewrite(home, |kept| {
                let at = place(kept);
                kept[at].1 = vec![64, 16];
            })
        },
        BAD_DATA,
        &[file, name, "expected shape [16, 64], found [64, 16]"],
    );
}

#[test]
fn a_model_that_is_broken_inside_is_told() {
    let home = home();
    rewrite(home.path(), |kept| kept[0].2.fill(0xff));
    let words = ["evaluation loss: expected a finite number, found NaN"];
    refused(home.path(), "evaluate --model m --data verses.txt", DIVERGED, &words);
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let home = home();
    let home = home.path();
    let path = home.join("m/tokenizer.json");
    std::fs::write(&path, "{\"model\": 7}").unwrap();
    let spoilt = ["m/tokenizer.json: expected a tokenizer"];
    refused(home, "evaluate --model m --data verses.txt", BAD_DATA, &spoilt);
    refused(home, "inspect --model m --text La", BAD_DATA, &spoilt);
    refused(home, "generate --model m --prompt La", BAD_DATA, &spoilt);
    // One with more tokens than the model has rows.
    let texts = ["La niña canta en la orilla. La luna baja a la orilla del río.".repeat(9)];
    Tokenizer::train_bpe(&texts, &BpeOptions::new(300)).unwrap().save(home.join("m")).unwrap();
    let unknown = ["tokenizer: expected ids below the model's 270, or of added tokens, found 270"];
    refused(home, "evaluate --model m --data verses.txt", BAD_DATA, &unknown);
    std::fs::remove_file(&path).unwrap();
    let missing = ["expected tokenizer.json, or vocab.json and merges.txt, found neither"];
    refused(home, "evaluate --model m --data verses.txt", BAD_DATA, &missing);
}

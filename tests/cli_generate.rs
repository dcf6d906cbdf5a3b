//! The promise: `copla generate` prints what it is asked for and nothing else, the same for the same
//! seed, and answers what cannot be done with one clear line and its exit code.

use copla::Device;
use copla::models::decoder::{DropoutShares, Options};
use copla::models::{self, Model, gpt2::Gpt2};
use copla::ops::linear::Activation;
use copla::text::{BpeOptions, Tokenizer};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const CONTEXT: usize = 48;

/// A model of random weights, whose vocabulary is larger than its tokenizer's.
fn save_model(dir: &Path) {
    let texts = ["La niña canta en la orilla.", "La luna baja a la orilla del río."];
    let tokenizer = Tokenizer::train_bpe(&texts, &BpeOptions::new(270)).unwrap();
    let options = Options {
        vocab: tokenizer.vocab_size() + 300,
        context: CONTEXT,
        width: 24,
        layers: 2,
        heads: 2,
        mlp_width: 48,
        activation: Activation::GeluTanh,
        eps: 1e-5,
        dropout: DropoutShares::default(),
        window: None,
        tied: true,
    };
    let model = Gpt2::new(options, Some(tokenizer.eos().unwrap())).unwrap();
    let layout = model.layout().unwrap();
    let mut params = layout.frozen().build(copla::DType::F32, Device::Cpu).unwrap();
    model.initialise(&mut params, 1).unwrap();
    tokenizer.save(dir).unwrap();
    models::save(dir, &model, &params).unwrap();
}

fn copla(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_copla"))
        .arg("generate")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn stdout(dir: &Path, arguments: &[&str]) -> String {
    let output = copla(dir, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn sequences(dir: &Path, arguments: &[&str]) -> Vec<Value> {
    let json: Value = serde_json::from_str(&stdout(dir, arguments)).unwrap();
    assert_eq!(json.as_object().unwrap().len(), 1);
    json["sequences"].as_array().unwrap().clone()
}

#[test]
fn it_writes_what_it_is_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    save_model(&dir.join("runs/coplas"));

    // The usual model, and the text streamed as --json says it, never half a character.
    let asked = ["--prompt", "La niña", "--max-new-tokens", "30", "--seed", "5", "--ignore-eos"];
    let streamed = stdout(dir, &asked);
    let sequence = &sequences(dir, &[&asked[..], &["--json"]].concat())[0];
    assert_eq!(streamed, format!("La niña{}\n", sequence["text"].as_str().unwrap()));
    assert_eq!(sequence["finish_reason"], "length");
    let ids: Vec<u64> =
        sequence["token_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
    assert_eq!(ids.len(), 30);
    let tokenizer = Tokenizer::load(dir.join("runs/coplas")).unwrap();
    assert!(ids.iter().all(|&id| id < tokenizer.vocab_size() as u64), "{ids:?}");

    // Settings are told beside the text, not in it.
    let told = text(&copla(dir, &asked).stderr);
    assert!(told.contains("temperature 0.8, top-p 0.95") && told.contains("seed 5"), "{told}");

    // Underscores do; several sequences, of which the first is the one alone.
    let asked = ["--prompt=La niña", "--max_new_tokens=30", "--seed=5", "--ignore_eos", "--json"];
    let three = sequences(dir, &[&asked[..], &["--num_return_sequences", "3"]].concat());
    assert_eq!((three.len(), &three[0]), (3, sequence));
    let many = stdout(dir, &["--prompt", "La", "--num-return-sequences", "2"]);
    assert!(many.starts_with("--- 1 ---\nLa") && many.contains("\n--- 2 ---\nLa"), "{many}");

    // Greedy asks no seed. A prompt may look like an option; no prompt begins a text.
    let greedy = |seed| {
        stdout(
            dir,
            &["--model", "runs/coplas", "--prompt", "", "--temperature", "0", "--seed", seed],
        )
    };
    assert_eq!(greedy("1"), greedy("2"));
    assert!(stdout(dir, &["--prompt", "--La", "--top-k", "5"]).starts_with("--La"));
}

#[test]
fn it_stops_at_the_context_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    save_model(&dir.join("m"));
    let asked = ["--model", "m", "--prompt", "La", "--ignore-eos", "--json"];
    let output = copla(dir, &[&asked[..], &["--max-new-tokens", "100000000000"]].concat());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let sequence = &json["sequences"][0];
    assert_eq!(sequence["finish_reason"], "length");
    let prompt = Tokenizer::load(dir.join("m")).unwrap().encode_prompt("La").unwrap();
    let added = sequence["token_ids"].as_array().unwrap().len();
    assert_eq!(prompt.len() + added, CONTEXT);
    assert_eq!(text(&output.stderr), "copla: the model's context of 48 tokens is full\n");
}

#[test]
fn what_cannot_be_done_is_one_line() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    save_model(&dir.join("m"));
    save_model(&dir.join("broken"));
    let weights = dir.join("broken/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::create_dir(dir.join("empty")).unwrap();
    let long = "La niña canta en la orilla. ".repeat(60);

    let cases: &[(&[&str], i32, &str)] = &[
        (&[], 2, "copla train"),
        (&["--model", "./nowhere"], 5, "./nowhere: expected a model directory"),
        (&["--model", "empty"], 5, "empty/config.json"),
        (&["--model", "broken"], 5, "model.safetensors"),
        (&["--model", "m", "--prompt", &long], 2, "prompt: expected 1 to 48 tokens"),
        (&["--model", "m", "--temperature", "-1"], 2, "temperature: expected a number, 0 or more"),
        (&["--model", "m", "--temperature", "nan"], 2, "temperature: expected"),
        (&["--model", "m", "--temperature", "inf"], 2, "temperature: expected"),
        (&["--model", "m", "--temperature", "warm"], 2, "'warm' for '--temperature"),
        (&["--model", "m", "--top-p", "0"], 2, "top-p: expected a share above 0, at most 1"),
        (&["--model", "m", "--top_p", "1.5"], 2, "found 1.5"),
        (&["--model", "m", "--top-k", "-1"], 2, "'-1' for '--top-k"),
        (&["--model", "m", "--num-return-sequences", "0"], 2, "num-return-sequences: expected 1"),
        (&["--model", "m", "--max-new-tokens", "0"], 2, "max-new-tokens: expected at least 1"),
        (&["--model", "m", "--seed", "-3"], 2, "--seed"),
        (&["--model", "m", "--temprature", "1"], 2, "'--temprature'"),
    ];
    for &(arguments, code, words) in cases {
        let with_prompt = [&["--prompt", "La"], arguments].concat();
        let arguments = if arguments.contains(&"--prompt") { arguments } else { &with_prompt };
        let output = copla(dir, arguments);
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {line}");
        assert!(line.starts_with("copla: ") && line.contains(words), "{arguments:?}: {line}");
        assert_eq!(line.lines().count(), 1, "{arguments:?}: {line}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    let output = copla(dir, &["--model", "m"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--prompt"));
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let home = tempfile::tempdir().unwrap();
    save_model(&home.path().join("m"));
    let mut copla = Command::new(env!("CARGO_BIN_EXE_copla"))
        .args(["generate", "--model", "m", "--prompt", "La", "--ignore-eos"])
        .current_dir(home.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(copla.stdout.take());
    let output = copla.wait_with_output().unwrap();
    // 128 + SIGPIPE, as a shell reports it.
    assert_eq!(output.status.code(), Some(141));
    assert!(!text(&output.stderr).contains("panic"), "{}", text(&output.stderr));
}

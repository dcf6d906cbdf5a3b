//! The commands take a name on the hub for a model, and end with the right exit code.

use super::server::{Reply, Server, Site};
use copla::Device;
use copla::models::decoder::{DropoutShares, Options};
use copla::models::{self, Model, gpt2::Gpt2};
use copla::ops::linear::Activation;
use copla::text::{BpeOptions, Tokenizer};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A model of random weights with its tokenizer.
fn save_model(dir: &Path) {
    let tokenizer =
        Tokenizer::train_bpe(&["La luna baja a la orilla del río."], &BpeOptions::new(260))
            .unwrap();
    let options = Options {
        vocab: tokenizer.vocab_size(),
        context: 24,
        width: 8,
        layers: 1,
        heads: 2,
        mlp_width: 16,
        activation: Activation::GeluTanh,
        eps: 1e-5,
        dropout: DropoutShares::default(),
        window: None,
        tied: true,
    };
    let model = Gpt2::new(options, Some(tokenizer.eos().unwrap())).unwrap();
    let mut params = model.layout().unwrap().build(copla::DType::F32, Device::Cpu).unwrap();
    model.initialise(&mut params, 1).unwrap();
    tokenizer.save(dir).unwrap();
    models::save(dir, &model, &params).unwrap();
}

/// `copla` in an environment that has these variables only.
pub fn copla(home: &Path, arguments: &str, variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_copla"))
        .args(arguments.split(' '))
        .current_dir(home)
        .env_clear()
        .env("HF_HOME", home.join("hf"))
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_name_on_the_hub_does_for_a_directory() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    save_model(&home.join("m"));
    let names = super::names(&home.join("m"));
    let bytes: Vec<Vec<u8>> =
        names.iter().map(|name| fs::read(home.join("m").join(name)).unwrap()).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(&bytes).map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let server = Site::new("org/verso", &files).start();
    let endpoint = [("HF_ENDPOINT", server.address.as_str())];

    fs::write(home.join("verses.txt"), "La luna baja.").unwrap();
    let commands = [
        "generate --prompt La --max-new-tokens 12 --json --model",
        "inspect --text luna --model",
        "evaluate --data verses.txt --json --model",
    ];
    for (i, command) in commands.iter().enumerate() {
        let local = copla(home, &format!("{command} m"), &[("HF_ENDPOINT", "http://127.0.0.1:1")]);
        let named = copla(home, &format!("{command} org/verso"), &endpoint);
        let told = text(&named.stderr);
        assert!(named.status.success(), "{told}");
        assert_eq!(text(&named.stdout), text(&local.stdout));
        // Downloaded by the first of them.
        assert_eq!(told.contains("downloading model.safetensors: 0 B of"), i == 0, "{told}");
    }
    // A directory of that name goes first.
    fs::create_dir_all(home.join("org/verso")).unwrap();
    let local = copla(home, "inspect --text luna --model org/verso", &endpoint);
    assert!(text(&local.stderr).starts_with("copla: org/verso"), "{}", text(&local.stderr));
}

/// To be compared, a tokenizer needs no weights; the model that is wanted later gets them.
#[test]
fn a_tokenizer_comes_alone() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    save_model(&home.join("m"));
    let names = super::names(&home.join("m"));
    let bytes: Vec<Vec<u8>> =
        names.iter().map(|name| fs::read(home.join("m").join(name)).unwrap()).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(&bytes).map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let server = Site::new("org/verso", &files).start();
    let endpoint = [("HF_ENDPOINT", server.address.as_str())];
    for (command, has_weights) in [
        ("tokenizer stats org/verso", false),
        ("inspect --text luna --model org/verso", true),
        ("tokenizer stats org/verso", false),
    ] {
        let output = copla(home, command, &endpoint);
        let told = text(&output.stderr);
        assert!(output.status.success(), "{told}");
        assert_eq!(told.contains("downloading model.safetensors"), has_weights, "{told}");
    }
}

#[test]
fn what_cannot_be_had_is_one_line_with_its_exit_code() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Reply::new(404, "<html></html>"));
    let there = ("HF_ENDPOINT", server.address.as_str());
    let nowhere = ("HF_ENDPOINT", "http://127.0.0.1:1");
    for (model, variables, code, words) in [
        // The preset of that name is another matter.
        ("gpt2", &[there][..], 5, "gpt2: expected"),
        ("gpt2", &[nowhere], 1, "an answer of http://127.0.0.1:1, or its files in /"),
        ("gpt2", &[nowhere, ("HF_HUB_OFFLINE", "1")], 5, "HF_HUB_OFFLINE is set, found none"),
        ("a/b/c", &[nowhere], 5, "or a name on the hub"),
        ("./gpt2", &[nowhere], 5, "found no such directory"),
        ("gpt2", &[("HF_ENDPOINT", "hub.example")], 2, "HF_ENDPOINT"),
        ("gpt2", &[there, ("HF_TOKEN", "dos líneas")], 2, "HF_TOKEN"),
    ] {
        let output = copla(home.path(), &format!("inspect --text a --model {model}"), variables);
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}");
        assert!(line.starts_with("copla: ") && line.contains(words), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}

//! `copla info`: what is told of a model is what its files hold, without a weight being read.

use copla::formats::safetensors::Weights;
use copla::models::from_config;
use copla::text::{BpeOptions, Tokenizer};
use copla::train::plan;
use copla::{DType, Device};
use golden::FAMILIES;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

mod golden;

fn copla(dir: &Path, arguments: &[&str]) -> Output {
    let command = &mut Command::new(env!("CARGO_BIN_EXE_copla"));
    command.arg("info").args(arguments).current_dir(dir).output().unwrap()
}

fn info(dir: &Path) -> Value {
    let output = copla(dir, &[".", "--json"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn table(dir: &Path) -> String {
    let output = copla(dir, &["."]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A tiny model's files in a directory of their own.
fn tiny(dir: &Path, family: &str) {
    for name in ["config.json", "model.safetensors"] {
        fs::copy(golden::dir(family).join(name), dir.join(name)).unwrap();
    }
}

/// Changes keys of `dir/config.json`.
fn configure(dir: &Path, keys: Value) {
    let path = dir.join("config.json");
    let mut config: Map<String, Value> =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config.extend(keys.as_object().unwrap().clone());
    fs::write(path, Value::Object(config).to_string()).unwrap();
}

#[test]
fn the_lstm_is_told_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    tiny(dir.path(), "char_lstm");
    let found = info(dir.path());
    assert_eq!((&found["family"], &found["architecture"]), (&json!("char_lstm"), &json!(null)));
    let sizes = &found["sizes"];
    assert_eq!((&sizes["layers"], &sizes["vocab_size"]), (&json!(3), &json!(97)));
    // It has no end, so that no context is to be told.
    assert_eq!((&sizes["context"], &sizes["positions"]), (&json!(null), &json!(null)));
    let weights = Weights::open(&dir.path().join("model.safetensors")).unwrap();
    let numel = |name: &str| weights.get(name).unwrap().shape.iter().product::<usize>();
    assert_eq!(found["parameters"], weights.names().map(numel).sum::<usize>());
    let tables = numel("embedding.weight") + numel("head.weight");
    assert_eq!(sizes["embedding_parameters"], tables);
}

#[test]
fn every_decoder_is_told_as_it_is() {
    for family in &FAMILIES[..3] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        tiny(dir, family);
        let found = info(dir);
        assert_eq!(found["family"], *family);
        assert!(
            found["architecture"].as_str().unwrap().ends_with("ForCausalLM") || *family == "gpt2"
        );
        let sizes = &found["sizes"];
        // BLOOM's are no power of two.
        let heads = if *family == "bloom" { 6 } else { 3 };
        for (key, size) in
            [("layers", 3), ("width", 36), ("heads", heads), ("head_dim", 36 / heads)]
        {
            assert_eq!(sizes[key], size, "{family}: {key}");
        }
        assert_eq!((&sizes["vocab_size"], &sizes["tied"]), (&json!(97), &json!(true)));
        let alibi = *family == "bloom";
        assert_eq!(sizes["positions"], if alibi { "ALiBi" } else { "learned" });
        assert_eq!(sizes["window"], if *family == "gpt_neo" { json!(5) } else { json!(null) });

        // Counted in the file, where nothing is twice.
        let weights = Weights::open(&dir.join("model.safetensors")).unwrap();
        let numel = |name: &str| weights.get(name).unwrap().shape.iter().product::<usize>();
        assert_eq!(found["parameters"], weights.names().map(numel).sum::<usize>());
        let tables = ["wte", "wpe", "word_embeddings"].map(|table| format!("{table}.weight"));
        let is_table = |name: &&str| tables.iter().any(|table| name.ends_with(table));
        let tables: usize = weights.names().filter(is_table).map(numel).sum();
        assert_eq!(sizes["embedding_parameters"], tables, "{family}");
        let bytes = fs::metadata(dir.join("model.safetensors")).unwrap().len();
        let file = json!({ "name": "model.safetensors", "bytes": bytes });
        assert_eq!(found["weights"], json!({ "files": [file], "dtypes": ["f32"] }));

        let missing = found["tokenizer"]["missing"].as_str().unwrap();
        assert!(missing.contains("no tokenizer.json"), "{missing}");
        let said = table(dir);
        for words in ["36", "97", "model.safetensors", "f16, bf16", "tokenizer"] {
            assert!(said.contains(words), "{family}: no {words} in {said}");
        }
    }
}

#[test]
fn the_memory_is_the_plan() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    tiny(dir, "bloom");
    configure(dir, json!({ "seq_length": 300 }));
    let found = info(dir);
    let rows = found["memory"].as_array().unwrap();
    let shapes: Vec<_> =
        rows.iter().map(|row| (&row["work"], &row["rows"], &row["time"])).collect();
    let [generate, train] = [json!("generate"), json!("train")];
    let [one, eight, short, long] = [json!(1), json!(8), json!(256), json!(300)];
    let [text, row, batch] =
        [(&generate, &one, &long), (&train, &one, &long), (&train, &eight, &short)];
    assert_eq!(shapes, [text, text, row, batch, row, batch]);
    for (dtype, [text, row, batch]) in [(DType::F32, [0, 2, 3]), (DType::F16, [1, 4, 5])] {
        let model = || from_config(dir).unwrap();
        let expected = [
            (text, plan::generation(&*model(), dtype, 1, 299, 1).unwrap()),
            (row, plan::training(model(), dtype, 1, 300).unwrap()),
            (batch, plan::training(model(), dtype, 8, 256).unwrap()),
        ];
        for (at, plan) in expected {
            for (key, bytes) in serde_json::to_value(plan).unwrap().as_object().unwrap() {
                assert_eq!(&rows[at][key], bytes, "{dtype}: {key} of {}", rows[at]);
            }
            assert_eq!(rows[at]["dtypes"][0], dtype.to_string());
        }
    }
    assert_eq!(rows[1]["dtypes"], json!(["f16", "bf16"]));
}

#[test]
fn no_weight_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // BLOOM-560M at its true size: a head, and two gigabytes of which the disk has nothing.
    let config = json!({
        "model_type": "bloom", "n_embed": 1024, "n_layer": 24, "num_attention_heads": 16,
        "vocab_size": 250_880, "seq_length": 2048,
    });
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let model = from_config(dir).unwrap();
    let params = model.layout().unwrap().frozen().build(DType::F32, Device::Meta).unwrap();
    let mut head = Map::new();
    let mut end = 0;
    for (_, segment) in params.segments() {
        let shape = model.stored(&segment.name).shape(&segment.shape);
        let begin = end;
        end += 4 * shape.iter().product::<usize>();
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, end] });
        head.insert(segment.name.clone(), entry);
    }
    let head = Value::Object(head).to_string();
    let path = dir.join("model.safetensors");
    let start = [&(head.len() as u64).to_le_bytes()[..], head.as_bytes()].concat();
    fs::write(&path, &start).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len((start.len() + end) as u64).unwrap();

    let found = info(dir);
    assert_eq!(found["parameters"], 559_214_592);
    assert_eq!(found["weights"]["files"][0]["bytes"], start.len() + end);
    assert_eq!(found["sizes"]["embedding_parameters"], 250_880 * 1024);
    // Values, gradients, m and v of training in f32.
    let peak = found["memory"][2]["peak"].as_u64().unwrap();
    assert!(peak > 16 * 559_214_592, "{peak}");
}

#[test]
fn what_a_directory_lacks_is_told_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    tiny(dir, "gpt2");
    let weights = |words: &str| {
        let found = info(dir);
        let missing = found["weights"]["missing"].as_str().unwrap();
        assert!(missing.contains(words), "{missing}");
        assert!(found["parameters"].as_u64().unwrap() > 0);
        assert!(table(dir).contains(words));
    };
    let path = dir.join("model.safetensors");
    fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:1\n").unwrap();
    weights("a Git LFS pointer to one (git lfs pull fetches it)");
    fs::remove_file(&path).unwrap();
    weights("found no such file");
    fs::write(dir.join("flax_model.msgpack"), "").unwrap();
    weights("only flax_model.msgpack");
    let pickle = golden::dir("gpt2").join("../torch/gpt2/zip.bin");
    fs::copy(pickle, dir.join("pytorch_model.bin")).unwrap();
    let found = info(dir);
    assert_eq!(found["weights"]["dtypes"], json!(["f32"]));
    assert_eq!(found["weights"]["files"][0]["name"], "pytorch_model.bin");
}

#[test]
fn the_tokenizer_and_what_the_files_disagree_on_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    tiny(dir, "gpt2");
    let texts = ["La niña canta en la orilla.", "La luna baja a la orilla del río."];
    let trained = Tokenizer::train_bpe(&texts, &BpeOptions::new(265)).unwrap();
    assert_eq!(trained.vocab_size(), 265);
    trained.save(dir).unwrap();
    configure(dir, json!({ "vocab_size": 300, "eos_token_id": 50256 }));
    let found = info(dir);
    let tokenizer = &found["tokenizer"];
    assert_eq!((&tokenizer["kind"], &tokenizer["tokens"]), (&json!("BPE"), &json!(265)));
    let special = tokenizer["special"].as_array().unwrap();
    let eos = json!({ "name": "eos_token", "id": 0, "token": "<|endoftext|>" });
    assert!(special.contains(&eos), "{special:?}");
    let notes = tokenizer["notes"].to_string();
    assert!(notes.contains("eos_token_id is 50256"), "{notes}");
    let said = table(dir);
    assert!(said.contains("BPE, 265 tokens") && said.contains("50256"), "{said}");
    // An added token without a row, for which the embedding will grow.
    let config = json!({ "eos_token": "<|endoftext|>", "pad_token": "<pad>" });
    fs::write(dir.join("tokenizer_config.json"), config.to_string()).unwrap();
    configure(dir, json!({ "vocab_size": 265, "eos_token_id": 0 }));
    let found = info(dir);
    let notes = found["tokenizer"]["notes"].to_string();
    assert!(notes.contains("grows from 265 rows to 266, for <pad>"), "{notes}");
    assert_eq!(found["sizes"]["vocab_size"], 266);
    // One of another model, and a broken one, are told in their place.
    configure(dir, json!({ "vocab_size": 200 }));
    let missing = info(dir)["tokenizer"]["missing"].to_string();
    assert!(missing.contains("ids below the model's 200"), "{missing}");
    fs::write(dir.join("tokenizer.json"), "{}").unwrap();
    let missing = info(dir)["tokenizer"]["missing"].to_string();
    assert!(missing.contains("tokenizer.json"), "{missing}");
}

#[test]
fn where_a_model_came_from_is_told() {
    let home = tempfile::tempdir().unwrap();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let dir = home.path().join("models--datificate--gpt2-small-spanish/snapshots").join(commit);
    fs::create_dir_all(&dir).unwrap();
    tiny(&dir, "gpt2");
    configure(&dir, json!({ "_name_or_path": "gpt2", "transformers_version": "4.9.0" }));
    fs::write(dir.join("trainer_state.json"), r#"{"global_step": 1200}"#).unwrap();
    let expected = json!({
        "name_or_path": "gpt2",
        "hub": { "repository": "datificate/gpt2-small-spanish", "commit": commit },
        "transformers_version": "4.9.0",
        "trained_steps": 1200,
    });
    assert_eq!(info(&dir)["origin"], expected);
    let said = table(&dir);
    assert!(said.contains(&format!("datificate/gpt2-small-spanish at {commit}")), "{said}");
    assert!(said.contains("1200 steps"), "{said}");
    fs::write(dir.join("trainer_state.json"), "no state").unwrap();
    configure(&dir, json!({ "_name_or_path": "", "transformers_version": null }));
    let moved = home.path().join("plain");
    fs::rename(&dir, &moved).unwrap();
    let nothing = json!({
        "name_or_path": null, "hub": null, "transformers_version": null, "trained_steps": null,
    });
    assert_eq!(info(&moved)["origin"], nothing);
}

#[test]
fn what_is_no_model_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let refused = |arguments: &[&str], code: i32, words: &str| {
        let output = copla(home, arguments);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {line}");
        assert_eq!(line.lines().count(), 1, "{arguments:?}: {line}");
        assert!(line.contains(words) && output.stdout.is_empty(), "{arguments:?}: {line}");
    };
    refused(&["./nowhere"], 5, "./nowhere");
    refused(&["."], 5, "config.json");
    refused(&[], 2, "copla train");
    refused(&["a", "b"], 2, "'b'");
    tiny(home, "gpt2");
    configure(home, json!({ "model_type": "gpt9" }));
    refused(&["."], 5, "\"gpt9\"");
    configure(home, json!({ "model_type": "gpt2", "n_layer": "three" }));
    refused(&["."], 5, "`n_layer`");
    // A context that no batch has is planned as far as one goes; parameters beyond memory are refused.
    configure(home, json!({ "n_layer": 1, "n_positions": 10_000_000 }));
    assert_eq!(info(home)["memory"][0]["time"], 1 << 16);
    configure(home, json!({ "n_positions": 1_000_000_000_000_000_000u64 }));
    refused(&["."], 3, "parameters");
}

//! `copla convert`: whatever a model is stored in, what comes out is the same model, in safetensors and in
//! the dtype asked for; or nothing comes out, and one line says why.

use copla::formats::safetensors::{Entry, Weights, save as save_weights};
use copla::formats::weights;
use copla::inspect::{Depth, inspect};
use copla::models::{Use, load};
use copla::text::Tokenizer;
use copla::{DType, Device};
use golden::FAMILIES;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

mod golden;

const USAGE: i32 = 2;
const BAD_DATA: i32 = 5;

fn copla(home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_copla"))
        .arg("convert")
        .args(arguments)
        .current_dir(home)
        .output()
        .unwrap()
}

fn convert(home: &Path, arguments: &[&str]) -> String {
    let output = copla(home, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The command fails with this code and one line that has all `words`, and writes nothing.
fn refused(home: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    let names = || {
        let entries = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.collect();
        names.sort();
        names
    };
    let before = names();
    let output = copla(home, arguments);
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {line}");
    assert_eq!(line.lines().count(), 1, "{arguments:?}: {line}");
    assert!(words.iter().all(|word| line.contains(word)), "{arguments:?}: {line}");
    assert_eq!(names(), before, "{arguments:?}");
}

/// The bits of the logits for one text, computed with the weights in `dtype`.
fn logits(dir: &Path, dtype: DType) -> Vec<u32> {
    let (model, params) = load(dir, Use::Inference, dtype, Device::Cpu).unwrap();
    let ids: Vec<u32> = (0..23).map(|i| i * 29 % 97).collect();
    let seen = inspect(&*model, &params, &ids, Depth::Logits).unwrap();
    seen.logits.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

/// `m` in `home`: a tiny model of that family, in f32 and without a tokenizer.
fn tiny(home: &Path, family: &str) {
    let dir = home.join("m");
    fs::create_dir(&dir).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(golden::dir(family).join(name), dir.join(name)).unwrap();
    }
}

fn files(dir: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn every_family_stays_what_it_is_in_every_dtype() {
    for family in FAMILIES {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        tiny(home, family);
        let said = convert(home, &["m", "--output", "same"]);
        assert!(said.contains("parameters in f32, without a tokenizer"), "{said}");
        assert_eq!(
            files(&home.join("same")),
            ["config.json", "generation_config.json", "model.safetensors"]
        );
        assert!(logits(&home.join("same"), DType::F32) == logits(&home.join("m"), DType::F32));
        for (dtype, name) in [(DType::F16, "f16"), (DType::BF16, "bf16")] {
            // What is rounded when it is converted is what would be rounded when it is loaded,
            convert(home, &["m", "--output", name, "--dtype", name]);
            let expected = logits(&home.join("m"), dtype);
            assert!(logits(&home.join(name), dtype) == expected, "{family} in {name}");
            let config = read_json(&home.join(name).join("config.json"));
            let said = [&config["dtype"], &config["torch_dtype"]].map(|said| said.as_str());
            assert!(said.contains(&Some(if name == "f16" { "float16" } else { "bfloat16" })));
            assert!(!said.contains(&Some("float32")), "{config}");
            // and what is widened again loses nothing.
            let wide = format!("{name}_wide");
            let said = convert(home, &[name, "--output", &wide, "--dtype", "f32"]);
            assert!(said.contains(&format!("in f32 (before: {name})")), "{said}");
            let [narrow, wide] = [name, &wide]
                .map(|name| Weights::open(&home.join(name).join("model.safetensors")).unwrap());
            for name in narrow.names() {
                let (narrow, wide) = (narrow.get(name).unwrap(), wide.get(name).unwrap());
                assert_eq!((narrow.dtype, wide.dtype), (dtype, DType::F32));
                assert!(narrow.to_f32().unwrap() == wide.to_f32().unwrap(), "{family}: {name}");
            }
            // Unasked, a dtype stays.
            let again = format!("{name}_again");
            convert(home, &[name, "--output", &again]);
            let bytes = |name: &str| fs::read(home.join(name).join("model.safetensors")).unwrap();
            assert!(bytes(name) == bytes(&again), "{family} in {name}");
        }
    }
}

#[test]
fn a_pickle_becomes_safetensors() {
    for form in ["zip.bin", "old.bin"] {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        tiny(home, "gpt2");
        let expected = logits(&home.join("m"), DType::F32);
        fs::remove_file(home.join("m/model.safetensors")).unwrap();
        let pickle = golden::dir("gpt2").join("../torch/gpt2").join(form);
        fs::copy(pickle, home.join("m/pytorch_model.bin")).unwrap();
        let said: Value =
            serde_json::from_str(&convert(home, &["m", "--output", "s", "--json"])).unwrap();
        assert_eq!((&said["dtype"], &said["tokenizer"]), (&json!("f32"), &json!(false)));
        assert!(logits(&home.join("s"), DType::F32) == expected, "{form}");
        // The masks that such files carry are no weights, and neither copied nor counted.
        let converted = Weights::open(&home.join("s/model.safetensors")).unwrap();
        let pickled = weights::Weights::open(&home.join("m")).unwrap();
        assert!(converted.names().len() < pickled.names().len());
        let kept = converted.names().map(|name| converted.get(name).unwrap());
        let kept: usize = kept.map(|tensor| tensor.shape.iter().product::<usize>()).sum();
        assert_eq!(said["parameters"], json!(kept));
    }
}

#[test]
fn a_vocabulary_with_merges_becomes_one_file() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    tiny(home, "gpt2");
    // As few tokens as the model has rows: a byte-level vocabulary would have 256.
    let vocab: serde_json::Map<String, Value> = ["<|endoftext|>", "l", "a", "Ġ", "la"]
        .into_iter()
        .zip(0..)
        .map(|(token, id)| (token.to_string(), json!(id)))
        .collect();
    fs::write(home.join("m/vocab.json"), Value::Object(vocab).to_string()).unwrap();
    fs::write(home.join("m/merges.txt"), "#version: 0.2\nl a\n").unwrap();
    let said = convert(home, &["m", "--output", "new"]);
    assert!(said.contains("in f32, with its tokenizer"), "{said}");
    assert!(files(&home.join("new")).contains(&"tokenizer.json".to_string()));
    let [theirs, ours] = ["m", "new"].map(|name| Tokenizer::load(home.join(name)).unwrap());
    assert_eq!(ours.encode("la l a").unwrap(), theirs.encode("la l a").unwrap());
    assert_eq!(ours.encode("la").unwrap(), [4]);
}

/// Writes `m/model.safetensors` of `home` anew, with the first number of a weight changed.
fn spoil(home: &Path, weight: &str, value: f32) {
    let path = home.join("m/model.safetensors");
    let kept: Vec<(String, Vec<usize>, Vec<f32>)> = {
        let weights = Weights::open(&path).unwrap();
        let whole = |name: &str| {
            let stored = weights.get(name).unwrap();
            (name.to_string(), stored.shape.to_vec(), stored.to_f32().unwrap())
        };
        weights.names().map(whole).collect()
    };
    let mut kept = kept;
    let spoilt = kept.iter_mut().find(|(name, ..)| name == weight).unwrap();
    spoilt.2[0] = value;
    let entries: Vec<Entry> =
        kept.iter().map(|(name, shape, values)| Entry::new(name, shape, values)).collect();
    save_weights(&path, &entries, &[]).unwrap();
}

#[test]
fn numbers_beyond_a_dtype_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    tiny(home, "gpt2");
    spoil(home, "transformer.wpe.weight", 65519.0);
    // The largest that f16 rounds to itself, and the smallest that it does not.
    convert(home, &["m", "--output", "half", "--dtype", "f16"]);
    spoil(home, "transformer.wpe.weight", 65520.0);
    spoil(home, "transformer.h.1.ln_1.bias", -1e6);
    let f16 = ["m", "--output", "new", "--dtype", "f16"];
    refused(
        home,
        &f16,
        BAD_DATA,
        &["f16", "2 beyond it, the largest 1e6 in `transformer.h.1.ln_1.bias`", "--dtype bf16"],
    );
    convert(home, &["m", "--output", "brain", "--dtype", "bf16"]);
    spoil(home, "transformer.wpe.weight", f32::MAX);
    refused(home, &["m", "--output", "new", "--dtype", "bf16"], BAD_DATA, &["1 beyond it"]);
    // What was no number before is none of the conversion's making.
    spoil(home, "transformer.wpe.weight", f32::INFINITY);
    spoil(home, "transformer.h.1.ln_1.bias", f32::NAN);
    convert(home, &f16);
}

#[test]
fn what_cannot_be_converted_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    tiny(home, "gpt2");
    fs::create_dir(home.join("notes")).unwrap();
    fs::write(home.join("notes/today.txt"), "no model").unwrap();
    let apart = "expected a directory without the model";
    refused(home, &["m", "--output", "m"], USAGE, &[apart]);
    refused(home, &["m", "--output", "./m/"], USAGE, &[apart]);
    refused(home, &["m", "--output", "notes"], USAGE, &["other files and no config.json"]);
    refused(home, &["m", "--output", "new", "--dtype", "f64"], USAGE, &["f32, f16 or bf16"]);
    refused(home, &["m"], USAGE, &["--output"]);
    refused(home, &["./nowhere", "--output", "new"], BAD_DATA, &["nowhere"]);
    refused(home, &["notes", "--output", "new"], BAD_DATA, &["notes", "no such file"]);
    // A model below the directory that would be replaced.
    fs::create_dir_all(home.join("run/checkpoint-5")).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(home.join("m").join(name), home.join("run/checkpoint-5").join(name)).unwrap();
        fs::copy(home.join("m").join(name), home.join("run").join(name)).unwrap();
    }
    refused(home, &["run/checkpoint-5", "--output", "run"], USAGE, &[apart]);
    assert!(home.join("run/checkpoint-5/model.safetensors").exists());
    // Another model's directory is replaced.
    convert(home, &["m", "--output", "run", "--dtype", "bf16"]);
    assert!(!home.join("run/checkpoint-5").exists());
    fs::write(home.join("m/model.safetensors"), "version https://git-lfs.github.com/spec/v1\n")
        .unwrap();
    refused(home, &["m", "--output", "new"], BAD_DATA, &["Git LFS pointer"]);
    assert!(logits(&home.join("run"), DType::F32).iter().all(|&bits| bits != 0));
}

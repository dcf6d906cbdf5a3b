//! `pytorch_model.bin` in both of its forms gives the weights that `model.safetensors` gives, and no
//! file that lies is believed or executed.

use copla::formats::weights::Weights;
use copla::inspect::{Depth, inspect};
use copla::models::{Use, load};
use copla::{DType, Device, Kind};
use safetensors::SafeTensors;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const FORMS: [&str; 2] = ["zip.bin", "old.bin"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Opens the directory that holds just this as `name`.
fn open(name: &str, bytes: &[u8]) -> copla::Result<Weights> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), bytes).unwrap();
    Weights::open(dir.path())
}

/// A refusal: one line that names the file and says this.
fn assert_refused(what: &str, result: copla::Result<Weights>, words: &str) {
    let error = result.map(|_| ()).expect_err(what);
    let line = error.to_string();
    assert_eq!(error.kind(), Kind::BadData, "{what}: {line}");
    assert!(line.contains(words), "{what}: {line}");
    assert!(line.contains("pytorch_model.bin") && line.len() < 400, "{what}: {line}");
}

#[test]
fn both_forms_hold_what_was_saved_however_it_lay_in_its_storage() {
    let expected = fs::read(golden("torch/mixed/expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&expected).unwrap();
    for form in FORMS {
        let file = fs::read(golden("torch/mixed").join(form)).unwrap();
        let weights = open("pytorch_model.bin", &file).unwrap();
        assert_eq!(weights.names().len(), expected.len());
        let mut refused = Vec::new();
        for name in weights.names() {
            let theirs = expected.tensor(name).unwrap();
            match weights.get(name) {
                Ok(ours) => {
                    assert_eq!(ours.shape, theirs.shape(), "{form}: {name}");
                    assert!(&*ours.bytes == theirs.data(), "{form}: {name}");
                    assert_eq!(ours.dtype.to_string().to_uppercase(), theirs.dtype().to_string());
                }
                Err(error) => refused.push(error.to_string()),
            }
        }
        // Buffers of other dtypes are listed, and refused by name only where one is asked for.
        let said = |line: &String, name, dtype| {
            line.ends_with(&format!("`{name}`: expected F32, F16, BF16 or U32, found {dtype}"))
        };
        let others = [("byte", "U8"), ("double", "F64"), ("long", "I64"), ("mask", "BOOL")];
        assert_eq!(refused.len(), others.len());
        for (line, (name, dtype)) in refused.iter().zip(others) {
            assert!(said(line, name, dtype), "{line}");
        }
    }
}

/// What people save in the middle of training: a state dict under a key, beside what is none.
#[test]
fn a_training_checkpoint_gives_its_state_dict() {
    for form in FORMS {
        let file = fs::read(golden("torch/checkpoint").join(form)).unwrap();
        let weights = open("pytorch_model.bin", &file).unwrap();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["bias", "weight"], "{form}");
        let values = weights.get("weight").unwrap().to_f32().unwrap();
        assert_eq!(values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "{form}");
    }
}

#[test]
fn a_damaged_record_is_refused_when_it_is_read() {
    let file = fs::read(golden("torch/mixed/zip.bin")).unwrap();
    let weights = open("pytorch_model.bin", &file).unwrap();
    let half = weights.get("half").unwrap().bytes.into_owned();
    let at = file.windows(half.len()).position(|bytes| bytes == half).unwrap();
    let mut damaged = file.clone();
    damaged[at + 7] ^= 1;
    let weights = open("pytorch_model.bin", &damaged).unwrap();
    for _ in 0..2 {
        let line = weights.get("half").unwrap_err().to_string();
        let words = ["pytorch_model.bin: record \"zip/data/", "CRC-32", "damaged"];
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
    assert!(weights.get("brain").is_ok(), "the others are as they were");

    // Where PyTorch was told to compute none, there is none to compare with.
    let sum = damaged.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
    let mut without = damaged.clone();
    let mut entry = sum;
    while let Some(at) = without[..entry].windows(4).rposition(|bytes| bytes == b"PK\x01\x02") {
        without[at + 16..at + 20].fill(0);
        entry = at;
    }
    assert!(open("pytorch_model.bin", &without).unwrap().get("half").is_ok());
}

/// The places of a file are 64 bits wide: what PyTorch wrote behind 4 GiB of zeros, which are a hole here.
#[test]
fn weights_beyond_4_gib_are_found() {
    let parts = fs::read(golden("torch/zip64.safetensors")).unwrap();
    let (_, about) = SafeTensors::read_metadata(&parts).unwrap();
    let zeros: u64 = about.metadata().as_ref().unwrap()["zeros_between"].parse().unwrap();
    assert!(zeros > 1 << 32);
    let parts = SafeTensors::deserialize(&parts).unwrap();
    let [head, tail] = ["head", "tail"].map(|name| parts.tensor(name).unwrap().data());
    let behind = [0.0f32, 1.0, 2.0, 3.0, 4.0, 5.0];

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pytorch_model.bin");
    with_a_hole(&path, head, zeros, tail);
    let weights = Weights::open(dir.path()).unwrap();
    assert_eq!(weights.get("w").unwrap().to_f32().unwrap(), behind);
    assert!(weights.check_shape("big", &[(1 << 31) + 1000]).is_ok());
    fs::remove_file(path).unwrap();

    let header = format!(
        r#"{{"big":{{"dtype":"F16","shape":[{}],"data_offsets":[0,{zeros}]}},"w":{{"dtype":"F32","shape":[6],"data_offsets":[{zeros},{}]}}}}"#,
        zeros / 2,
        zeros + 24
    );
    let head = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    let tail: Vec<u8> = behind.iter().flat_map(|x| x.to_le_bytes()).collect();
    with_a_hole(&dir.path().join("model.safetensors"), &head, zeros, &tail);
    let weights = Weights::open(dir.path()).unwrap();
    assert_eq!(weights.get("w").unwrap().to_f32().unwrap(), behind);
    let mut end = [1.0; 4];
    weights.get("big").unwrap().floats().unwrap()((1 << 31) + 996, &mut end);
    assert_eq!(end, [0.0; 4]);
}

/// A file of two parts with zeros between them, which take no place on the disk.
fn with_a_hole(path: &Path, head: &[u8], zeros: u64, tail: &[u8]) {
    let mut file = fs::File::create(path).unwrap();
    file.write_all(head).unwrap();
    file.seek(SeekFrom::Current(zeros as i64)).unwrap();
    file.write_all(tail).unwrap();
}

/// A directory of gpt2_tiny's config, for weights to be added.
fn home() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(golden("gpt2_tiny/config.json"), dir.path().join("config.json")).unwrap();
    dir
}

/// The bits of every logit for one text, all parameters checked against those of the directory `other`.
fn logits(dir: &Path) -> Vec<u32> {
    let (model, params) = load(dir, Use::Inference, DType::F32, Device::Cpu).unwrap();
    let (_, expected) =
        load(&golden("gpt2_tiny"), Use::Inference, DType::F32, Device::Cpu).unwrap();
    for ((a, segment), (b, _)) in params.segments().zip(expected.segments()) {
        let [a, b] = [params.get(a), expected.get(b)].map(|x| x.to_vec::<f32>().unwrap());
        assert!(a == b, "{}", segment.name);
    }
    let ids: Vec<u32> = (0..23).map(|i| i * 29 % 97).collect();
    let inside = inspect(&*model, &params, &ids, Depth::Logits).unwrap();
    inside.logits.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_model_is_the_same_from_every_file() {
    let expected = logits(&golden("gpt2_tiny"));
    for form in FORMS {
        let dir = home();
        fs::copy(golden("torch/gpt2").join(form), dir.path().join("pytorch_model.bin")).unwrap();
        assert!(logits(dir.path()) == expected, "{form}");
    }

    // In parts: half of the names from each of two files.
    let dir = home();
    let names: Vec<String> = {
        fs::copy(golden("torch/gpt2/zip.bin"), dir.path().join("pytorch_model.bin")).unwrap();
        Weights::open(dir.path()).unwrap().names().map(str::to_string).collect()
    };
    fs::remove_file(dir.path().join("pytorch_model.bin")).unwrap();
    let parts = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"];
    for (form, part) in FORMS.iter().zip(parts) {
        fs::copy(golden("torch/gpt2").join(form), dir.path().join(part)).unwrap();
    }
    write_index(
        dir.path(),
        "pytorch_model.bin",
        names.iter().enumerate().map(|(i, name)| (name.as_str(), parts[i % 2])),
    );
    assert!(logits(dir.path()) == expected, "an index of pytorch_model.bin");

    let dir = home();
    let names: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| {
            name.starts_with("transformer.")
                && !name.ends_with(".attn.bias")
                && !name.ends_with(".attn.masked_bias")
        })
        .collect();
    let parts = ["model-1.safetensors", "model-2.safetensors"];
    for part in parts {
        fs::copy(golden("gpt2_tiny/model.safetensors"), dir.path().join(part)).unwrap();
    }
    let places = names.iter().enumerate().map(|(i, &name)| (name, parts[i % 2]));
    write_index(dir.path(), "model.safetensors", places);
    // What comes later in the order is not even looked at.
    fs::write(dir.path().join("pytorch_model.bin"), "no such file").unwrap();
    assert!(logits(dir.path()) == expected, "an index of model.safetensors");
}

fn write_index<'a>(dir: &Path, file: &str, places: impl Iterator<Item = (&'a str, &'a str)>) {
    let map: serde_json::Map<_, _> =
        places.map(|(name, part)| (name.to_string(), part.into())).collect();
    let index = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map });
    fs::write(dir.join(format!("{file}.index.json")), index.to_string()).unwrap();
}

#[test]
fn an_index_that_lies_is_refused() {
    let says = |place: serde_json::Value, words: &str| {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(golden("torch/mixed/zip.bin"), dir.path().join("part.bin")).unwrap();
        let index = serde_json::json!({ "weight_map": place });
        fs::write(dir.path().join("pytorch_model.bin.index.json"), index.to_string()).unwrap();
        let error = Weights::open(dir.path()).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::BadData);
        assert!(error.to_string().contains(words), "{error}");
    };
    says(
        serde_json::json!({ "w": "part.bin" }),
        "expected `w` in part.bin, found a file without it",
    );
    for file in ["absent.bin", "../part.bin", "/etc/passwd", "a/part.bin", "..", "."] {
        says(serde_json::json!({ "half": file }), "names of files in the same directory");
    }
    says(serde_json::json!({ "half": 3 }), "names of files in the same directory, found 3");
    says(serde_json::json!(3), "`weight_map`: expected an object of file names");
}

#[test]
fn what_cannot_be_read_is_named_with_its_remedy() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 548118077\n";
    assert_refused("pointer", open("pytorch_model.bin", pointer), "git lfs pull");
    for other in ["flax_model.msgpack", "tf_model.h5"] {
        let line = open(other, b"x").unwrap_err().to_string();
        assert!(line.contains(other) && line.contains("save_pretrained"), "{line}");
    }
    let line = open("README.md", b"x").unwrap_err().to_string();
    assert!(line.ends_with("model.safetensors or pytorch_model.bin, found no such file"), "{line}");
    assert_refused(
        "html",
        open("pytorch_model.bin", b"<!DOCTYPE html><html></html>"),
        "another kind",
    );
    let missing = fs::read(golden("torch/mixed/zip.bin")).unwrap();
    let line = open("pytorch_model.bin", &missing).unwrap().get("halb").unwrap_err().to_string();
    assert!(line.contains("a weight `halb`, found none of that name (nearest: half"), "{line}");
}

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pytorch_model.bin");
    for form in FORMS {
        fs::copy(golden("torch/mixed").join(form), &path).unwrap();
        assert!(Weights::open(dir.path()).is_ok());
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        for length in (0..file.metadata().unwrap().len()).rev() {
            file.set_len(length).unwrap();
            assert_refused(
                &format!("{form} of {length} bytes"),
                Weights::open(dir.path()),
                "expected",
            );
        }
    }
}

/// `refused.txt` has what is to be said of each file: a person has read it.
#[test]
fn files_that_lie_are_refused_by_name_and_never_executed() {
    let file = fs::read(golden("torch/refused.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let mut said = Vec::new();
    for (name, view) in file.iter() {
        let found = open("pytorch_model.bin", view.data());
        match name.ends_with("/none") {
            // The truth that all the others bend.
            true => {
                let values = found.unwrap().get("w").unwrap().to_f32().unwrap();
                assert_eq!(values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "{name}");
            }
            false => {
                let error = found.map(|_| ()).expect_err(name);
                assert_eq!(error.kind(), Kind::BadData, "{name}");
                let line = error.to_string();
                let (_, words) = line.split_once("pytorch_model.bin: ").unwrap();
                said.push(format!("{name}: {words}"));
            }
        }
    }
    said.sort();
    let expected = fs::read_to_string(golden("torch/refused.txt")).unwrap();
    for (said, expected) in said.iter().zip(expected.lines()) {
        assert_eq!(said, expected);
    }
    assert_eq!(said.len(), expected.lines().count());
    assert!(!Path::new("copla_was_executed").exists());
}

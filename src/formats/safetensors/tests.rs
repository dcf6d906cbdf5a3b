//! Round trips, the library's opinion of our files and ours of its, and every way to be wrong.

use super::*;
use half::{bf16, f16};
use std::fs;
use tempfile::TempDir;

fn home() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    (dir, path)
}

/// Opens `bytes` as a file.
fn open(bytes: &[u8]) -> Result<Weights> {
    let (_dir, path) = home();
    fs::write(&path, bytes).unwrap();
    Weights::open(&path)
}

/// A file of this header and so many bytes of weights.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn refused(bytes: &[u8], words: &str) {
    let error = open(bytes).unwrap_err();
    assert_eq!(error.kind(), Kind::BadData);
    let line = error.to_string();
    assert!(line.contains("model.safetensors") && line.contains(words), "{line}");
    assert!(!line.contains('\n') && line.len() < 300, "{line}");
}

const F32: [f32; 6] = [0.0, -0.0, 1.5, f32::MAX, f32::MIN_POSITIVE, f32::NEG_INFINITY];

/// One of each dtype; the 16-bit one of odd length stands first, where it would misalign the others.
fn example(path: &Path) {
    let halves: Vec<f16> = (0..1031).map(|i| f16::from_f32(i as f32 * 0.25 - 100.0)).collect();
    let brains = F32.map(bf16::from_f32);
    let entries = [
        Entry::new("half", &[1031], &halves),
        Entry::new("full", &[2, 3], &F32),
        Entry::new("brain", &[3, 2, 1], &brains),
        Entry::new("ids", &[2], &[0u32, u32::MAX]),
        Entry::new("scalar", &[], &[2.5f32]),
        Entry::new::<f32>("empty", &[0, 7], &[]),
    ];
    save(path, &entries, &[("step", "3"), ("autor", "Núñez")]).unwrap();
}

#[test]
fn every_dtype_comes_back() {
    let (_dir, path) = home();
    example(&path);
    let weights = Weights::open(&path).unwrap();
    let names: Vec<_> = weights.names().collect();
    assert_eq!(names, ["brain", "empty", "full", "half", "ids", "scalar"]);
    assert!(weights.contains("half") && !weights.contains("hal"));
    assert_eq!(weights.metadata()["format"], "pt");
    assert_eq!(weights.metadata()["step"], "3");
    assert_eq!(weights.metadata()["autor"], "Núñez");

    let full = weights.get("full").unwrap();
    assert_eq!((full.dtype, full.shape), (DType::F32, &[2, 3][..]));
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&full.to_f32().unwrap()), bits(&F32));

    let half = weights.get("half").unwrap();
    assert_eq!((half.dtype, half.bytes.len()), (DType::F16, 2062));
    let expected: Vec<f32> = (0..1031).map(|i| i as f32 * 0.25 - 100.0).collect();
    assert_eq!(half.to_f32().unwrap(), expected);

    let brain = weights.get("brain").unwrap();
    assert_eq!((brain.dtype, brain.shape), (DType::BF16, &[3, 2, 1][..]));
    assert_eq!(bits(&brain.to_f32().unwrap()), bits(&F32.map(|x| bf16::from_f32(x).to_f32())));

    assert_eq!(weights.get("ids").unwrap().to_u32().unwrap(), [0, u32::MAX]);
    assert_eq!(weights.get("scalar").unwrap().to_f32().unwrap(), [2.5]);
    assert!(weights.get("scalar").unwrap().shape.is_empty());
    assert!(weights.get("empty").unwrap().to_f32().unwrap().is_empty());
}

#[test]
fn the_library_reads_what_we_write_and_we_what_it_writes() {
    let (_dir, path) = home();
    example(&path);
    let bytes = fs::read(&path).unwrap();
    let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ours = Weights::open(&path).unwrap();
    assert_eq!(theirs.len(), 6);
    for (name, view) in theirs.iter() {
        let tensor = ours.get(name).unwrap();
        assert_eq!((tensor.shape, &*tensor.bytes), (view.shape(), view.data()), "{name}");
        let place = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert_eq!(place % tensor.dtype.size(), 0, "{name} is aligned");
    }

    let again = ::safetensors::serialize(theirs.iter(), None).unwrap();
    let ours = open(&again).unwrap();
    assert!(ours.metadata().is_empty());
    for (name, view) in theirs.iter() {
        assert_eq!(ours.get(name).unwrap().bytes, view.data(), "{name}");
    }
}

#[test]
fn the_same_weights_give_the_same_file() {
    let (_dir, path) = home();
    example(&path);
    let first = fs::read(&path).unwrap();
    example(&path);
    assert!(first == fs::read(&path).unwrap());
}

#[test]
fn a_replaced_file_leaves_an_open_one_alone() {
    let (_dir, path) = home();
    example(&path);
    let weights = Weights::open(&path).unwrap();
    save(&path, &[Entry::new("full", &[1], &[7.0f32])], &[]).unwrap();
    assert_eq!(weights.get("full").unwrap().to_f32().unwrap(), F32);
    assert_eq!(Weights::open(&path).unwrap().get("full").unwrap().to_f32().unwrap(), [7.0]);
}

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    let (_dir, path) = home();
    let entries = [Entry::new("a", &[2], &[1.0f32, 2.0]), Entry::new("b", &[3], &[f16::ONE; 3])];
    save(&path, &entries, &[]).unwrap();
    let whole = fs::read(&path).unwrap();
    assert!(open(&whole).is_ok());
    for length in 0..whole.len() {
        let words = match length {
            0..8 => format!("expected a safetensors file, found {length} bytes"),
            _ => format!("found {length} bytes (truncated)"),
        };
        refused(&whole[..length], &words);
    }
    refused(&whole[..whole.len() - 1], &format!("expected {} bytes by its header", whole.len()));
    refused(&[&whole[..], &[0]].concat(), &format!("found {} bytes", whole.len() + 1));
}

#[test]
fn a_byte_changed_anywhere_never_panics() {
    let (_dir, path) = home();
    save(&path, &[Entry::new("a", &[2], &[1.0f32, 2.0])], &[]).unwrap();
    let whole = fs::read(&path).unwrap();
    let header = whole.len() - 8;
    let mut refused = 0;
    for place in 0..header {
        for byte in [0, b'"', b'9', b'}', 0xff] {
            let mut bytes = whole.clone();
            bytes[place] = byte;
            match open(&bytes) {
                // Within a name or the metadata it is just another file; reading it must be safe.
                Ok(weights) => weights.names().for_each(|name| drop(weights.get(name))),
                Err(error) => refused += usize::from(error.kind() == Kind::BadData),
            }
        }
    }
    assert!(refused > 2 * header, "{refused} of {}", 5 * header);
}

#[test]
fn a_header_that_lies_is_refused_by_name() {
    let one = |dtype: &str, shape: &str, range: &str| {
        format!(r#"{{"w": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {range}}}}}"#)
    };
    assert!(open(&file(&one("F32", "[2]", "[0, 8]"), 8)).is_ok());

    refused(&file("not JSON at all", 8), "header: expected a JSON object");
    refused(&file("[1, 2]", 8), "header: expected a JSON object");
    refused(&file("\u{0}\u{1}", 8), "header: expected a JSON object");
    let mut not_utf8 = file(&one("F32", "[2]", "[0, 8]"), 8);
    not_utf8[10] = 0xff;
    refused(&not_utf8, "header: expected a JSON object");
    refused(&file(r#"{"__metadata__": {"step": 3}}"#, 0), "expected an object of strings");

    refused(&file(r#"{"w": 3}"#, 8), "weight `w`: expected a dtype, a shape and data_offsets");
    refused(&file(&one("F32", "[-2]", "[0, 8]"), 8), "expected a dtype, a shape and data_offsets");
    refused(
        &file(&one("F99", "[2]", "[0, 8]"), 8),
        "weight `w`: expected a dtype such as F32, F16 or BF16, found F99",
    );

    refused(
        &file(&one("F32", "[3]", "[0, 8]"), 8),
        "weight `w`: expected 12 bytes for F32 [3], found bytes 0 to 8",
    );
    refused(&file(&one("F32", "[2]", "[8, 0]"), 8), "expected bytes from 0 on");
    refused(
        &file(&one("F32", "[2]", "[4, 12]"), 12),
        "expected bytes from 0 on (no gap, no overlap)",
    );
    refused(&file(&one("F32", "[2]", "[0, 8]"), 4), "(truncated)");
    refused(&file(&one("F4", "[3]", "[0, 2]"), 2), "a shape of whole bytes");
    refused(&file(&one("F32", "[4294967296, 4294967296]", "[0, 0]"), 0), "a shape of whole bytes");
    // The product of the other axes overflows, but there is nothing in the tensor.
    assert!(open(&file(&one("F32", "[0, 4294967296, 4294967296]", "[0, 0]"), 0)).is_ok());

    let two = r#"{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                  "b": {"dtype": "U8", "shape": [4], "data_offsets": [RANGE]}}"#;
    assert!(open(&file(&two.replace("RANGE", "4, 8"), 8)).is_ok());
    for range in ["2, 6", "0, 4", "5, 9"] {
        refused(&file(&two.replace("RANGE", range), 9), "`b`: expected bytes from 4 on");
    }

    // A reader that takes the first and one that takes the last would see different weights.
    refused(
        &file(&two.replace("\"b\"", "\"a\"").replace("RANGE", "0, 4"), 4),
        "`a`: expected each name once",
    );
    let metadata = r#"{"__metadata__": {"format": "pt"}, "__metadata__": {}}"#;
    refused(&file(metadata, 0), "`__metadata__`: expected each name once");

    // Ranges whose ends would overflow once the header is added to them.
    let huge = (1u64 << 61) - 1;
    let entries: Vec<_> = (0..8)
        .map(|i| {
            let (begin, end) = (i * huge, (i + 1) * huge);
            format!(
                r#""{i}": {{"dtype": "U8", "shape": [{huge}], "data_offsets": [{begin}, {end}]}}"#
            )
        })
        .collect();
    refused(&file(&format!("{{{}}}", entries.join(",")), 8), "(truncated)");
}

#[test]
fn what_is_no_safetensors_file_is_said_to_be_none() {
    let missing = Weights::open(Path::new("/nowhere/model.safetensors")).unwrap_err();
    assert_eq!(missing.kind(), Kind::BadData);
    assert!(missing.to_string().ends_with("found no such file or directory"), "{missing}");
    let dir = tempfile::tempdir().unwrap();
    let error = Weights::open(dir.path()).unwrap_err();
    assert!(
        error.to_string().ends_with("expected a safetensors file, found a directory"),
        "{error}"
    );
    refused(b"<!DOCTYPE html><html>", "found another kind of file");
    refused(&[0xff; 64], "found another kind of file");
    refused(b"version https://git-lfs.github.com/spec/v1\noid sha256:", "git lfs pull");
}

#[test]
fn a_missing_weight_is_told_with_its_nearest() {
    let (_dir, path) = home();
    let names =
        ["transformer.wte.weight", "wpe.weight", "h.0.ln_1.bias", "h.0.ln_1.weight", "lm_head"];
    let entries = names.map(|name| Entry::new(name, &[1], &[0.0f32]));
    save(&path, &entries, &[]).unwrap();
    let error = Weights::open(&path).unwrap().get("wte.weight").unwrap_err();
    assert_eq!(error.kind(), Kind::BadData);
    assert!(
        error.to_string().ends_with(
            "model.safetensors: expected a weight `wte.weight`, found none of that name \
             (nearest: transformer.wte.weight, wpe.weight, h.0.ln_1.weight)"
        ),
        "{error}"
    );
    let empty = open(&file("{}", 0)).unwrap();
    assert!(empty.get("w").unwrap_err().to_string().ends_with("found no weight at all"));
}

#[test]
fn a_weight_of_another_kind_is_refused_by_name() {
    let (_dir, path) = home();
    example(&path);
    let weights = Weights::open(&path).unwrap();
    let says = |error: Error, words: &str| {
        assert_eq!(error.kind(), Kind::BadData);
        assert!(error.to_string().ends_with(words), "{error}");
    };
    let get = |name| weights.get(name).unwrap();
    assert!(get("full").expect_shape(&[2, 3]).is_ok());
    says(
        get("full").expect_shape(&[3, 2]).unwrap_err(),
        "model.safetensors: weight `full`: expected shape [3, 2], found [2, 3]",
    );
    says(get("ids").to_f32().unwrap_err(), "weight `ids`: expected F32, F16 or BF16, found U32");
    says(get("half").to_u32().unwrap_err(), "weight `half`: expected U32, found F16");

    let mask = r#"{"mask": {"dtype": "BOOL", "shape": [4], "data_offsets": [0, 4]}}"#;
    let older = open(&file(mask, 4)).unwrap();
    says(older.get("mask").unwrap_err(), "`mask`: expected F32, F16, BF16 or U32, found BOOL");
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let (dir, path) = home();
    let values = [1.0f32, 2.0];
    let good = || Entry::new("a", &[2], &values);
    let broken =
        Entry::lazy("b", DType::F32, &[2], || Err(Error::shape("device", "bytes", "none")));
    for (entries, words) in [
        (vec![good(), good()], "weight `a`: expected each name once"),
        (vec![good(), Entry::new(METADATA, &[2], &values)], "expected each name once"),
        (vec![good(), Entry::new("b", &[3], &values)], "expected bytes for f32 [3], found 8 bytes"),
        (vec![Entry::new("b", &[usize::MAX, 2], &values)], "expected fewer than 2^64 bits"),
        (vec![good(), broken], "device: expected bytes, found none"),
    ] {
        let error = save(&path, &entries, &[]).unwrap_err();
        assert_eq!(error.kind(), Kind::Failure);
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

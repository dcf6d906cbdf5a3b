//! Whatever bytes a model's files hold, opening them ends in weights or in one line of refusal: no
//! panic, and no more memory than the file's size explains.
//!
//! The mutations come from a fixed seed, so that a failure comes again. One test in a process of its
//! own, for what is counted is the process's.

use copla::formats::weights::Weights;
use copla::models::{Use, load};
use copla::text::{BpeOptions, Tokenizer};
use copla::{DType, Device, Kind, Result};
use safetensors::SafeTensors;
use std::fs;
use std::path::{Path, PathBuf};

mod counted;

/// Memory allowed to a file: so many bytes for each of its own, and some for paths and messages.
const PER_BYTE: usize = 200;
const BESIDES: usize = 64 << 10;

/// How often each good file is changed.
const CASES: usize = 1000;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Sebastiano Vigna's splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, and without, `bound`.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// A part of `length` bytes, mostly a short one.
    fn part(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length);
        let most = [4, 32, length][self.below(3)];
        start..(start + self.below(most + 1)).min(length)
    }

    /// `good`, changed in one to four ways.
    fn mutate(&mut self, good: &[u8]) -> Vec<u8> {
        const NUMBERS: [u64; 8] =
            [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff];
        const OPCODES: &[u8] = b"(.012BCFGIJKLMNPQRSTUVXabcdeghijlopqrstu]})\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x93\x95";
        let mut bytes = good.to_vec();
        for _ in 0..1 + self.below(4) {
            let part = self.part(bytes.len());
            match self.below(8) {
                0 => bytes.truncate(part.start),
                1 => drop(bytes.drain(part)),
                2 => {
                    drop(bytes.splice(part.start..part.start, good[self.part(good.len())].to_vec()))
                }
                3 => {
                    let number = NUMBERS[self.below(NUMBERS.len())].to_le_bytes();
                    let width = [1, 2, 4, 8][self.below(4)].min(bytes.len() - part.start);
                    bytes[part.start..part.start + width].copy_from_slice(&number[..width]);
                }
                4 => part.for_each(|at| bytes[at] = self.next() as u8),
                5 => bytes.insert(part.start, OPCODES[self.below(OPCODES.len())]),
                _ if bytes.is_empty() => {}
                6 => bytes[part.start] = OPCODES[self.below(OPCODES.len())],
                _ => bytes[part.start] ^= 1 << self.below(8),
            }
        }
        bytes
    }
}

/// Values that no file should have, and that one may.
const VALUES: [&str; 22] = [
    "null",
    "true",
    "-1",
    "0",
    "1",
    "0.5",
    "1e308",
    "1e999",
    "-0.0",
    "NaN",
    "Infinity",
    "2147483648",
    "18446744073709551615",
    "18446744073709551616",
    "1152921504606846976",
    "\"\"",
    "\"\\ud800\"",
    "\"<|endoftext|>\"",
    "[]",
    "{}",
    "[[[\"global\", \"local\"], 4611686018427387904]]",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
];

impl Random {
    /// `good`, a JSON file, with one to three of its values others, or in it twice.
    fn mutate_json(&mut self, good: &[u8]) -> Vec<u8> {
        let mut text = String::from_utf8_lossy(good).into_owned();
        for _ in 0..1 + self.below(3) {
            // Where a value begins: behind a colon, a comma or a bracket.
            let begins: Vec<usize> =
                text.match_indices([':', ',', '[']).map(|(at, _)| at + 1).collect();
            let begin = begins[self.below(begins.len())];
            let end = begin + text[begin..].find([',', '}', ']', '\n']).unwrap_or(0);
            let value = VALUES[self.below(VALUES.len())];
            match self.below(4) {
                0 => text.insert_str(begin, &format!("{value}, ")),
                1 => {
                    // The whole line once more, with another value.
                    let line = text[..begin].rfind(['\n', '{', ',']).map_or(0, |at| at + 1);
                    let again = format!("{}{value}, ", &text[line..begin]);
                    text.insert_str(line, &again);
                }
                _ => text.replace_range(begin..end, value),
            }
        }
        text.into_bytes()
    }
}

/// What one kind of file is tried with.
struct Target {
    file: &'static str,
    good: Vec<Vec<u8>>,
    open: fn(&Path) -> Result<()>,
    /// What lies beside it.
    beside: Vec<(&'static str, Vec<u8>)>,
    /// Memory allowed to a file of no bytes.
    besides: usize,
}

/// Whether a message says where it comes from: a file, or the config as a whole.
fn names_a_file(line: &str) -> bool {
    [".bin", ".json", ".safetensors", ".txt", "model config"].iter().any(|end| line.contains(end))
}

/// Opens the model, all of it.
fn read_model(dir: &Path) -> Result<()> {
    load(dir, Use::Inference, DType::F32, Device::Cpu).map(drop)
}

/// Opens the tokenizer and has it read a line and write it again.
fn read_tokenizer(dir: &Path) -> Result<()> {
    let tokenizer = Tokenizer::load(dir)?;
    // What it makes of the line is its own affair.
    if let Ok(ids) = tokenizer.encode_prompt("¡Ay, qué pronto amaneció! <|endoftext|>") {
        let _text = tokenizer.decode(&ids);
    }
    Ok(())
}

/// Opens the weights and reads each that can be read.
fn read_weights(dir: &Path) -> Result<()> {
    let weights = Weights::open(dir)?;
    for name in weights.names() {
        // Another dtype is refused here, and that is right too.
        if let Ok(tensor) = weights.get(name) {
            assert_eq!(
                tensor.shape.iter().product::<usize>() * tensor.dtype.size(),
                tensor.bytes.len()
            );
            let _values = tensor.to_f32();
        }
    }
    Ok(())
}

impl Target {
    /// Whether `bytes` were accepted. Fails where memory or the message is not as promised.
    fn accepts(&self, dir: &Path, bytes: &[u8], what: &str) -> bool {
        // A new file each time: ext4 syncs one that is cut to nothing and written again.
        let path = dir.join(self.file);
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).unwrap();
        let (result, used) = counted::peak_of(|| (self.open)(dir));
        let allowed = PER_BYTE * bytes.len() + self.besides;
        assert!(used <= allowed, "{what}: {used} bytes for a file of {}", bytes.len());
        if let Err(error) = &result {
            let line = error.to_string();
            // Sizes beyond any machine's are refused as such.
            let kinds = [Kind::BadData, Kind::OutOfMemory];
            let bad = if self.file == "config.json" { &kinds[..] } else { &kinds[..1] };
            assert!(bad.contains(&error.kind()), "{what}: {line}");
            assert!(
                !line.contains('\n') && line.len() < 2000 && names_a_file(&line),
                "{what}: {line}"
            );
        }
        result.is_ok()
    }
}

/// Pickles that ask for the most memory by byte, as the state dict of the older form.
fn greedy() -> Vec<Vec<u8>> {
    let good = lies("old/none");
    let state_dict = good.windows(3).rposition(|bytes| bytes == b"\x80\x02}").unwrap();
    let start = [&good[..state_dict], b"\x80\x02}q\x00"].concat();
    let parts: [&[u8]; 9] = [
        b"}",
        b"]",
        b"(",
        b"N",
        b")",
        b")\x85",
        b"(h\x00t",
        b"h\x00h\x00\x86q\x01",
        b"X\x00\x00\x00\x00",
    ];
    parts.iter().map(|part| [&start[..], &part.repeat(300_000 / part.len())].concat()).collect()
}

/// A tokenizer as a directory has it, in one file and in the older two.
fn tokenizer_files() -> Vec<(&'static str, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let texts = ["La niña canta en la orilla.", "La luna baja a la orilla del río."];
    Tokenizer::train_bpe(&texts, &BpeOptions::new(300)).unwrap().save(dir.path()).unwrap();
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    let whole: serde_json::Value = serde_json::from_slice(&read("tokenizer.json")).unwrap();
    let mut vocab = whole["model"]["vocab"].clone();
    for token in whole["added_tokens"].as_array().unwrap() {
        vocab[token["content"].as_str().unwrap()] = token["id"].clone();
    }
    let merges: Vec<String> = whole["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
        .collect();
    vec![
        ("tokenizer.json", read("tokenizer.json")),
        ("vocab.json", vocab.to_string().into_bytes()),
        ("merges.txt", format!("#version: 0.2\n{}\n", merges.join("\n")).into_bytes()),
        ("tokenizer_config.json", read("tokenizer_config.json")),
        ("special_tokens_map.json", read("special_tokens_map.json")),
    ]
}

fn lies(name: &str) -> Vec<u8> {
    let file = fs::read(golden("torch/refused.safetensors")).unwrap();
    SafeTensors::deserialize(&file).unwrap().tensor(name).unwrap().data().to_vec()
}

#[test]
fn no_file_makes_copla_panic_or_take_memory_that_its_size_does_not_explain() {
    let read = |name: &str| fs::read(golden(name)).unwrap();
    let weights = |file, good| Target {
        file,
        good,
        open: read_weights,
        beside: vec![("part.bin", read("torch/mixed/zip.bin"))],
        besides: BESIDES,
    };
    let torch = |form: &str| {
        let good = vec![lies(&format!("{form}/none")), read(&format!("torch/mixed/{form}.bin"))];
        weights("pytorch_model.bin", good)
    };
    let index = br#"{"metadata": {"total_size": 3}, "weight_map": {"half": "part.bin", "brain": "part.bin"}}"#;
    // With the weights that fit the good config: whatever sizes another one claims, these are what there is.
    let config = |family: &str| {
        let model = read(&format!("{family}/model.safetensors"));
        Target {
            file: "config.json",
            good: vec![read(&format!("{family}/config.json"))],
            open: read_model,
            besides: 4 * model.len() + 16 * BESIDES,
            beside: vec![("model.safetensors", model)],
        }
    };
    let tokens = tokenizer_files();
    let tokenizer = |file: &'static str| {
        let mut beside = tokens.clone();
        let at = beside.iter().position(|(name, _)| *name == file).unwrap();
        let good = vec![beside.remove(at).1];
        if file != "tokenizer.json" {
            beside.retain(|(name, _)| *name != "tokenizer.json");
        }
        Target { file, good, open: read_tokenizer, beside, besides: 64 * BESIDES }
    };
    let targets = [
        torch("zip"),
        torch("old"),
        weights("model.safetensors", vec![read("torch/mixed/expected.safetensors")]),
        weights("pytorch_model.bin.index.json", vec![index.to_vec()]),
        config("gpt2_tiny"),
        config("gpt_neo_tiny"),
        config("bloom_tiny"),
        tokenizer("tokenizer.json"),
        tokenizer("vocab.json"),
        tokenizer("merges.txt"),
        tokenizer("tokenizer_config.json"),
        tokenizer("special_tokens_map.json"),
    ];
    let mut random = Random(5);
    for target in &targets {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in &target.beside {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let mut accepted = 0;
        for good in &target.good {
            for case in 0..CASES {
                let bytes = match target.file.ends_with(".json") && case % 2 == 0 {
                    true => random.mutate_json(good),
                    false => random.mutate(good),
                };
                let what = format!("{} from {} bytes, case {case}", target.file, good.len());
                accepted += usize::from(target.accepts(dir.path(), &bytes, &what));
            }
        }
        println!("{}: {accepted} of {} accepted", target.file, CASES * target.good.len());
    }

    let dir = tempfile::tempdir().unwrap();
    for bytes in greedy() {
        assert!(!targets[1].accepts(dir.path(), &bytes, "a greedy pickle"));
    }
}

//! Whatever bytes a model's files hold, opening them ends in weights or in one line of refusal: no
//! panic, and no more memory than the file's size explains.
//!
//! The mutations come from a fixed seed, so that a failure comes again. One test in a process of its
//! own, for what is counted is the process's.

use copla::formats::weights::Weights;
use copla::models::from_config;
use copla::{Kind, Result};
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

/// What one kind of file is tried with.
struct Target {
    file: &'static str,
    good: Vec<Vec<u8>>,
    open: fn(&Path) -> Result<()>,
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
        let allowed = PER_BYTE * bytes.len() + BESIDES;
        assert!(used <= allowed, "{what}: {used} bytes for a file of {}", bytes.len());
        if let Err(error) = &result {
            let line = error.to_string();
            assert_eq!(error.kind(), Kind::BadData, "{what}: {line}");
            assert!(
                !line.contains('\n')
                    && ["part.bin", self.file].iter().any(|file| line.contains(file)),
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

fn lies(name: &str) -> Vec<u8> {
    let file = fs::read(golden("torch/refused.safetensors")).unwrap();
    SafeTensors::deserialize(&file).unwrap().tensor(name).unwrap().data().to_vec()
}

#[test]
fn no_file_makes_copla_panic_or_take_memory_that_its_size_does_not_explain() {
    let read = |name: &str| fs::read(golden(name)).unwrap();
    let torch = |form: &str| Target {
        file: "pytorch_model.bin",
        good: vec![lies(&format!("{form}/none")), read(&format!("torch/mixed/{form}.bin"))],
        open: read_weights,
    };
    let targets = [
        torch("zip"),
        torch("old"),
        Target {
            file: "model.safetensors",
            good: vec![read("torch/mixed/expected.safetensors")],
            open: read_weights,
        },
        Target {
            file: "pytorch_model.bin.index.json",
            good: vec![
                br#"{"metadata": {"total_size": 3}, "weight_map": {"half": "part.bin", "brain": "part.bin"}}"#
                    .to_vec(),
            ],
            open: read_weights,
        },
        Target {
            file: "config.json",
            good: vec![read("gpt2_tiny/config.json")],
            open: |dir| from_config(dir).map(drop),
        },
    ];
    let mut random = Random(5);
    for target in &targets {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(golden("torch/mixed/zip.bin"), dir.path().join("part.bin")).unwrap();
        let mut accepted = 0;
        for good in &target.good {
            for case in 0..CASES {
                let bytes = random.mutate(good);
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

//! A model of true size from its directory (`COPLA_MODEL`): loading, greedy text, one training step of
//! 1×256 tokens. One line of JSON: seconds, the most resident memory so far, the loss and the logits.
//!
//! Run by `benches/true_size.py`, which makes the directories and measures `transformers` beside it.

use copla::generate::{Settings, generate};
use copla::inspect::{Depth, inspect};
use copla::models::{Use, load};
use copla::ops::adamw::AdamW;
use copla::ops::cross_entropy::IGNORE;
use copla::ops::sample::Sampler;
use copla::tensor::memory_stats;
use copla::text::Batch;
use copla::train::{Decay, Schedule, Trainer};
use copla::{DType, Device, Result};
use std::path::Path;
use std::time::Instant;

const TOKENS: usize = 256;
const PROMPT: usize = 32;
const NEW: usize = 32;
const GIB: f64 = (1u64 << 30) as f64;

/// The most memory that this process has had resident, in GiB.
fn resident_peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib * 1024.0 / GIB)
}

fn measure(dir: &Path) -> Result<serde_json::Value> {
    let base = resident_peak();
    let start = Instant::now();
    let (model, params) = load(dir, Use::Training, DType::F32, Device::Cpu)?;
    let (load_s, load_gib) = (start.elapsed().as_secs_f64(), resident_peak());

    let vocab = model.vocab_size();
    let ids: Vec<u32> = (0..TOKENS).map(|i| (i * 7919 % vocab) as u32).collect();
    let prompt = ids[..PROMPT].to_vec();
    let settings = Settings {
        max_new_tokens: NEW,
        sampler: Sampler::GREEDY,
        seed: 0,
        eos: None,
        num_return_sequences: 1,
    };
    let start = Instant::now();
    generate(&*model, &params, std::slice::from_ref(&prompt), &settings, &mut |_, _| Ok(()))?;
    let (generate_s, generate_gib) = (start.elapsed().as_secs_f64(), resident_peak());
    let logits = inspect(&*model, &params, &prompt, Depth::Logits)?.logits.to_vec::<f32>()?;

    let batch = Batch {
        targets: ids[1..].iter().copied().chain([IGNORE]).collect(),
        tokens: ids,
        positions: (0..TOKENS as u32).collect(),
        first_key: vec![0; TOKENS],
        rows: 1,
        time: TOKENS,
    };
    let schedule =
        Schedule { peak: 1e-4, warmup_steps: 0, total_steps: 10, decay: Decay::Constant };
    let start = Instant::now();
    let mut trainer = Trainer::new(model, params, AdamW::default(), schedule, 1.0, 0)?;
    let loss = trainer.step(&batch)?.loss;
    let step_s = start.elapsed().as_secs_f64();
    Ok(serde_json::json!({
        "base_gib": base,
        "load_s": load_s,
        "load_gib": load_gib,
        "generate_s": generate_s,
        "generate_gib": generate_gib,
        "step_s": step_s,
        "step_gib": resident_peak(),
        "counted_gib": memory_stats(Device::Cpu).peak as f64 / GIB,
        "loss": loss,
        "logits": logits[logits.len() - vocab..],
    }))
}

fn main() {
    // `cargo bench` without a model runs this file too, and `cargo test` builds it.
    let Some(dir) = std::env::var_os("COPLA_MODEL") else {
        println!("true_size: run benches/true_size.py, or set COPLA_MODEL to a model's directory");
        return;
    };
    match measure(Path::new(&dir)) {
        Ok(measured) => println!("{measured}"),
        Err(error) => panic!("{error}"),
    }
}

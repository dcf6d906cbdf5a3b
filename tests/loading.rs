//! Loading takes about one copy of the weights, and saving next to nothing: whatever the dtype in the file
//! and in memory, and however the file lays its largest tensor out.
//!
//! One test in a process of its own, for what is counted is the process's.

use copla::formats::safetensors::{Entry, Weights, save as save_weights};
use copla::models::{self, Use};
use copla::tensor::reset_peak;
use copla::{DType, Device, Parameters, Result};
use counted::peak_of;
use half::f16;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

mod counted;

/// What loading and saving may hold besides the weights: a piece or two for each thread.
const BESIDES: usize = 6 << 20;

/// One number of `/proc/self/status`, in bytes.
fn status(key: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// What `work` returns, and by how much the resident memory grew at most, files that are mapped included.
fn resident_peak_of<R>(work: impl FnOnce() -> R) -> (R, usize) {
    reset_peak(Device::Cpu); // and gives back what is kept for the next use
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS");
    let result = work();
    (result, status("VmHWM") - before)
}

/// A directory with a model of fresh weights, which it returns too.
fn home(config: &Value) -> Result<(tempfile::TempDir, Parameters)> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let model = models::from_config(dir.path())?;
    let mut params = model.layout()?.build(DType::F32, Device::Cpu)?;
    model.initialise(&mut params, 3)?;
    models::save(dir.path(), &*model, &params)?;
    Ok((dir, params))
}

/// The file's weights in 16 bits.
fn halve(path: &Path) {
    let weights = Weights::open(path).unwrap();
    let narrow = |name: &str| -> Vec<f16> {
        weights.get(name).unwrap().to_f32().unwrap().into_iter().map(f16::from_f32).collect()
    };
    let values: Vec<_> = weights.names().map(narrow).collect();
    let shape = |name| weights.get(name).unwrap().shape;
    let entries: Vec<_> = weights
        .names()
        .zip(&values)
        .map(|(name, values)| Entry::new(name, shape(name), values))
        .collect();
    save_weights(path, &entries, &[]).unwrap();
}

#[test]
fn loading_takes_one_copy_of_the_weights_and_saving_none() {
    let gpt2 = json!({ "model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_positions": 16 });
    let with = |base: &Value, more: Value| {
        let mut config = base.clone();
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    // With each, what stays mapped at most: a matrix that lies otherwise in the file, while it is read.
    let configs = [
        // The embedding dominates, as in BLOOM; then a transposed matrix, and the three of the
        // attention, interleaved and apart.
        (0, with(&gpt2, json!({ "n_embd": 64, "vocab_size": 100_001 }))),
        (64 * 30_003, with(&gpt2, json!({ "n_embd": 64, "vocab_size": 301, "n_inner": 30_003 }))),
        (
            3 * 768 * 768,
            json!({ "model_type": "bloom", "n_layer": 1, "n_head": 6, "hidden_size": 768, "vocab_size": 301 }),
        ),
        (
            0,
            json!({
                "model_type": "gpt_neo", "num_layers": 1, "num_heads": 8, "hidden_size": 768, "vocab_size": 301,
                "intermediate_size": 64, "attention_types": [[["local"], 1]], "max_position_embeddings": 16
            }),
        ),
    ];
    for (mapped, config) in configs {
        let (dir, params) = home(&config).unwrap();
        let dir = dir.path();
        let path = dir.join("model.safetensors");
        for (file, memory) in [
            (DType::F32, DType::F32),
            (DType::F32, DType::F16),
            (DType::F16, DType::F16),
            (DType::F16, DType::F32),
        ] {
            if file == DType::F16
                && Weights::open(&path).unwrap().get("transformer.ln_f.weight").unwrap().dtype
                    == DType::F32
            {
                halve(&path);
            }
            let weights = params.count() * memory.size();
            let what = format!("{file} to {memory}: {config}");
            let load = || models::load(dir, Use::Inference, memory, Device::Cpu).unwrap();
            let ((loaded, heap), resident) = resident_peak_of(|| peak_of(load));
            println!("{what}: {weights} bytes of weights, {heap} of heap, {resident} resident");
            // copla's allocator rounds up by an eighth at most; the system gives what is touched.
            assert!(
                heap >= weights && heap <= weights / 8 * 9 + BESIDES,
                "{what}: {heap} for {weights}"
            );
            let allowed = weights + mapped * file.size() + BESIDES;
            assert!(resident <= allowed, "{what}: {resident} resident for {weights}");

            let (model, loaded) = loaded;
            let other = tempfile::tempdir().unwrap();
            let (saved, heap) = peak_of(|| models::save(other.path(), &*model, &loaded));
            saved.unwrap();
            println!("saved with {heap} bytes of heap");
            assert!(heap <= BESIDES, "{what}: saved with {heap}");
            if file == memory {
                let [ours, theirs] = [other.path(), dir]
                    .map(|dir| Weights::open(&dir.join("model.safetensors")).unwrap());
                assert_eq!(ours.names().collect::<Vec<_>>(), theirs.names().collect::<Vec<_>>());
                for name in theirs.names() {
                    let [ours, theirs] = [&ours, &theirs].map(|file| file.get(name).unwrap());
                    assert!(ours.bytes == theirs.bytes, "{what}: {name} is saved otherwise");
                }
            }
        }
    }
}

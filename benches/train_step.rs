//! A whole training step, dropout 0: forward, backward, clipping and AdamW. GPT-2 124M, vocabulary
//! 50,257, at batch × time = 4×64 and 1×1024; the preset char-lstm, vocabulary 76, at 16×64.
//!
//! The same cases as `benches/pytorch/train_step.py`. Prints the peak that the allocator counted.

use copla::models::{Fresh, preset};
use copla::ops::adamw::AdamW;
use copla::tensor::{memory_stats, reset_peak};
use copla::text::Batch;
use copla::train::{Decay, Schedule, Trainer};
use copla::{DType, Device, Result};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn batch(vocab: usize, rows: usize, time: usize) -> Batch {
    let ids =
        |step: usize| -> Vec<u32> { (0..rows * time).map(|i| (i * step % vocab) as u32).collect() };
    Batch {
        tokens: ids(7919),
        targets: ids(104_729),
        positions: (0..rows * time).map(|i| (i % time) as u32).collect(),
        first_key: vec![0; rows * time],
        rows,
        time,
    }
}

fn trainer(name: &str, vocab: usize) -> Result<Trainer> {
    // GPT-2's own context, whatever the rows.
    let model = preset(name, Fresh { vocab, eos: 0, time: 1024, dropout: 0.0 })?;
    let mut params = model.layout()?.build(DType::F32, Device::Cpu)?;
    model.initialise(&mut params, 0)?;
    let schedule =
        Schedule { peak: 1e-4, warmup_steps: 0, total_steps: 1000, decay: Decay::Constant };
    Trainer::new(model, params, AdamW::default(), schedule, 1.0, 0)
}

fn all(c: &mut Criterion) -> Result<()> {
    let cases = [("gpt2", 50_257, 4, 64), ("gpt2", 50_257, 1, 1024), ("char-lstm", 76, 16, 64)];
    let mut group = c.benchmark_group("training step");
    group.sample_size(10);
    for (name, vocab, rows, time) in cases {
        let mut trainer = trainer(name, vocab)?;
        let batch = batch(vocab, rows, time);
        reset_peak(Device::Cpu);
        trainer.step(&batch)?;
        let peak = memory_stats(Device::Cpu).peak as f64 / (1u64 << 30) as f64;
        println!("{name} {rows}x{time}: peak {peak:.2} GiB of tensors");
        group.throughput(Throughput::Elements((rows * time) as u64));
        group.bench_function(format!("{name} {rows}x{time}"), |b| b.iter(|| trainer.step(&batch)));
    }
    Ok(())
}

fn train_step(c: &mut Criterion) {
    if let Err(error) = all(c) {
        panic!("{error}");
    }
}

criterion_group!(benches, train_step);
criterion_main!(benches);

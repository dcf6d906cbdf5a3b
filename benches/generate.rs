//! Cached greedy decoding of GPT-2 124M, batch 1: what `benches/pytorch/generate.py` measures too.
//!
//! Random weights; a prompt of 32 tokens, 128 new ones. Decoding one token reads every weight once:
//! the roofline is memory bandwidth over 498 MB.

use copla::generate::{Settings, generate};
use copla::models::Model;
use copla::models::gpt2::{Gpt2, preset};
use copla::ops::sample::Sampler;
use copla::{DType, Device};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const VOCAB: usize = 50_257;
const PROMPT: usize = 32;
const NEW: usize = 128;

fn decoding(criterion: &mut Criterion) {
    let model = Gpt2::new(preset("gpt2", VOCAB).expect("GPT-2"), None).expect("a model");
    let layout = model.layout().expect("a layout").frozen();
    let mut params = layout.build(DType::F32, Device::Cpu).expect("memory for GPT-2");
    model.initialise(&mut params, 0).expect("weights");
    let prompt: Vec<u32> = (0..PROMPT as u32).map(|i| i * 1543 % VOCAB as u32).collect();

    let mut group = criterion.benchmark_group("generate");
    group.sample_size(10).throughput(Throughput::Elements(NEW as u64));
    let nucleus = Sampler::new(0.8, 0, 0.95).expect("a sampler");
    for (name, sampler) in [("greedy", Sampler::GREEDY), ("top-p 0.95", nucleus)] {
        let settings =
            Settings { max_new_tokens: NEW, sampler, seed: 0, eos: None, num_return_sequences: 1 };
        group.bench_function(format!("gpt2 32+128 {name}"), |bencher| {
            bencher.iter(|| {
                generate(&model, &params, std::slice::from_ref(&prompt), &settings, &mut |_, _| {
                    Ok(())
                })
                .expect("a text")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decoding);
criterion_main!(benches);

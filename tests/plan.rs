//! What a run takes of memory is told before it is taken: the plan, made on the meta device, is the peak
//! that the CPU's allocator then counts.
//!
//! One test in a process of its own, for what is counted is the process's.

use copla::generate::{Settings, generate};
use copla::models::decoder::{DropoutShares, Options};
use copla::models::gpt2::{Gpt2, preset};
use copla::models::{Model, from_config};
use copla::ops::adamw::AdamW;
use copla::ops::sample::Sampler;
use copla::tensor::{memory_stats, reset_peak};
use copla::text::Batch;
use copla::train::plan::{self, Plan};
use copla::train::{Decay, Schedule, Trainer};
use copla::{DType, Device, Parameters};
use std::path::PathBuf;

/// A model, made anew each time it is asked for, and a batch and a prompt that fit it.
struct Case {
    name: &'static str,
    model: Box<dyn Fn() -> Box<dyn Model>>,
    rows: usize,
    time: usize,
}

fn cases() -> Vec<Case> {
    let tiny = |name| Case {
        name,
        model: Box::new(move || {
            let dir = PathBuf::from("tests/golden").join(name);
            from_config(&dir).unwrap()
        }),
        rows: 3,
        time: 11,
    };
    let nano = || {
        let shares = DropoutShares { embedding: 0.1, attention: 0.1, residual: 0.1 };
        let options = Options { dropout: shares, ..preset("nano", 4000).unwrap() };
        Box::new(Gpt2::new(options, None).unwrap()) as Box<dyn Model>
    };
    let nano = Case { name: "nano", model: Box::new(nano), rows: 2, time: 64 };
    ["gpt2_tiny", "gpt_neo_tiny", "bloom_tiny"].map(tiny).into_iter().chain([nano]).collect()
}

/// The peak of two training steps on the CPU, model and optimiser included.
fn trained(case: &Case, dtype: DType) -> usize {
    assert_eq!(memory_stats(Device::Cpu).current, 0);
    reset_peak(Device::Cpu);
    let &Case { rows, time, .. } = case;
    let model = (case.model)();
    let params = parameters(&*model, dtype);
    let schedule = Schedule { peak: 1e-3, warmup_steps: 0, total_steps: 2, decay: Decay::Constant };
    let mut trainer = Trainer::new(model, params, AdamW::default(), schedule, 1.0, 0).unwrap();
    let ids: Vec<u32> = (0..(rows * time) as u32).map(|i| i % 7).collect();
    let positions = (0..rows).flat_map(|_| 0..time as u32).collect();
    let batch = Batch {
        tokens: ids.clone(),
        targets: ids.clone(),
        positions,
        first_key: vec![0; rows * time],
        rows,
        time,
    };
    for _ in 0..2 {
        assert!(trainer.step(&batch).unwrap().loss > 0.0);
    }
    memory_stats(Device::Cpu).peak
}

fn parameters(model: &dyn Model, dtype: DType) -> Parameters {
    let mut params = model.layout().unwrap().build(dtype, Device::Cpu).unwrap();
    model.initialise(&mut params, 1).unwrap();
    params
}

/// The peak of generating `new` tokens after prompts of `prompt`.
fn generated(case: &Case, dtype: DType, prompt: usize, new: usize) -> usize {
    assert_eq!(memory_stats(Device::Cpu).current, 0);
    reset_peak(Device::Cpu);
    let model = (case.model)();
    let params = parameters(&*model, dtype);
    let settings = Settings {
        max_new_tokens: new,
        sampler: Sampler::new(0.8, 0, 0.95).unwrap(),
        seed: 1,
        eos: None,
        num_return_sequences: 1,
    };
    let prompts = vec![vec![1; prompt]; case.rows];
    let texts = generate(&*model, &params, &prompts, &settings, &mut |_, _| Ok(())).unwrap();
    assert!(texts.iter().all(|text| text.token_ids.len() == new));
    memory_stats(Device::Cpu).peak
}

#[test]
fn the_plan_is_the_peak() {
    for case in cases() {
        let &Case { name, rows, time, .. } = &case;
        for dtype in [DType::F32, DType::F16] {
            let plan = plan::training((case.model)(), dtype, rows, time).unwrap();
            assert_eq!(plan.peak, trained(&case, dtype), "{name} trained in {dtype}: {plan:?}");
            // The parts are parts of the whole, and none is nothing.
            let Plan { parameters, gradients, optimizer, activations, logits, .. } = plan;
            let parts = [parameters, gradients, optimizer, activations, logits];
            assert!(parts.iter().all(|&part| 0 < part && part < plan.peak), "{name}: {plan:?}");
            assert!(parts.iter().sum::<usize>() <= plan.peak, "{name}: {plan:?}");
            for (prompt, new) in [(time, 1), (time - 3, 5), (1, 9)] {
                let model = (case.model)();
                let plan = plan::generation(&*model, dtype, rows, prompt, new).unwrap();
                let counted = generated(&case, dtype, prompt, new);
                let what = format!("{name} continues {prompt} by {new} in {dtype}");
                assert_eq!(plan.peak, counted, "{what}: {plan:?}");
            }
        }
    }
}

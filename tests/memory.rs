//! The memory that training needs is known before any of it is allocated: a step on the meta device
//! counts what a step on the CPU takes.
//!
//! One test in a process of its own, for what is counted is the process's.

use copla::models::decoder::Options;
use copla::models::gpt2::{Gpt2, preset};
use copla::models::{Input, Model};
use copla::nn::Pass;
use copla::ops::adamw::{AdamW, Moments, StepState};
use copla::ops::cross_entropy::CrossEntropy;
use copla::random::Rng;
use copla::tensor::{memory_stats, reset_peak};
use copla::{DType, Device, Gradients, Tensor, backward};

/// The peak of two training steps, in bytes, model and optimiser included.
fn peak(device: Device, options: &Options, rows: usize, time: usize, chunk: usize) -> usize {
    assert_eq!(memory_stats(device).current, 0);
    reset_peak(device);
    let model = Gpt2::new(options.clone(), None).unwrap();
    let mut params = model.layout().unwrap().build(DType::F32, device).unwrap();
    let mut grads = Gradients::new(&params).unwrap();
    let mut moments = Moments::new(&params).unwrap();
    for step in 1..=2 {
        let ids = vec![1; rows * time];
        let input = Input::rows(&ids, rows, device).unwrap();
        let targets = Tensor::from_slice(&ids, &[rows, time], device).unwrap();
        let mut pass = Pass { dropout: Some(Rng::new(step)), ..Pass::new(&params) };
        let hidden = model.hidden(&input, &mut pass).unwrap();
        let options = CrossEntropy { targets: rows * time, chunk };
        let loss = model.loss(&hidden, &targets, options, &mut pass).unwrap();
        drop(hidden);
        grads.clear();
        backward(loss, Tensor::scalar(1.0, device).unwrap(), &mut grads).unwrap();
        grads.require_all().unwrap();
        let norm = grads.norm().unwrap();
        let state = StepState { step, learning_rate: 1e-3, max_grad_norm: 1.0, loss_scale: 1.0 };
        AdamW::default().step(&mut params, &grads, &mut moments, &norm, state).unwrap();
    }
    memory_stats(device).peak
}

fn parameters(options: &Options) -> usize {
    let layout = Gpt2::new(options.clone(), None).unwrap().layout().unwrap();
    layout.build(DType::F32, Device::Meta).unwrap().count()
}

#[test]
fn meta_counts_what_the_cpu_takes() {
    let nano = preset("nano", 4000).unwrap();
    let odd =
        Options { width: 39, heads: 3, layers: 3, mlp_width: 101, context: 70, ..nano.clone() };
    for (options, rows, time) in [(&nano, 2, 64), (&nano, 1, 200), (&odd, 3, 57)] {
        let mut peaks = Vec::new();
        for chunk in [usize::MAX, 50] {
            let [cpu, meta] =
                [Device::Cpu, Device::Meta].map(|device| peak(device, options, rows, time, chunk));
            assert_eq!(meta, cpu, "{rows} × {time} tokens in chunks of {chunk}: {options:?}");
            peaks.push(meta);
        }
        // It is a measurement and no constant: fewer logits at once are fewer bytes.
        assert!(peaks[1] < peaks[0], "{peaks:?}");
        // Values, gradients, m and v.
        let weights = 16 * parameters(options);
        assert!(peaks[1] > weights, "{peaks:?} for {weights} bytes of parameters");
    }
}

//! Whole models on CUDA: they train as on the CPU, in every storage, and write the same text. Without
//! a card the kernels run under the emulator.

use copla::cuda::emulator::{self, Checks};
use copla::formats::safetensors::Weights;
use copla::generate::{Settings, generate};
use copla::inspect::{Depth, inspect};
use copla::models::char_lstm::{self, CharLstm};
use copla::models::decoder::{DropoutShares, Options};
use copla::models::gpt2::{Gpt2, preset};
use copla::models::{Input, Model, Use, load};
use copla::nn::Pass;
use copla::ops::adamw::AdamW;
use copla::ops::sample::Sampler;
use copla::tensor::{memory_stats, reset_peak};
use copla::text::{BatchOptions, Batcher, Streams, Tokens, embedded};
use copla::train::{Decay, Schedule, Trainer};
use copla::{DType, Device, Parameters, Tensor, no_grad};
use golden::FAMILIES;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

mod golden;

/// The CUDA device of these tests, for one of them at a time, as its memory is counted; `None` where
/// there is neither a card nor a g++ to build the emulator with.
fn cuda() -> Option<(MutexGuard<'static, ()>, Device)> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if std::env::var("COPLA_TEST_DEVICE").is_ok_and(|device| device == "cuda") {
        return Some((guard, Device::Cuda(0)));
    }
    match emulator::start(Checks::Off) {
        Ok(_) => Some((guard, Device::Cuda(0))),
        Err(error) if std::env::var_os("COPLA_REQUIRE_EMULATOR").is_none() => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A decoder whose every part has an odd size, with dropout everywhere.
fn tiny() -> Options {
    let dropout = DropoutShares { embedding: 0.1, attention: 0.1, residual: 0.1 };
    let sizes = preset("nano", 97).unwrap();
    Options { width: 36, layers: 2, heads: 3, mlp_width: 50, context: 33, dropout, ..sizes }
}

/// A trainer of the tiny model for `steps` updates, and what it is trained on.
fn trainer(dtype: DType, device: Device, steps: u64) -> (Trainer, Batcher) {
    let documents: Vec<Vec<u32>> = embedded()
        .unwrap()
        .iter()
        .take(60)
        .map(|document| document.text.bytes().map(|b| u32::from(b) % 96).collect())
        .collect();
    let options = BatchOptions { seed: Some(3), ..BatchOptions::new(33, 2) };
    let batches = Batcher::new(Tokens::from_ids(&documents, 96), options).unwrap();
    let model = Gpt2::new(tiny(), Some(96)).unwrap();
    let mut params = model.layout().unwrap().build(dtype, device).unwrap();
    model.initialise(&mut params, 5).unwrap();
    let schedule =
        Schedule { peak: 3e-3, warmup_steps: 2, total_steps: steps, decay: Decay::Cosine };
    let rule = AdamW::default();
    (Trainer::new(Box::new(model), params, rule, schedule, 1.0, 5).unwrap(), batches)
}

fn values(params: &Parameters) -> Vec<f32> {
    let ids: Vec<_> = params.segments().map(|(param, _)| param).collect();
    ids.into_iter().flat_map(|param| params.get(param).read().unwrap().to_vec()).collect()
}

/// The losses of `steps` updates, and the parameters after them.
fn train(dtype: DType, device: Device, steps: u64) -> (Vec<f32>, Vec<f32>) {
    let (mut trainer, batches) = trainer(dtype, device, steps);
    let mut losses = Vec::new();
    while trainer.steps() < steps {
        let step = trainer.step(&batches.batch(trainer.attempts())).unwrap();
        if !step.skipped {
            losses.push(step.loss);
        }
    }
    (losses, values(&trainer.params))
}

#[test]
fn twenty_steps_are_those_of_the_cpu() {
    let Some((_one, device)) = cuda() else { return };
    let (expected, _) = train(DType::F32, Device::Cpu, 20);
    let (found, values) = train(DType::F32, device, 20);
    for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!((found - expected).abs() <= 1e-4, "step {step}: {found} for {expected}");
    }
    assert!(found[19] < found[0] - 0.3, "it learns: {found:?}");
    let (again, same) = train(DType::F32, device, 20);
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!((bits(&found), bits(&values)), (bits(&again), bits(&same)), "the same bits twice");
}

/// Documents of two batches or more, whose state is carried.
#[test]
fn an_lstm_trains_as_on_the_cpu() {
    let Some((_one, device)) = cuda() else { return };
    let documents: Vec<Vec<u32>> =
        (0..8).map(|i| (0..40).map(|j| (i + 3 * j) % 31).collect()).collect();
    let run = |dtype, device| {
        let streams = Streams::new(Tokens::from_ids(&documents, 32), 11, 3, 2).unwrap();
        let sizes = char_lstm::preset(33);
        let options = char_lstm::Options { embedding: 7, hidden: 19, dropout: 0.1, ..sizes };
        let model = CharLstm::new(options, Some(32)).unwrap();
        let mut params = model.layout().unwrap().build(dtype, device).unwrap();
        model.initialise(&mut params, 5).unwrap();
        let schedule =
            Schedule { peak: 1e-2, warmup_steps: 2, total_steps: 12, decay: Decay::Constant };
        let rule = AdamW::default();
        let mut trainer = Trainer::new(Box::new(model), params, rule, schedule, 1.0, 5).unwrap();
        (0..12).map(|step| trainer.step(&streams.batch(step)).unwrap().loss).collect::<Vec<_>>()
    };
    for (dtype, bound) in [(DType::F32, 1e-4), (DType::F16, 1e-2), (DType::BF16, 5e-2)] {
        let (expected, found) = (run(dtype, Device::Cpu), run(dtype, device));
        for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let difference = (found - expected).abs();
            assert!(difference <= bound, "{dtype}, step {step}: {found} for {expected}");
        }
    }
}

#[test]
fn sixteen_bit_training_tracks_the_cpu() {
    let Some((_one, device)) = cuda() else { return };
    let (wide, _) = train(DType::F32, Device::Cpu, 20);
    for (dtype, bound) in [(DType::F16, 1e-2), (DType::BF16, 5e-2)] {
        let (expected, _) = train(dtype, Device::Cpu, 20);
        let (found, _) = train(dtype, device, 20);
        for (step, ((found, expected), wide)) in found.iter().zip(&expected).zip(&wide).enumerate()
        {
            let what = format!("{dtype}, step {step}: {found}");
            assert!((found - expected).abs() <= bound, "{what}, on the CPU {expected}");
            assert!((found - wide).abs() <= 2.0 * bound, "{what}, in f32 {wide}");
        }
    }
}

#[test]
fn a_step_that_overflows_is_skipped_and_tried_with_half_the_scale() {
    let cuda = cuda();
    let devices = cuda.iter().map(|(_one, device)| *device).chain([Device::Cpu]);
    for device in devices {
        let (mut trainer, batches) = trainer(DType::F16, device, 3);
        // A head so large that the gradient of the hidden state times 65,536 is beyond f16.
        let wide: Vec<_> = (trainer.params.segments())
            .filter(|(_, segment)| segment.name.ends_with("wte.weight"))
            .map(|(param, _)| param)
            .collect();
        for param in wide {
            let value: Vec<f32> =
                trainer.params.get(param).read().unwrap().iter().map(|x| 3e3 * x).collect();
            trainer.params.set(param, &value).unwrap();
        }
        let before = values(&trainer.params);
        let mut scale = 65_536.0;
        loop {
            let step = trainer.step(&batches.batch(trainer.attempts())).unwrap();
            assert_eq!((step.step, step.loss_scale), (1, scale), "{device}");
            assert!(step.loss.is_finite());
            if !step.skipped {
                break;
            }
            assert_eq!(values(&trainer.params), before, "{device}: a skipped step changes nothing");
            assert_eq!(trainer.steps(), 0);
            scale *= 0.5;
        }
        assert!((1.0..65_536.0).contains(&scale), "{device}: no step was skipped");
        assert_ne!(values(&trainer.params), before);
        assert_eq!(trainer.attempts(), 1 + (65_536f32 / scale).log2() as u64);
    }
}

#[test]
fn logits_are_those_of_transformers() {
    let Some((_one, device)) = cuda() else { return };
    FAMILIES.iter().for_each(|family| logits_of(family, device));
}

fn logits_of(family: &str, device: Device) {
    let dir = golden::dir(family);
    let expected = Weights::open(&dir.join("expected.safetensors")).unwrap();
    let ids = expected.get("token_ids").unwrap().to_u32().unwrap();
    let reference = expected.get("logits").unwrap().to_f32().unwrap();
    // In f16 `transformers` itself is up to 0.022 away, in bf16 0.24.
    for (dtype, bound) in [(DType::F32, 1e-4), (DType::F16, 3e-2), (DType::BF16, 0.2)] {
        let (model, params) = load(&dir, Use::Inference, dtype, device).unwrap();
        let input = Input::rows(&ids, 2, device).unwrap();
        let pass = &mut Pass::new(&params);
        let logits: Tensor = no_grad(|| {
            let hidden = model.hidden(&input, pass).unwrap();
            model.logits(&hidden, pass).unwrap()
        });
        assert_eq!(logits.dtype(), DType::F32, "logits of {dtype}");
        for (x, y) in logits.read().unwrap().iter().zip(&reference) {
            assert!((x - y).abs() <= bound, "{family}, {dtype}: {x} for {y}");
        }
    }
}

#[test]
fn gradients_are_those_of_the_cpu() {
    let Some((_one, device)) = cuda() else { return };
    let ids: Vec<u32> = (0..33).map(|i| i * i % 97).collect();
    for family in FAMILIES {
        let [here, there] = [Device::Cpu, device].map(|device| {
            let dir = golden::dir(family);
            let (model, params) = load(&dir, Use::Training, DType::F32, device).unwrap();
            inspect(&*model, &params, &ids, Depth::Gradients).unwrap()
        });
        assert!((here.loss.unwrap() - there.loss.unwrap()).abs() <= 1e-5, "{family}");
        assert_eq!(here.gradients.len(), there.gradients.len());
        for ((name, here), (_, there)) in here.gradients.iter().zip(&there.gradients) {
            let [here, there] = [here, there].map(|gradient| gradient.read().unwrap());
            let largest = here.iter().fold(0.0, |most, x| f32::max(most, x.abs()));
            for (x, y) in here.iter().zip(there.iter()) {
                assert!((x - y).abs() <= 5e-6 + 1e-5 * largest, "{family}, {name}: {y} for {x}");
            }
        }
    }
}

#[test]
fn text_is_that_of_the_cpu() {
    let Some((_one, device)) = cuda() else { return };
    FAMILIES.iter().for_each(|family| text_of(family, device));
}

fn text_of(family: &str, device: Device) {
    let prompts = vec![vec![3, 5, 8], vec![13; 7]];
    let samplers = [(0.0, 0, 1.0), (0.9, 0, 1.0), (0.9, 7, 1.0), (0.9, 0, 0.8)];
    for (temperature, top_k, top_p) in samplers {
        let settings = Settings {
            max_new_tokens: 12,
            sampler: Sampler::new(temperature, top_k, top_p).unwrap(),
            seed: 4,
            eos: None,
            num_return_sequences: 2,
        };
        let [here, there] = [Device::Cpu, device].map(|device| {
            let (model, params) =
                load(&golden::dir(family), Use::Inference, DType::F32, device).unwrap();
            generate(&*model, &params, &prompts, &settings, &mut |_, _| Ok(())).unwrap()
        });
        assert_eq!(
            here, there,
            "{family}, temperature {temperature}, top-k {top_k}, top-p {top_p}"
        );
    }
}

#[test]
fn a_launch_that_fails_names_the_kernel_the_grid_and_the_line() {
    let Some((_one, device)) = cuda() else { return };
    let x = Tensor::zeros(&[8], DType::F32, device).unwrap();
    let gpu = x.gpu().unwrap();
    let launch = |kernel: &str, threads| {
        let launch = gpu.kernel("accumulate", kernel).grid(3, 1, 1).block(threads);
        let launch = launch.arg(&x).arg(&x).arg(0.0f32).arg(8u64);
        // SAFETY: nothing runs: the block is too large, or there is no such kernel.
        unsafe { launch.run() }.unwrap_err().to_string()
    };
    let error = launch("accumulate_f32_f32", 2000);
    let place = format!("kernel accumulate_f32_f32 <<<3x1x1, 2000, 0>>> at {}:", file!());
    assert!(error.starts_with(&place), "{error}");
    assert!(error.contains("CUDA_ERROR_INVALID_VALUE"), "{error}");
    let error = launch("accumulate_u32_u32", 256);
    assert!(
        error.contains("kernels/accumulate.cu: expected a kernel accumulate_u32_u32"),
        "{error}"
    );
}

#[test]
fn a_card_is_timed_by_its_own_events() {
    let Some((_one, device)) = cuda() else { return };
    let x = Tensor::full(0.5, &[64, 64], DType::F32, device).unwrap();
    let start = Instant::now();
    let time = device.timed(|| x.matmul(&x).map(drop)).unwrap();
    assert!(time > Duration::ZERO && time <= start.elapsed(), "{time:?}");
}

#[test]
fn memory_is_what_the_meta_device_foretells() {
    let Some((_one, device)) = cuda() else { return };
    for dtype in [DType::F32, DType::F16] {
        let [card, meta] = [device, Device::Meta].map(|device| {
            reset_peak(device);
            let before = memory_stats(device).current;
            let model = Gpt2::new(tiny(), None).unwrap();
            let params = model.layout().unwrap().build(dtype, device).unwrap();
            let input = Input::rows(&[1; 60], 2, device).unwrap();
            let pass = &mut Pass::new(&params);
            let hidden = model.hidden(&input, pass).unwrap();
            model.logits(&hidden, pass).unwrap();
            memory_stats(device).peak - before
        });
        assert_eq!(card, meta, "{dtype}");
    }
}

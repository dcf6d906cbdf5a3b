//! Every fused operation at the shapes of GPT-2 124M, forward, and forward with backward.
//!
//! The same cases as `benches/pytorch/ops.py`.

use copla::ops::adamw::{AdamW, Moments, StepState};
use copla::ops::attention::Attention;
use copla::ops::cross_entropy::CrossEntropy;
use copla::ops::dropout::Dropout;
use copla::ops::linear::Activation;
use copla::random::{Rng, normal_pair};
use copla::{DType, Device, Gradients, Group, Layout, Parameters, Result, Tensor};
use copla::{backward, no_grad};
use criterion::{Criterion, criterion_group, criterion_main};

const ROWS: usize = 1024;
const CHANNELS: usize = 768;
const VOCABULARY: usize = 50_257;
const HEADS: usize = 12;
const GPT2_PARAMETERS: usize = 124_439_808;

/// Inputs as parameters with random values, so that all of them receive gradients.
fn inputs(shapes: &[&[usize]]) -> Result<(Parameters, Gradients)> {
    let mut layout = Layout::new();
    for (i, shape) in shapes.iter().enumerate() {
        layout.add(&i.to_string(), shape, Group::Decay)?;
    }
    let mut params = layout.build(DType::F32, Device::Cpu)?;
    let rng = Rng::new(1);
    let of: Vec<_> = params.segments().map(|(id, s)| (id, s.shape.numel())).collect();
    for (site, (id, n)) in of.into_iter().enumerate() {
        let key = rng.key(site as u64);
        let value = |i| {
            let words = rng.words(key, i);
            0.02 * normal_pair(words[0], words[1]).0
        };
        params.set(id, &(0..n as u64).map(value).collect::<Vec<_>>())?;
    }
    let grads = Gradients::new(&params)?;
    Ok((params, grads))
}

/// Measures `forward` on tensors of these shapes, without history, and then with its backward.
fn bench(
    c: &mut Criterion,
    name: &str,
    shapes: &[&[usize]],
    forward: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<()> {
    let (params, mut grads) = inputs(shapes)?;
    let tensors: Vec<Tensor> = params.segments().map(|(id, _)| params.get(id)).collect();
    c.bench_function(&format!("{name} forward"), |b| {
        b.iter(|| no_grad(|| forward(&tensors)));
    });
    let y = no_grad(|| forward(&tensors))?;
    let dy = Tensor::full(1.0, y.dims(), DType::F32, Device::Cpu)?;
    c.bench_function(&format!("{name} forward+backward"), |b| {
        b.iter(|| {
            grads.clear();
            backward(forward(&tensors)?, dy.clone(), &mut grads)
        });
    });
    Ok(())
}

fn all(c: &mut Criterion) -> Result<()> {
    let ids = |n: usize, below: usize| -> Vec<u32> {
        (0..n).map(|i| (i * 7919 % below) as u32).collect()
    };
    let (x, norm) = ([ROWS, CHANNELS], [CHANNELS]);
    bench(c, "layer_norm", &[&x, &norm, &norm], |x| x[0].layer_norm(&x[1], &x[2], 1e-5))?;
    bench(c, "residual_layer_norm", &[&x, &x, &norm, &norm], |x| {
        Ok(x[0].residual_layer_norm(&x[1], &x[2], &x[3], 1e-5)?.1)
    })?;
    let wide = [4 * CHANNELS, CHANNELS];
    bench(c, "linear_gelu", &[&x, &wide, &[4 * CHANNELS]], |x| {
        x[0].linear(&x[1], Some(&x[2]), Activation::GeluTanh)
    })?;
    let first_key = Tensor::zeros(&[1, ROWS], DType::U32, Device::Cpu)?;
    bench(c, "attention", &[&[1, ROWS, 3, HEADS, CHANNELS / HEADS]], |x| {
        x[0].attention(&first_key, Attention { scale: 0.125, alibi: false, dropout: None })
    })?;
    let dropout = Dropout::new(0.1, Rng::new(2), 0)?;
    bench(c, "dropout", &[&x], |x| x[0].clone().dropout(dropout))?;
    let targets = Tensor::from_slice(&ids(ROWS, VOCABULARY), &[ROWS], Device::Cpu)?;
    bench(c, "linear_cross_entropy", &[&x, &[VOCABULARY, CHANNELS]], |x| {
        let options = CrossEntropy { targets: ROWS, chunk: ROWS };
        x[0].linear_cross_entropy(&x[1], &targets, options)
    })?;
    let tokens = Tensor::from_slice(&ids(ROWS, VOCABULARY), &[1, ROWS], Device::Cpu)?;
    let places = Tensor::from_slice(&ids(ROWS, ROWS), &[1, ROWS], Device::Cpu)?;
    bench(c, "embedding", &[&[VOCABULARY, CHANNELS], &x], |x| {
        x[0].embedding(&tokens, Some((&x[1], &places)))
    })?;
    adamw(c)
}

fn adamw(c: &mut Criterion) -> Result<()> {
    let (mut params, grads) = inputs(&[&[GPT2_PARAMETERS]])?;
    let mut moments = Moments::new(&params)?;
    let norm = Tensor::scalar(1.0, Device::Cpu)?;
    let state = StepState { step: 1, learning_rate: 1e-4, max_grad_norm: 0.0, loss_scale: 1.0 };
    c.bench_function("adamw 124M", |b| {
        b.iter(|| AdamW::default().step(&mut params, &grads, &mut moments, &norm, state));
    });
    c.bench_function("grad_norm 124M", |b| b.iter(|| grads.norm()));
    Ok(())
}

fn ops(c: &mut Criterion) {
    if let Err(error) = all(c) {
        panic!("{error}");
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(10); targets = ops }
criterion_main!(benches);

//! How operations are proven: PyTorch float64 goldens on every device, finite differences, and the
//! CPU's results against those of kernels.

use crate::cuda::emulator::{self, Checks, Order};
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::{Device, Gradients, Group, Layout, Param, Tensor, backward};
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// A file of reference results, made by `tests/golden/make.py`; keys are `<case>/<name>`.
pub struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    pub fn open(family: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let path = folder.join(format!("{family}.safetensors"));
        Golden { bytes: std::fs::read(&path).unwrap_or_else(|e| panic!("{path:?}: {e}")) }
    }

    pub fn tensor(&self, key: &str) -> Tensor {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let stored = file.tensor(key).unwrap_or_else(|e| panic!("{key}: {e}"));
        let words = stored.data().chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
        match stored.dtype() {
            Dtype::F32 => {
                let values: Vec<f32> = words.map(f32::from_le_bytes).collect();
                Tensor::from_slice(&values, stored.shape(), Device::Cpu).unwrap()
            }
            Dtype::U32 => {
                let values: Vec<u32> = words.map(u32::from_le_bytes).collect();
                Tensor::from_slice(&values, stored.shape(), Device::Cpu).unwrap()
            }
            other => panic!("{key}: dtype {other:?}"),
        }
    }

    pub fn inputs(&self, case: &str, names: &[&str]) -> Vec<Tensor> {
        names.iter().map(|name| self.tensor(&format!("{case}/{name}"))).collect()
    }

    /// Cases are the parts of keys before the slash.
    pub fn cases(&self) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let cases = file.names().into_iter().map(|key| key.split('/').next().unwrap().to_string());
        std::collections::BTreeSet::from_iter(cases).into_iter().collect()
    }
}

/// |x − reference| ≤ absolute + relative·|reference|, or ·max|reference| where results are sums
/// whose terms cancel.
#[derive(Clone, Copy)]
pub struct Tolerance {
    pub absolute: f32,
    pub relative: f32,
    pub of_largest: bool,
}

/// Elementwise f32 (DESIGN.md, section 8).
pub const ELEMENTWISE: Tolerance =
    Tolerance { absolute: 1e-5, relative: 1.3e-6, of_largest: false };
/// Sums and products: the bound is relative to Σ|aᵢbᵢ|, which is at least the largest result.
pub const SUMS: Tolerance = Tolerance { absolute: 1e-5, relative: 1.3e-6, of_largest: true };

pub fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: Tolerance) {
    assert_eq!(found.dims(), expected.dims(), "{what}: shape");
    let (found, expected) = (found.read().unwrap(), expected.read().unwrap());
    let largest = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    for (i, (x, reference)) in found.iter().zip(expected.iter()).enumerate() {
        let size = if tolerance.of_largest { largest } else { reference.abs() };
        let bound = tolerance.absolute + tolerance.relative * size;
        let close = (x - reference).abs() <= bound || x == reference;
        assert!(close, "{what}[{i}]: {x} for {reference}, bound {bound}");
    }
}

/// Runs `body` on the CPU, then as [`on_cuda`] does.
pub fn on_every_device(body: impl Fn(Device)) {
    body(Device::Cpu);
    on_cuda(body);
}

/// Runs `body` on CUDA: on the emulator in three orders of its threads, with every check on; or once
/// on the card, where `COPLA_TEST_DEVICE=cuda` asks for it.
pub fn on_cuda(body: impl Fn(Device)) {
    if std::env::var("COPLA_TEST_DEVICE").is_ok_and(|device| device == "cuda") {
        return body(Device::Cuda(0));
    }
    let emulator = match emulator::start(Checks::On) {
        Ok(emulator) => emulator,
        Err(error) if std::env::var_os("COPLA_REQUIRE_EMULATOR").is_none() => {
            return eprintln!("skipped: {error}");
        }
        Err(error) => panic!("{error}"),
    };
    for order in [Order::Forward, Order::Reverse, Order::Random(1)] {
        emulator.set_order(order);
        body(Device::Cuda(0));
    }
}

/// The operation under test, from its differentiable inputs to one output.
pub type Forward<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// What `forward` makes of the values, stored as `dtype`, and the gradients of Σ y·dy. The inputs
/// are parameters, so that they receive gradients.
pub fn run(
    values: &[Tensor],
    dy: &Tensor,
    dtype: DType,
    device: Device,
    forward: Forward,
) -> (Tensor, Vec<Tensor>) {
    let mut layout = Layout::new();
    let ids: Vec<Param> = (0..values.len())
        .map(|i| layout.add(&i.to_string(), values[i].dims(), Group::Decay).unwrap())
        .collect();
    let mut params = layout.build(dtype, device).unwrap();
    for (id, value) in ids.iter().zip(values) {
        params.set(*id, &value.read().unwrap()).unwrap();
    }
    let mut grads = Gradients::new(&params).unwrap();
    let tensors: Vec<Tensor> = ids.iter().map(|id| params.get(*id)).collect();
    let y = forward(&tensors).unwrap();
    // A gradient has the dtype of what it is the gradient of.
    let dy = if dy.device() == Device::Cpu { dy.cast(y.dtype()).unwrap() } else { dy.clone() };
    backward(y.clone(), dy.to_device(device).unwrap(), &mut grads).unwrap();
    (y.detach(), ids.iter().map(|id| grads.get(*id).unwrap()).collect())
}

/// The gradients of Σ y·dy by the values, in f32 on the CPU.
pub fn gradients(values: &[Tensor], dy: &Tensor, forward: Forward) -> Vec<Tensor> {
    run(values, dy, DType::F32, Device::Cpu, forward).1
}

/// Runs `forward` on the named inputs of a case and compares `y` and every gradient `d<input>` with
/// the golden ones; then checks the gradients against finite differences.
pub fn check_case(golden: &Golden, case: &str, inputs: &[&str], at: Tolerance, forward: Forward) {
    check_golden(golden, case, inputs, at, forward);
    let values = golden.inputs(case, inputs);
    check_finite_differences(case, &values, &golden.tensor(&format!("{case}/dy")), forward);
}

/// [`check_case`] without finite differences, for inputs near a kink.
pub fn check_golden(golden: &Golden, case: &str, inputs: &[&str], at: Tolerance, forward: Forward) {
    let key = |name: &str| golden.tensor(&format!("{case}/{name}"));
    let values = golden.inputs(case, inputs);
    on_every_device(|device| {
        let (y, grads) = run(&values, &key("dy"), DType::F32, device, forward);
        assert_close(&format!("{case}/y on {device}"), &y, &key("y"), at);
        for (grad, name) in grads.iter().zip(inputs) {
            let what = format!("{case}/d{name} on {device}");
            assert_close(&what, grad, &key(&format!("d{name}")), at);
        }
    });
}

/// On CUDA `forward` and its gradients are the CPU's, in each order of threads to the same bit.
pub fn agree(what: &str, values: &[Tensor], dtype: DType, at: Tolerance, forward: Forward) {
    let rounded: Vec<Tensor> = values.iter().map(|x| x.cast(dtype).unwrap()).collect();
    let dims = {
        let y = forward(&rounded).unwrap();
        y.dims().to_vec()
    };
    let dy = normal(&dims, 99);
    let (y, grads) = run(&rounded, &dy, dtype, Device::Cpu, forward);
    let first = std::cell::RefCell::new(None);
    on_cuda(|device| {
        let (found, found_grads) = run(&rounded, &dy, dtype, device, forward);
        assert_eq!(found.dtype(), y.dtype(), "{what} in {dtype}: dtype");
        assert_close(&format!("{what} in {dtype}: y"), &found, &y, at);
        for (i, (found, grad)) in found_grads.iter().zip(&grads).enumerate() {
            assert_close(&format!("{what} in {dtype}: gradient {i}"), found, grad, at);
        }
        let bits = |x: &Tensor| x.read().unwrap().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let all: Vec<_> = [found].iter().chain(&found_grads).map(bits).collect();
        let mut first = first.borrow_mut();
        assert_eq!(first.get_or_insert(all.clone()), &all, "{what} in {dtype}: not deterministic");
    });
}

/// How close two computations in this storage come (DESIGN.md, section 8).
pub fn tolerance(dtype: DType) -> Tolerance {
    match dtype {
        DType::F16 => Tolerance { absolute: 1e-3, relative: 1e-3, of_largest: true },
        DType::BF16 => Tolerance { absolute: 1.6e-2, relative: 1.6e-2, of_largest: true },
        DType::F32 | DType::U32 => SUMS,
    }
}

/// Standard normal numbers, always the same for a seed.
pub fn normal(dims: &[usize], seed: u64) -> Tensor {
    let rng = crate::random::Rng::new(seed);
    let at = |i: usize| {
        let w = rng.words(rng.key(0), i as u64);
        crate::random::normal_pair(w[0], w[1]).0
    };
    let values: Vec<f32> = (0..dims.iter().product()).map(at).collect();
    Tensor::from_slice(&values, dims, Device::Cpu).unwrap()
}

/// With 16-bit storage the results are those of f32 on the same numbers, but for rounding
/// (DESIGN.md, section 8); and a run without bytes comes to the same shapes.
pub fn check_storage(case: &str, values: &[Tensor], dy: &Tensor, forward: Forward) {
    for dtype in [DType::F16, DType::BF16] {
        let stored = |x: &Tensor| x.cast(dtype).unwrap().cast(DType::F32).unwrap();
        let rounded: Vec<Tensor> = values.iter().map(stored).collect();
        let (y, grads) = run(&rounded, &stored(dy), DType::F32, Device::Cpu, forward);
        on_every_device(|device| {
            let (narrow, narrow_grads) = run(&rounded, &stored(dy), dtype, device, forward);
            assert_eq!(narrow.dtype(), dtype, "{case}: dtype");
            let at = tolerance(dtype);
            assert_close(&format!("{case}/y in {dtype} on {device}"), &narrow, &y, at);
            for (i, (narrow, grad)) in narrow_grads.iter().zip(&grads).enumerate() {
                assert_close(&format!("{case}: gradient {i} in {dtype}"), narrow, grad, at);
            }
        });
    }
    let (y, _) = run(values, dy, DType::F32, Device::Cpu, forward);
    let nowhere = Tensor::zeros(dy.dims(), DType::F32, Device::Meta).unwrap();
    let (meta, grads) = run(values, &nowhere, DType::F32, Device::Meta, forward);
    assert_eq!((meta.dims(), meta.device()), (y.dims(), Device::Meta), "{case}: meta");
    assert_eq!(grads.len(), values.len(), "{case}: meta gradients");
}

/// Compares ⟨gradient, direction⟩ with (L(x + h·direction) − L(x − h·direction)) / 2h for
/// L = Σ y·dy, over random directions in all inputs at once.
pub fn check_finite_differences(case: &str, values: &[Tensor], dy: &Tensor, forward: Forward) {
    let grads = gradients(values, dy, forward);
    let dy = dy.read().unwrap();
    for trial in 0..3 {
        let rng = crate::random::Rng::new(trial);
        let direction: Vec<Vec<f32>> = (values.iter().enumerate())
            .map(|(i, value)| {
                let at = |j: usize| rng.words(rng.key(i as u64), j as u64);
                let normal = |w: [u32; 4]| crate::random::normal_pair(w[0], w[1]).0;
                (0..value.numel()).map(|j| normal(at(j))).collect()
            })
            .collect();
        let slope: f64 = (grads.iter().zip(&direction))
            .flat_map(|(grad, direction)| {
                let grad = grad.to_vec::<f32>().unwrap();
                grad.into_iter().zip(direction).map(|(g, d)| f64::from(g) * f64::from(*d))
            })
            .sum();
        let loss = |h: f32| -> f64 {
            let moved: Vec<Tensor> = (values.iter().zip(&direction))
                .map(|(value, direction)| {
                    let x = value.read().unwrap();
                    let moved: Vec<f32> = x.iter().zip(direction).map(|(x, d)| x + h * d).collect();
                    Tensor::from_slice(&moved, value.dims(), Device::Cpu).unwrap()
                })
                .collect();
            let y = forward(&moved).unwrap();
            let y = y.read().unwrap();
            y.iter().zip(dy.iter()).map(|(y, d)| f64::from(*y) * f64::from(*d)).sum()
        };
        let h = 1e-3;
        let (up, down) = (loss(h), loss(-h));
        let measured = (up - down) / (2.0 * f64::from(h));
        // Rounding of the two f32 losses, and the curvature's third-order term.
        let noise = 1e-6 * (up.abs() + down.abs()) / f64::from(h);
        let bound = 2e-2 * slope.abs() + noise + 2e-2;
        assert!((measured - slope).abs() <= bound, "{case}: slope {slope}, measured {measured}");
    }
}

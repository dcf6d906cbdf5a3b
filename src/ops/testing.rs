//! How operations are proven: PyTorch float64 goldens, and finite differences.

use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::{Device, Gradients, Group, Layout, Param, Parameters, Tensor, backward};
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

/// The inputs of a case as parameters, so that they receive gradients.
fn as_parameters(values: &[Tensor], dtype: DType) -> (Vec<Param>, Parameters, Gradients) {
    let mut layout = Layout::new();
    let ids: Vec<Param> = (0..values.len())
        .map(|i| layout.add(&i.to_string(), values[i].dims(), Group::Decay).unwrap())
        .collect();
    let mut params = layout.build(dtype, Device::Cpu).unwrap();
    for (id, value) in ids.iter().zip(values) {
        params.set(*id, &value.read().unwrap()).unwrap();
    }
    let grads = Gradients::new(&params).unwrap();
    (ids, params, grads)
}

/// The operation under test, from its differentiable inputs to one output.
pub type Forward<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// Runs `forward` on the named inputs of a case and compares `y` and every gradient `d<input>` with
/// the golden ones; then checks the gradients against finite differences.
pub fn check_case(golden: &Golden, case: &str, inputs: &[&str], at: Tolerance, forward: Forward) {
    let key = |name: &str| golden.tensor(&format!("{case}/{name}"));
    let values: Vec<Tensor> = inputs.iter().map(|name| key(name)).collect();
    let (ids, params, mut grads) = as_parameters(&values, DType::F32);
    let tensors: Vec<Tensor> = ids.iter().map(|id| params.get(*id)).collect();
    let y = forward(&tensors).unwrap();
    drop(tensors);
    assert_close(&format!("{case}/y"), &y, &key("y"), at);
    let dy = key("dy");
    backward(y, dy.clone(), &mut grads).unwrap();
    for (id, name) in ids.iter().zip(inputs) {
        let what = format!("{case}/d{name}");
        assert_close(&what, &grads.get(*id).unwrap(), &key(&format!("d{name}")), at);
    }
    check_finite_differences(case, &values, &dy, forward);
}

/// Compares ⟨gradient, direction⟩ with (L(x + h·direction) − L(x − h·direction)) / 2h for
/// L = Σ y·dy, over random directions in all inputs at once.
pub fn check_finite_differences(case: &str, values: &[Tensor], dy: &Tensor, forward: Forward) {
    let (ids, params, mut grads) = as_parameters(values, DType::F32);
    let tensors: Vec<Tensor> = ids.iter().map(|id| params.get(*id)).collect();
    backward(forward(&tensors).unwrap(), dy.clone(), &mut grads).unwrap();
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
        let slope: f64 = (ids.iter().zip(&direction))
            .flat_map(|(id, direction)| {
                let grad = grads.get(*id).unwrap().to_vec::<f32>().unwrap();
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

use super::clip_factor;
use crate::tensor::{Device, Gradients, Group, Layout, Tensor, backward};

fn gradients(values: &[f32]) -> Gradients {
    let mut layout = Layout::new();
    let w = layout.add("w", &[values.len()], Group::Decay).unwrap();
    let params = layout.build(crate::DType::F32, Device::Cpu).unwrap();
    let mut grads = Gradients::new(&params).unwrap();
    let seed = Tensor::from_slice(values, &[values.len()], Device::Cpu).unwrap();
    backward(params.get(w).reshape(seed.dims()).unwrap(), seed, &mut grads).unwrap();
    grads
}

#[test]
fn the_norm_is_the_root_of_the_sum_of_squares() {
    assert_eq!(gradients(&[3.0, -4.0]).norm().unwrap().item().unwrap(), 5.0);
    // 100,003 equal terms: an f32 running sum would be off in the fourth digit.
    let n = 100_003;
    let norm = gradients(&vec![0.1; n]).norm().unwrap().item().unwrap();
    let expected = f64::from(0.1f32) * (n as f64).sqrt();
    assert!((f64::from(norm) - expected).abs() < 1e-6 * expected, "{norm} for {expected}");
}

#[test]
fn what_is_not_finite_shows() {
    assert!(gradients(&[1.0, f32::NAN]).norm().unwrap().item().unwrap().is_nan());
    assert!(gradients(&[1.0, f32::INFINITY]).norm().unwrap().item().unwrap().is_infinite());
}

#[test]
fn clipping_only_shortens() {
    assert_eq!(clip_factor(0.5, 1.0), 1.0);
    assert!((clip_factor(4.0, 1.0) - 0.25).abs() < 1e-6);
    assert_eq!(clip_factor(4.0, 0.0), 1.0);
    assert!(clip_factor(f32::NAN, 1.0).is_nan() || clip_factor(f32::NAN, 1.0) == 1.0);
}

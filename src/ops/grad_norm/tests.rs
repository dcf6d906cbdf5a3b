use super::clip_factor;
use crate::ops::testing::*;
use crate::tensor::{Device, Gradients, Group, Layout, Tensor, backward};
use std::cell::RefCell;

fn norm(values: &[f32], device: Device) -> f32 {
    let mut layout = Layout::new();
    let w = layout.add("w", &[values.len()], Group::Decay).unwrap();
    let params = layout.build(crate::DType::F32, device).unwrap();
    let mut grads = Gradients::new(&params).unwrap();
    let seed = Tensor::from_slice(values, &[values.len()], device).unwrap();
    backward(params.get(w).reshape(seed.dims()).unwrap(), seed, &mut grads).unwrap();
    let norm = grads.norm().unwrap();
    assert_eq!((norm.dims(), norm.device()), (&[][..], device));
    norm.item().unwrap()
}

#[test]
fn the_norm_is_the_root_of_the_sum_of_squares() {
    on_every_device(|device| {
        assert_eq!(norm(&[3.0, -4.0], device), 5.0);
        // Equal terms: an f32 running sum of the last would be off in the fourth digit.
        for n in [1, 31, 33, 769, 50257, 100_003] {
            let norm = norm(&vec![0.1; n], device);
            let expected = f64::from(0.1f32) * (n as f64).sqrt();
            let error = (f64::from(norm) - expected).abs();
            assert!(error < 1e-6 * expected, "{n}: {norm} for {expected} on {device}");
        }
    });
}

#[test]
fn a_card_adds_in_one_order() {
    let values = normal(&[30_011], 5).to_vec::<f32>().unwrap();
    let first = RefCell::new(None);
    on_cuda(|device| {
        let bits = norm(&values, device).to_bits();
        assert_eq!(*first.borrow_mut().get_or_insert(bits), bits);
    });
}

#[test]
fn what_is_not_finite_shows() {
    on_every_device(|device| {
        for at in [0, 1, 40_000] {
            let with = |value: f32| {
                let mut values = vec![1.0; 40_001];
                values[at] = value;
                norm(&values, device)
            };
            assert!(with(f32::NAN).is_nan());
            assert!(with(f32::NEG_INFINITY) == f32::INFINITY);
        }
    });
}

#[test]
fn clipping_only_shortens() {
    assert_eq!(clip_factor(0.5, 1.0), 1.0);
    assert!((clip_factor(4.0, 1.0) - 0.25).abs() < 1e-6);
    assert_eq!(clip_factor(4.0, 0.0), 1.0);
    assert!(clip_factor(f32::NAN, 1.0).is_nan() || clip_factor(f32::NAN, 1.0) == 1.0);
}

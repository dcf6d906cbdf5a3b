use super::{AdamW, Moments, StepState};
use crate::DType;
use crate::ops::testing::*;
use crate::tensor::{Device, Gradients, Group, Layout, Param, Parameters, Tensor, backward};

const RULE: AdamW = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };

fn parameter(group: Group, values: &Tensor, dtype: DType) -> (Param, Parameters) {
    let mut layout = Layout::new();
    let param = layout.add("values", values.dims(), group).unwrap();
    let mut params = layout.build(dtype, Device::Cpu).unwrap();
    params.set(param, &values.read().unwrap()).unwrap();
    (param, params)
}

/// Gives the parameter exactly this gradient.
fn set_gradient(params: &Parameters, param: Param, grads: &mut Gradients, grad: &Tensor) {
    grads.clear();
    let x = params.get(param).reshape(grad.dims()).unwrap();
    backward(x, grad.clone(), grads).unwrap();
}

#[test]
fn three_steps_equal_pytorch_with_and_without_decay() {
    let golden = Golden::open("adamw");
    for case in golden.cases() {
        let key = |name: &str| golden.tensor(&format!("{case}/{name}"));
        let group = if case.contains("no_decay") { Group::NoDecay } else { Group::Decay };
        let (param, mut params) = parameter(group, &key("values"), DType::F32);
        let mut moments = Moments::new(&params).unwrap();
        let mut grads = Gradients::new(&params).unwrap();
        for step in 0..3 {
            set_gradient(&params, param, &mut grads, &key(&format!("grad_{step}")));
            let state = StepState { step: step + 1, learning_rate: 1e-2, grad_scale: 1.0 };
            RULE.step(&mut params, &grads, &mut moments, state).unwrap();
            let what = format!("{case} after {step}");
            assert_close(&what, &params.get(param), &key(&format!("after_{step}")), ELEMENTWISE);
        }
    }
}

#[test]
fn sixteen_bit_parameters_follow_their_master() {
    let start = Tensor::full(1.0, &[300], DType::F32, Device::Cpu).unwrap();
    let (param, mut params) = parameter(Group::Decay, &start, DType::BF16);
    let mut moments = Moments::new(&params).unwrap();
    let mut grads = Gradients::new(&params).unwrap();
    // Steps of 1e-3 are below bf16's resolution at 1 (2⁻⁸): only a master can add them up.
    let rule = AdamW { weight_decay: 0.0, ..RULE };
    for step in 1..=16 {
        let ones = Tensor::full(1.0, &[300], DType::F32, Device::Cpu).unwrap();
        set_gradient(&params, param, &mut grads, &ones);
        let state = StepState { step, learning_rate: 1e-3, grad_scale: 1.0 };
        rule.step(&mut params, &grads, &mut moments, state).unwrap();
    }
    for value in params.get(param).read().unwrap().iter() {
        assert!((value - 0.984).abs() < 2e-3, "{value}");
    }
}

#[test]
fn padding_stays_zero() {
    let start = Tensor::full(1.0, &[3], DType::F32, Device::Cpu).unwrap();
    let (param, mut params) = parameter(Group::Decay, &start, DType::F32);
    let mut moments = Moments::new(&params).unwrap();
    let mut grads = Gradients::new(&params).unwrap();
    set_gradient(&params, param, &mut grads, &start);
    let state = StepState { step: 1, learning_rate: 1.0, grad_scale: 1.0 };
    RULE.step(&mut params, &grads, &mut moments, state).unwrap();
    let values = params.values_mut().unwrap().slice::<f32>().unwrap();
    assert!(values[..3].iter().all(|&x| x < 0.0) && values[3..].iter().all(|&x| x == 0.0));
}

use super::{AdamW, Moments, StepState};
use crate::DType;
use crate::ops::testing::*;
use crate::tensor::{Device, Gradients, Group, Layout, Param, Parameters, Tensor, backward};

const RULE: AdamW = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };

/// A step without clipping or scaling.
fn state(step: u64, learning_rate: f32) -> StepState {
    StepState { step, learning_rate, max_grad_norm: 0.0, loss_scale: 1.0 }
}

/// One parameter and what its training needs.
struct Setup {
    param: Param,
    params: Parameters,
    grads: Gradients,
    moments: Moments,
}

impl Setup {
    fn new(group: Group, values: &Tensor, dtype: DType) -> Self {
        let mut layout = Layout::new();
        let param = layout.add("values", values.dims(), group).unwrap();
        let mut params = layout.build(dtype, Device::Cpu).unwrap();
        params.set(param, &values.read().unwrap()).unwrap();
        let grads = Gradients::new(&params).unwrap();
        let moments = Moments::new(&params).unwrap();
        Setup { param, params, grads, moments }
    }

    /// One step with exactly this gradient.
    fn step(&mut self, rule: &AdamW, grad: &Tensor, state: StepState) {
        self.grads.clear();
        let x = self.params.get(self.param).reshape(grad.dims()).unwrap();
        backward(x, grad.clone(), &mut self.grads).unwrap();
        let norm = self.grads.norm().unwrap();
        rule.step(&mut self.params, &self.grads, &mut self.moments, &norm, state).unwrap();
    }

    fn values(&self) -> Tensor {
        self.params.get(self.param).detach()
    }
}

#[test]
fn three_steps_equal_pytorch_with_and_without_decay() {
    let golden = Golden::open("adamw");
    for case in golden.cases() {
        let key = |name: &str| golden.tensor(&format!("{case}/{name}"));
        let group = if case.contains("no_decay") { Group::NoDecay } else { Group::Decay };
        let mut setup = Setup::new(group, &key("values"), DType::F32);
        for step in 0..3 {
            setup.step(&RULE, &key(&format!("grad_{step}")), state(step + 1, 1e-2));
            let what = format!("{case} after {step}");
            assert_close(&what, &setup.values(), &key(&format!("after_{step}")), ELEMENTWISE);
        }
    }
}

#[test]
fn sixteen_bit_parameters_follow_their_master() {
    let ones = Tensor::full(1.0, &[300], DType::F32, Device::Cpu).unwrap();
    let mut setup = Setup::new(Group::Decay, &ones, DType::BF16);
    // Steps of 1e-3 are below bf16's resolution at 1 (2⁻⁸): only a master can add them up.
    let rule = AdamW { weight_decay: 0.0, ..RULE };
    for step in 1..=16 {
        setup.step(&rule, &ones, state(step, 1e-3));
    }
    for value in setup.values().read().unwrap().iter() {
        assert!((value - 0.984).abs() < 2e-3, "{value}");
    }
}

#[test]
fn padding_stays_zero() {
    let start = Tensor::full(1.0, &[3], DType::F32, Device::Cpu).unwrap();
    let mut setup = Setup::new(Group::Decay, &start, DType::F32);
    setup.step(&RULE, &start, state(1, 1.0));
    let values = setup.params.values_mut().unwrap().read().unwrap();
    assert!(values[..3].iter().all(|&x| x < 0.0) && values[3..].iter().all(|&x| x == 0.0));
}

#[test]
fn a_scaled_loss_takes_the_same_step_and_an_overflow_none() {
    let start = Tensor::full(1.0, &[4], DType::F32, Device::Cpu).unwrap();
    let grad = |scale: f32| {
        let grad: Vec<f32> = [3.0, -0.5, 0.25, 2.0].map(|g: f32| g * scale).to_vec();
        Tensor::from_slice(&grad, &[4], Device::Cpu).unwrap()
    };
    // The second step's clipping shows in m, and so in the values.
    let after = |scale: f32, max_grad_norm: f32| {
        let mut setup = Setup::new(Group::Decay, &start, DType::F32);
        for (step, factor) in [(1, 1.0), (2, 8.0)] {
            let state = StepState { max_grad_norm, loss_scale: scale, ..state(step, 0.1) };
            setup.step(&RULE, &grad(scale * factor), state);
        }
        setup
    };
    let plain = after(1.0, 4.0).values();
    assert_close("scaled", &after(1024.0, 4.0).values(), &plain, ELEMENTWISE);
    assert_ne!(after(1.0, 0.0).values().read().unwrap(), plain.read().unwrap());

    let mut setup = after(1024.0, 4.0);
    let before =
        (setup.values().to_vec::<f32>().unwrap(), setup.moments.m.read().unwrap().to_vec());
    for bad in [f32::NAN, f32::INFINITY] {
        setup.step(&RULE, &grad(bad), state(3, 0.1));
        assert_eq!(setup.values().to_vec::<f32>().unwrap(), before.0, "{bad}");
        assert_eq!(setup.moments.m.read().unwrap().to_vec(), before.1, "{bad}");
    }
}

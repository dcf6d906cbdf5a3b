use super::{AdamW, Moments, StepState};
use crate::DType;
use crate::ops::testing::*;
use crate::tensor::{
    Buffer, Device, Gradients, Group, Layout, Param, Parameters, Tensor, backward,
};

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
    fn new(group: Group, values: &Tensor, dtype: DType, device: Device) -> Self {
        let mut layout = Layout::new();
        let param = layout.add("values", values.dims(), group).unwrap();
        let mut params = layout.build(dtype, device).unwrap();
        params.set(param, &values.read().unwrap()).unwrap();
        let grads = Gradients::new(&params).unwrap();
        let moments = Moments::new(&params).unwrap();
        Setup { param, params, grads, moments }
    }

    /// One step with exactly this gradient.
    fn step(&mut self, rule: &AdamW, grad: &Tensor, state: StepState) {
        self.grads.clear();
        let x = self.params.get(self.param).reshape(grad.dims()).unwrap();
        backward(x, grad.to_device(self.params.device()).unwrap(), &mut self.grads).unwrap();
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
    on_every_device(|device| {
        for case in golden.cases() {
            let key = |name: &str| golden.tensor(&format!("{case}/{name}"));
            let group = if case.contains("no_decay") { Group::NoDecay } else { Group::Decay };
            let mut setup = Setup::new(group, &key("values"), DType::F32, device);
            for step in 0..3 {
                setup.step(&RULE, &key(&format!("grad_{step}")), state(step + 1, 1e-2));
                let what = format!("{case} after {step} on {device}");
                assert_close(&what, &setup.values(), &key(&format!("after_{step}")), ELEMENTWISE);
            }
        }
    });
}

#[test]
fn a_card_takes_the_steps_of_the_cpu() {
    for (n, dtype) in [
        (1, DType::F32),
        (31, DType::BF16),
        (33, DType::F16),
        (769, DType::F32),
        (769, DType::F16),
        (50257, DType::BF16),
    ] {
        for group in [Group::Decay, Group::NoDecay] {
            let after = |device: Device| {
                let mut setup = Setup::new(group, &normal(&[n], 1), dtype, device);
                for step in 1..=3 {
                    let clipped = StepState { max_grad_norm: 0.5, ..state(step, 1e-2) };
                    setup.step(&RULE, &normal(&[n], 1 + step), clipped);
                }
                setup
            };
            let expected = after(Device::Cpu);
            on_cuda(|device| {
                let found = after(device);
                let what = format!("{n} in {dtype}");
                assert_close(&what, &found.values(), &expected.values(), tolerance(dtype));
                let close = |name: &str, found: &Buffer, expected: &Buffer| {
                    let [found, expected] = [found, expected].map(|buffer| {
                        let values = buffer.read().unwrap();
                        Tensor::from_slice(&values, &[values.len()], Device::Cpu).unwrap()
                    });
                    assert_close(&format!("{what}: {name}"), &found, &expected, ELEMENTWISE);
                };
                close("m", &found.moments.m, &expected.moments.m);
                close("v", &found.moments.v, &expected.moments.v);
                if let (Some(found), Some(expected)) =
                    (&found.moments.master, &expected.moments.master)
                {
                    close("master", found, expected);
                }
            });
        }
    }
}

#[test]
fn sixteen_bit_parameters_follow_their_master() {
    on_every_device(|device| {
        let ones = Tensor::full(1.0, &[300], DType::F32, Device::Cpu).unwrap();
        let mut setup = Setup::new(Group::Decay, &ones, DType::BF16, device);
        // Steps of 1e-3 are below bf16's resolution at 1 (2⁻⁸): only a master can add them up.
        let rule = AdamW { weight_decay: 0.0, ..RULE };
        for step in 1..=16 {
            setup.step(&rule, &ones, state(step, 1e-3));
        }
        for value in setup.values().read().unwrap().iter() {
            assert!((value - 0.984).abs() < 2e-3, "{value}");
        }
    });
}

#[test]
fn padding_stays_zero() {
    on_every_device(|device| {
        for dtype in [DType::F32, DType::F16] {
            // What is freed here may be what the moments are made of.
            drop([(); 9].map(|()| Tensor::full(7.0, &[128], DType::F32, device).unwrap()));
            let start = Tensor::full(1.0, &[3], DType::F32, Device::Cpu).unwrap();
            let mut setup = Setup::new(Group::Decay, &start, dtype, device);
            setup.step(&RULE, &start, state(1, 1.0));
            let values = setup.params.values_mut().unwrap().read().unwrap();
            let (own, padding) = values.split_at(3);
            assert!(own.iter().all(|&x| x < 0.0), "{dtype}: {own:?}");
            assert!(padding.iter().all(|&x| x == 0.0), "{dtype}: {padding:?}");
        }
    });
}

#[test]
fn a_scaled_loss_takes_the_same_step_and_an_overflow_none() {
    let start = Tensor::full(1.0, &[4], DType::F32, Device::Cpu).unwrap();
    let grad = |scale: f32| {
        let grad: Vec<f32> = [3.0, -0.5, 0.25, 2.0].map(|g: f32| g * scale).to_vec();
        Tensor::from_slice(&grad, &[4], Device::Cpu).unwrap()
    };
    on_every_device(|device| {
        // The second step's clipping shows in m, and so in the values.
        let after = |scale: f32, max_grad_norm: f32| {
            let mut setup = Setup::new(Group::Decay, &start, DType::F32, device);
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
        let all = |setup: &Setup| {
            let m = setup.moments.m.read().unwrap().into_owned();
            let v = setup.moments.v.read().unwrap().into_owned();
            [setup.values().to_vec::<f32>().unwrap(), m, v]
        };
        let before = all(&setup);
        for bad in [f32::NAN, f32::INFINITY] {
            setup.step(&RULE, &grad(bad), state(3, 0.1));
            assert_eq!(all(&setup), before, "{bad} on {device}");
        }
    });
}

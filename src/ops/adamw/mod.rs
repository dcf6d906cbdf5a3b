//! AdamW over the whole arena in one pass.
//!
//! ```text
//! g = grad·clip / scale                 clip = min(1, max_grad_norm / (norm / scale))
//! m = β₁m + (1 − β₁)g        v = β₂v + (1 − β₂)g²
//! θ = θ·(1 − lr·decay) − lr·(m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + eps)
//! ```
//!
//! Loshchilov, Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019), algorithm 2; equals
//! `torch.optim.AdamW`, with decay only on the arena's decay range. A norm that is not finite means
//! that the scaled gradients overflowed: then nothing is changed, as in
//! `torch.amp.GradScaler.step`. That is decided where the norm lies, without the host.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::expect_dims;
use crate::tensor::{Buffer, Device, Gradients, Parameters, Tensor};
use bytemuck::{Pod, Zeroable};

/// What stays the same over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    pub beta1: f32,
    pub beta2: f32,
    pub eps: f32,
    pub weight_decay: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 }
    }
}

/// What changes from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepState {
    /// The updates made so far and this one: 1 at the first.
    pub step: u64,
    pub learning_rate: f32,
    /// The norm that gradients are clipped to; 0 clips nothing.
    pub max_grad_norm: f32,
    /// What the loss was multiplied by, and with it every gradient.
    pub loss_scale: f32,
}

/// [`StepState`] as the update reads it. Corrections are taken in f64, as PyTorch has them:
/// 1 − β₂ᵗ loses digits in f32 at the first steps.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Factors {
    /// lr / (1 − β₁ᵗ)
    rate: f32,
    /// √(1 − β₂ᵗ)
    root: f32,
    /// 1 − lr·decay
    keep: f32,
    max_grad_norm: f32,
    loss_scale: f32,
}

impl Factors {
    const COUNT: usize = size_of::<Self>() / size_of::<f32>();

    fn new(rule: &AdamW, state: StepState) -> Self {
        let t = state.step as i32;
        let learning_rate = f64::from(state.learning_rate);
        Factors {
            rate: (learning_rate / (1.0 - f64::from(rule.beta1).powi(t))) as f32,
            root: (1.0 - f64::from(rule.beta2).powi(t)).sqrt() as f32,
            keep: (1.0 - learning_rate * f64::from(rule.weight_decay)) as f32,
            max_grad_norm: state.max_grad_norm,
            loss_scale: state.loss_scale,
        }
    }
}

/// The optimiser's memory over the trainable range: m and v, and for 16-bit parameters their f32
/// master. In f32 the values are the master.
pub struct Moments {
    pub m: Buffer,
    pub v: Buffer,
    pub master: Option<Buffer>,
    /// Where a card reads the numbers of the present step.
    factors: Buffer,
}

impl Moments {
    pub fn new(params: &Parameters) -> Result<Self> {
        let [.., trainable] = params.trainable();
        let zeroed = || Buffer::zeroed(params.device(), DType::F32, trainable.end);
        let master = match params.dtype() {
            DType::F32 | DType::U32 => None,
            DType::F16 | DType::BF16 => {
                // Zeroed, for padding is to stay zero.
                let mut master = Buffer::zeroed(params.device(), DType::F32, trainable.end)?;
                match params.device() {
                    Device::Cpu => cpu::widen(&mut master, params)?,
                    Device::Cuda(_) => cuda::widen(&mut master, params)?,
                    Device::Meta => {}
                }
                Some(master)
            }
        };
        let factors = Buffer::zeroed(params.device(), DType::F32, Factors::COUNT)?;
        Ok(Moments { m: zeroed()?, v: zeroed()?, master, factors })
    }
}

impl AdamW {
    /// One update of every trainable parameter by gradients of this [`norm`](Gradients::norm),
    /// both still multiplied by the loss scale. Changes nothing when the norm is not finite. Fails,
    /// changing nothing, while a graph still holds the parameters.
    pub fn step(
        &self,
        params: &mut Parameters,
        grads: &Gradients,
        moments: &mut Moments,
        norm: &Tensor,
        state: StepState,
    ) -> Result<()> {
        let [decay, no_decay] = params.trainable();
        if moments.m.len() != no_decay.end {
            let expected = format!("moments of {} elements", no_decay.end);
            return Err(Error::shape("adamw", expected, format!("{}", moments.m.len())));
        }
        expect_dims("adamw", "norm", norm, &[])?;
        let device = params.device();
        let values = params.values_mut()?;
        let factors = Factors::new(self, state);
        match device {
            Device::Cpu => cpu::step(self, values, grads.sums(), moments, decay.end, norm, factors),
            Device::Cuda(_) => {
                cuda::step(self, values, grads.sums(), moments, decay.end, norm, factors)
            }
            Device::Meta => Ok(()),
        }
    }
}

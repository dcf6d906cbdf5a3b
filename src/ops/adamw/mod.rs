//! AdamW over the whole arena in one pass.
//!
//! ```text
//! g = grad·grad_scale
//! m = β₁m + (1 − β₁)g        v = β₂v + (1 − β₂)g²
//! θ = θ·(1 − lr·decay) − lr·(m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + eps)
//! ```
//!
//! Loshchilov, Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019), algorithm 2; equals
//! `torch.optim.AdamW`, with decay only on the arena's decay range.

mod cpu;
#[cfg(test)]
mod tests;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Buffer, Device, Gradients, Parameters};

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
    /// Every gradient is multiplied by this first: clipping, and the inverse of a loss scale.
    pub grad_scale: f32,
}

/// The optimiser's memory over the trainable range: m and v, and for 16-bit parameters their f32
/// master. In f32 the values are the master.
pub struct Moments {
    pub m: Buffer,
    pub v: Buffer,
    pub master: Option<Buffer>,
}

impl Moments {
    pub fn new(params: &Parameters) -> Result<Self> {
        let [.., trainable] = params.trainable();
        let zeroed = || Buffer::zeroed(params.device(), DType::F32, trainable.end);
        let master = match params.dtype() {
            DType::F32 | DType::U32 => None,
            DType::F16 | DType::BF16 => {
                let mut master = Buffer::new(params.device(), DType::F32, trainable.end)?;
                match params.device() {
                    Device::Cpu => cpu::widen(&mut master, params)?,
                    Device::Cuda(_) => return Err(super::unported("adamw")),
                    Device::Meta => {}
                }
                Some(master)
            }
        };
        Ok(Moments { m: zeroed()?, v: zeroed()?, master })
    }
}

impl AdamW {
    /// One update of every trainable parameter. Fails, changing nothing, while a graph still holds
    /// the parameters.
    pub fn step(
        &self,
        params: &mut Parameters,
        grads: &Gradients,
        moments: &mut Moments,
        state: StepState,
    ) -> Result<()> {
        let [decay, no_decay] = params.trainable();
        if moments.m.len() != no_decay.end {
            let expected = format!("moments of {} elements", no_decay.end);
            return Err(Error::shape("adamw", expected, format!("{}", moments.m.len())));
        }
        let device = params.device();
        let values = params.values_mut()?;
        for (range, weight_decay) in [(decay, self.weight_decay), (no_decay, 0.0)] {
            let rule = AdamW { weight_decay, ..*self };
            match device {
                Device::Cpu => cpu::step(rule, values, grads.sums(), moments, range, state)?,
                Device::Cuda(_) => return Err(super::unported("adamw")),
                Device::Meta => {}
            }
        }
        Ok(())
    }
}

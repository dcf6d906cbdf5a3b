//! The global norm of all gradients, for clipping and as a sign of health.
//!
//! `√(Σ g²)` over the arena's one range, in two deterministic passes: f64 sums of blocks, then their
//! sum in order. Equals the norm that `torch.nn.utils.clip_grad_norm_` returns.

mod cpu;
#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::tensor::{Device, Gradients};

impl Gradients {
    /// Not finite when any gradient is not. On the meta device 0, as nothing is there to be summed.
    pub fn norm(&self) -> Result<f32> {
        let sums = self.sums();
        match sums.device() {
            Device::Cpu => cpu::norm(sums),
            Device::Cuda(_) => return Err(super::unported("grad_norm")),
            Device::Meta => Ok(0.0),
        }
    }
}

/// The factor that brings a gradient of this norm to at most `max_norm` (0: no clipping), as
/// `torch.nn.utils.clip_grad_norm_` has it.
pub fn clip_factor(norm: f32, max_norm: f32) -> f32 {
    if max_norm > 0.0 { (max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 }
}

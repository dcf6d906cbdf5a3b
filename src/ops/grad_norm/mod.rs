//! The global norm of all gradients, for clipping and as a sign of health.
//!
//! `√(Σ g²)` over the arena's one range, in two deterministic passes: f64 sums of blocks, then their
//! sum in order. Equals the norm that `torch.nn.utils.clip_grad_norm_` returns. It stays on the
//! device, where AdamW reads it, so a step need not wait for the host.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use crate::dtype::DType;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::{Buffer, Device, Gradients, Tensor};

impl Gradients {
    /// The norm as one f32 without axes, where the gradients are. Not finite when any of them is not.
    pub fn norm(&self) -> Result<Tensor> {
        let sums = self.sums();
        let mut norm = Buffer::new(sums.device(), DType::F32, 1)?;
        let parts = Buffer::new(sums.device(), DType::F32, 2 * cuda::PARTS)?;
        match sums.device() {
            Device::Cpu => cpu::norm(norm.view_mut(), sums)?,
            Device::Cuda(_) => cuda::norm(norm.view_mut(), &parts, sums)?,
            Device::Meta => {}
        }
        Ok(Tensor::new(norm, Shape::new(&[])?))
    }
}

/// The factor that brings a gradient of this norm to at most `max_norm` (0: no clipping), as
/// `torch.nn.utils.clip_grad_norm_` has it.
pub fn clip_factor(norm: f32, max_norm: f32) -> f32 {
    if max_norm > 0.0 { (max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 }
}

//! Sampling on CUDA: a block for each row; only the ids leave the card.

use super::Sampler;
use crate::error::Result;
use crate::tensor::{Tensor, ViewMut};

const THREADS: usize = 1024;

pub(super) fn greedy(tokens: ViewMut, logits: &Tensor, limit: usize) -> Result<()> {
    let launch = tokens
        .gpu()?
        .kernel("sample", format!("sample_greedy_{}", logits.dtype()))
        .grid(tokens.len(), 1, 1)
        .block(THREADS)
        .arg(&tokens)
        .arg(logits)
        .arg(logits.shape().last_dim() as u32)
        .arg(limit as u32);
    // SAFETY: logits has a row for every token, and each has at least `limit` elements.
    unsafe { launch.run() }
}

/// Draws a token for every row: `uniform` has a number in [0, 1) for each, times 2⁶⁴.
pub(super) fn draw(
    tokens: ViewMut,
    logits: &Tensor,
    limit: usize,
    sampler: &Sampler,
    uniform: &[u64],
) -> Result<()> {
    let words: &[u32] = bytemuck::cast_slice(uniform);
    let uniform = Tensor::from_slice(words, &[uniform.len(), 2], logits.device())?;
    // Weights as integers: as fine as the sum of `limit` of them leaves room for in 64 bits.
    let scale = 1u64 << ((limit as u64).leading_zeros() - 1);
    let top_p = if sampler.top_p < 1.0 { share(sampler.top_p) } else { 0 };
    let launch = tokens
        .gpu()?
        .kernel("sample", format!("sample_draw_{}", logits.dtype()))
        .grid(tokens.len(), 1, 1)
        .block(THREADS)
        .arg(&tokens)
        .arg(logits)
        .arg(&uniform)
        .arg(logits.shape().last_dim() as u32)
        .arg(limit as u32)
        .arg(sampler.temperature)
        .arg(scale as f32)
        .arg(sampler.top_k.min(limit) as u32)
        .arg(top_p);
    // SAFETY: as in `greedy`; uniform has 64 bits for every row.
    unsafe { launch.run() }
}

/// p·2⁶⁴ for p in (0, 1), at least 1.
fn share(p: f32) -> u64 {
    ((f64::from(p) * 64f64.exp2()) as u64).max(1)
}

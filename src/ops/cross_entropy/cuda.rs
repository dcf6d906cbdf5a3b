//! Linear-cross-entropy on a card: products by cuBLAS, and the kernels of `cross_entropy.cu`.

use super::Scale;
use crate::error::Result;
use crate::ops::gemm::{Mat, MatMut, gemm};
use crate::tensor::{Buffer, Tensor, ViewMut};
use std::ops::Range;

/// As in `cross_entropy.cu`.
const THREADS: usize = 512;
const MEAN_THREADS: usize = 1024;

/// logits [rows of `at`, vocab] = hidden[at]·Wᵀ.
pub(super) fn logits(
    mut logits: ViewMut,
    hidden: &Tensor,
    weight: &Tensor,
    at: &Range<usize>,
) -> Result<()> {
    let logits = MatMut::new(&mut logits, 0, [at.len(), weight.dims()[0]])?;
    gemm(1.0, Mat::of_rows(hidden, at)?, Mat::of(weight)?.t(), 0.0, logits)
}

/// Per row of `at`: log Σ exp of its logits, and its loss (0 where the target is ignored, no number
/// where it is beyond the vocabulary).
pub(super) fn losses(
    [lse, losses]: [ViewMut; 2],
    logits: &Buffer,
    vocab: usize,
    targets: &Tensor,
    at: &Range<usize>,
) -> Result<()> {
    let launch = lse
        .gpu()?
        .kernel("cross_entropy", format!("cross_entropy_losses_{}", logits.dtype()))
        .grid(at.len(), 1, 1)
        .block(THREADS)
        .arg(&lse)
        .arg(&losses)
        .arg(logits)
        .arg(targets)
        .arg(at.start as u32)
        .arg(vocab as u32);
    // SAFETY: the rows `at` are within lse, losses and targets, and the logits have at.len() rows.
    unsafe { launch.run() }
}

/// Σ losses / targets.
pub(super) fn mean(mean: ViewMut, losses: &Buffer, targets: usize) -> Result<()> {
    let launch = mean
        .gpu()?
        .kernel("cross_entropy", "cross_entropy_mean")
        .block(MEAN_THREADS)
        .arg(&mean)
        .arg(losses)
        .arg(losses.len() as u32)
        .arg(targets as u32);
    // SAFETY: one number, and as many losses as are said.
    unsafe { launch.run() }
}

/// Turns the logits of the rows `at` into their gradient, in place.
pub(super) fn to_gradient(
    logits: ViewMut,
    vocab: usize,
    lse: &Buffer,
    targets: &Tensor,
    scale: &Scale,
    at: &Range<usize>,
) -> Result<()> {
    let launch = logits
        .gpu()?
        .kernel("cross_entropy", format!("cross_entropy_gradient_{}", logits.dtype()))
        .grid(at.len(), 1, 1)
        .block(THREADS)
        .arg(&logits)
        .arg(lse)
        .arg(targets)
        .arg(&scale.dloss)
        .arg(scale.targets as u32)
        .arg(at.start as u32)
        .arg(vocab as u32);
    // SAFETY: the rows `at` are within lse and targets, and the logits have at.len() rows; dloss is
    // a scalar in f32, as the loss is.
    unsafe { launch.run() }
}

/// dhidden[at] = beta·dhidden[at] + dlogits·W.
pub(super) fn add_dhidden(
    mut dhidden: ViewMut,
    beta: f32,
    dlogits: &Buffer,
    weight: &Tensor,
    at: &Range<usize>,
) -> Result<()> {
    let (vocab, width) = (weight.dims()[0], weight.dims()[1]);
    let rows = MatMut::new(&mut dhidden, at.start * width, [at.len(), width])?;
    gemm(1.0, Mat::new(dlogits, 0, [at.len(), vocab])?, Mat::of(weight)?, beta, rows)
}

/// dW = beta·dW + dlogitsᵀ·hidden[at].
pub(super) fn add_dweight(
    mut dweight: ViewMut,
    beta: f32,
    dlogits: &Buffer,
    hidden: &Tensor,
    at: &Range<usize>,
) -> Result<()> {
    let width = hidden.dims()[1];
    let vocab = dweight.len() / width.max(1);
    let dlogits = Mat::new(dlogits, 0, [at.len(), vocab])?;
    let dweight = MatMut::new(&mut dweight, 0, [vocab, width])?;
    gemm(1.0, dlogits.t(), Mat::of_rows(hidden, at)?, beta, dweight)
}

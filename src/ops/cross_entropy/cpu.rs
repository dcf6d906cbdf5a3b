//! Linear-cross-entropy on the CPU: products by GEMM, rows of the vocabulary in parallel.

use super::{IGNORE, Scale};
use crate::cpu::{Mat, MatMut, for_rows, for_rows2, gemm, math, simd, vectorized};
use crate::error::{Error, Result};
use crate::tensor::{Buffer, Tensor, ViewMut};
use std::ops::Range;

/// Rough cost of a number here: an exponential.
const COST: usize = 16;

/// logits [rows of `at`, vocab] = hidden[at]·Wᵀ.
pub(super) fn logits(
    mut logits: ViewMut,
    hidden: &Tensor,
    weight: &Tensor,
    at: &Range<usize>,
) -> Result<()> {
    let (vocab, width) = (weight.dims()[0], weight.dims()[1]);
    let (hidden, weight) = (hidden.read()?, weight.read()?);
    let hidden = Mat::new(&hidden[at.start * width..at.end * width], at.len(), width);
    logits.write(|logits| {
        let logits = MatMut::new(logits, at.len(), vocab);
        gemm(1.0, hidden, Mat::new(&weight, vocab, width).t(), 0.0, logits);
    })
}

/// Per row of `at`: log Σ exp of its logits, and its loss (0 where the target is ignored).
pub(super) fn losses(
    [mut lse, mut losses]: [ViewMut; 2],
    logits: &Buffer,
    vocab: usize,
    targets: &Tensor,
    at: &Range<usize>,
) -> Result<()> {
    let (logits, targets) = (logits.read()?, targets.slice::<u32>()?);
    let beyond = |&&target: &&u32| target != IGNORE && target as usize >= vocab;
    if let Some(target) = targets[at.clone()].iter().find(beyond) {
        let expected = format!("below the vocabulary's {vocab}");
        return Err(Error::shape("linear_cross_entropy: target", expected, format!("{target}")));
    }
    let lse = &mut lse.slice::<f32>()?[at.clone()];
    let losses = &mut losses.slice::<f32>()?[at.clone()];
    for_rows2((lse, 1), (losses, 1), vocab * COST, |first, lse, losses| {
        for (i, (lse, loss)) in lse.iter_mut().zip(losses).enumerate() {
            let row = &logits[(first + i) * vocab..][..vocab];
            let (max, log_sum) = vectorized(
                #[inline(always)]
                || {
                    let max = simd::max(row);
                    let mut lanes = [0.0f32; 32];
                    for row in row.chunks(32) {
                        for (lane, x) in lanes.iter_mut().zip(row) {
                            *lane += math::exp(x - max);
                        }
                    }
                    (max, simd::sum(&lanes).ln())
                },
            );
            *lse = max + log_sum;
            // Not by way of lse, which large logits leave few digits.
            *loss = match targets[at.start + first + i] {
                IGNORE => 0.0,
                target => (max - row[target as usize]) + log_sum,
            };
        }
    });
    Ok(())
}

/// Σ losses / targets, in f64.
pub(super) fn mean(mut mean: ViewMut, losses: &Buffer, targets: usize) -> Result<()> {
    let total: f64 = losses.slice::<f32>()?.iter().map(|&loss| f64::from(loss)).sum();
    mean.slice::<f32>()?[0] = (total / targets as f64) as f32;
    Ok(())
}

/// Turns the logits of the rows `at` into their gradient, in place.
pub(super) fn to_gradient(
    mut logits: ViewMut,
    vocab: usize,
    lse: &Buffer,
    targets: &Tensor,
    scale: &Scale,
    at: &Range<usize>,
) -> Result<()> {
    let scale = scale.dloss.item()? / scale.targets as f32;
    let lse = &lse.slice::<f32>()?[at.clone()];
    let targets = &targets.slice::<u32>()?[at.clone()];
    let rows = |first: usize, rows: &mut [f32]| {
        for (i, row) in rows.chunks_exact_mut(vocab).enumerate() {
            let (lse, target) = (lse[first + i], targets[first + i]);
            if target == IGNORE {
                row.fill(0.0);
                continue;
            }
            vectorized(
                #[inline(always)]
                || {
                    for x in row.iter_mut() {
                        *x = math::exp(*x - lse) * scale;
                    }
                },
            );
            row[target as usize] -= scale;
        }
    };
    logits.update(|logits| for_rows(logits, vocab, vocab * COST, rows))
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
    let (weight, dlogits) = (weight.read()?, dlogits.read()?);
    let dlogits = Mat::new(&dlogits[..at.len() * vocab], at.len(), vocab);
    dhidden.range(at.start * width, at.len() * width).update(|dhidden| {
        let dhidden = MatMut::new(dhidden, at.len(), width);
        gemm(1.0, dlogits, Mat::new(&weight, vocab, width), beta, dhidden);
    })
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
    let (hidden, dlogits) = (hidden.read()?, dlogits.read()?);
    let hidden = Mat::new(&hidden[at.start * width..at.end * width], at.len(), width);
    let dlogits = Mat::new(&dlogits[..at.len() * vocab], at.len(), vocab);
    dweight.update(|dweight| {
        gemm(1.0, dlogits.t(), hidden, beta, MatMut::new(dweight, vocab, width));
    })
}

//! Layer norm on the CPU: rows in parallel, each read once from memory and then from the cache.

use super::ROWS_PER_PART;
use crate::cpu::{Disjoint, for_rows, for_rows2, simd, vectorized};
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::{Buffer, Tensor, ViewMut};
use half::{bf16, f16};

/// Rough cost of a number here, for cutting the work.
const COST: usize = 8;

pub(super) fn forward(
    mut y: ViewMut,
    mut stats: ViewMut,
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f32,
) -> Result<()> {
    let width = x.shape().last_dim();
    let (x, weight, bias) = (x.read()?, weight.read()?, bias.read()?);
    let stats = stats.slice::<f32>()?;
    y.write(|y| {
        for_rows2((y, width), (stats, 2), width * COST, |first, y, stats| {
            let x = &x[first * width..][..y.len()];
            vectorized(
                #[inline(always)]
                || {
                    for ((y, stats), x) in y
                        .chunks_exact_mut(width)
                        .zip(stats.as_chunks_mut().0)
                        .zip(x.chunks_exact(width))
                    {
                        *stats = normalise(y, x, &weight, &bias, eps);
                    }
                },
            )
        })
    })
}

pub(super) fn residual_forward(
    [mut sum, mut y, mut stats]: [ViewMut; 3],
    x: &Tensor,
    delta: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f32,
) -> Result<()> {
    let width = x.shape().last_dim();
    let dtype = sum.dtype();
    let (x, delta) = (x.read()?, delta.read()?);
    let (weight, bias) = (weight.read()?, bias.read()?);
    let stats = stats.slice::<f32>()?;
    sum.write(|sum| {
        // A third output beside the two that `for_rows2` cuts: each chunk takes its rows' own part.
        y.write(|y| {
            let stats = Disjoint::new(stats);
            for_rows2((sum, width), (y, width), width * COST, |first, sum, y| {
                let rows = y.len() / width;
                // SAFETY: chunks of rows do not overlap, and neither do their statistics.
                let stats = unsafe { stats.slice_mut(2 * first..2 * (first + rows)) };
                let (x, delta) = (&x[first * width..], &delta[first * width..]);
                vectorized(
                    #[inline(always)]
                    || {
                        for row in 0..rows {
                            let at = row * width..(row + 1) * width;
                            let (sum, x, delta) =
                                (&mut sum[at.clone()], &x[at.clone()], &delta[at.clone()]);
                            for ((sum, x), delta) in sum.iter_mut().zip(x).zip(delta) {
                                *sum = x + delta;
                            }
                            round(sum, dtype);
                            let [mean, rstd] = normalise(&mut y[at], sum, &weight, &bias, eps);
                            stats[2 * row] = mean;
                            stats[2 * row + 1] = rstd;
                        }
                    },
                )
            })
        })
    })?
}

/// What `dtype` keeps of these numbers: what is normalised is the sum as backward will find it.
#[inline(always)]
fn round(x: &mut [f32], dtype: DType) {
    match dtype {
        DType::F16 => x.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32()),
        DType::BF16 => x.iter_mut().for_each(|x| *x = bf16::from_f32(*x).to_f32()),
        DType::F32 | DType::U32 => {}
    }
}

/// One row; returns its mean and 1/√(σ² + eps).
#[inline(always)]
fn normalise(y: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> [f32; 2] {
    let width = x.len() as f32;
    let mean = simd::sum(x) / width;
    // The centred row is kept in y: a variance from Σx² − μ² would lose what large means cancel.
    for (y, x) in y.iter_mut().zip(x) {
        *y = x - mean;
    }
    let rstd = 1.0 / (simd::sum_of_squares(y) / width + eps).sqrt();
    for ((y, weight), bias) in y.iter_mut().zip(weight).zip(bias) {
        *y = *y * rstd * weight + bias;
    }
    [mean, rstd]
}

/// dx = beta·dx + the gradient that comes through the norm.
pub(super) fn add_dx(
    mut dx: ViewMut,
    beta: f32,
    dy: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    stats: &Buffer,
) -> Result<()> {
    let width = x.shape().last_dim();
    let (dy, x, weight) = (dy.read()?, x.read()?, weight.read()?);
    let stats = stats.slice::<f32>()?;
    dx.update(|dx| {
        for_rows(dx, width, width * COST, |first, dx| {
            vectorized(
                #[inline(always)]
                || {
                    for (row, dx) in dx.chunks_exact_mut(width).enumerate() {
                        let row = first + row;
                        let at = row * width..(row + 1) * width;
                        let (dy, x) = (&dy[at.clone()], &x[at]);
                        let [mean, rstd] = [stats[2 * row], stats[2 * row + 1]];
                        let (mut sum_g, mut sum_gx) = ([0.0f32; 16], [0.0f32; 16]);
                        for ((dy, x), w) in dy.chunks(16).zip(x.chunks(16)).zip(weight.chunks(16)) {
                            for i in 0..dy.len() {
                                let g = dy[i] * w[i];
                                sum_g[i] += g;
                                sum_gx[i] += g * ((x[i] - mean) * rstd);
                            }
                        }
                        let mean_g = simd::sum(&sum_g) / width as f32;
                        let mean_gx = simd::sum(&sum_gx) / width as f32;
                        for (((dx, dy), x), w) in dx.iter_mut().zip(dy).zip(x).zip(&*weight) {
                            let normed = (x - mean) * rstd;
                            let through = (dy * w - mean_g - normed * mean_gx) * rstd;
                            *dx = if beta == 0.0 { through } else { *dx + through };
                        }
                    }
                },
            )
        })
    })
}

/// Per part of [`ROWS_PER_PART`] rows: Σ dy·x̂, then Σ dy, `width` numbers each.
pub(super) fn partial_sums(
    mut partial: ViewMut,
    dy: &Tensor,
    x: &Tensor,
    stats: &Buffer,
) -> Result<()> {
    let width = x.shape().last_dim();
    let (dy, x, stats) = (dy.read()?, x.read()?, stats.slice::<f32>()?);
    let partial = partial.slice::<f32>()?;
    for_rows(partial, 2 * width, ROWS_PER_PART * width * COST, |first, parts| {
        for (part, sums) in parts.chunks_exact_mut(2 * width).enumerate() {
            let (dweight, dbias) = sums.split_at_mut(width);
            let start = (first + part) * ROWS_PER_PART;
            let rows = start..(start + ROWS_PER_PART).min(stats.len() / 2);
            vectorized(
                #[inline(always)]
                || {
                    dweight.fill(0.0);
                    dbias.fill(0.0);
                    for row in rows {
                        let at = row * width..(row + 1) * width;
                        let [mean, rstd] = [stats[2 * row], stats[2 * row + 1]];
                        let sums = dweight.iter_mut().zip(dbias.iter_mut());
                        for ((dy, x), (dweight, dbias)) in
                            dy[at.clone()].iter().zip(&x[at]).zip(sums)
                        {
                            *dweight += dy * ((x - mean) * rstd);
                            *dbias += dy;
                        }
                    }
                },
            )
        }
    });
    Ok(())
}

/// sum = beta·sum + Σ parts, in order; `which` is 0 for dweight and 1 for dbias.
pub(super) fn add_parts(mut sum: ViewMut, beta: f32, partial: &Buffer, which: usize) -> Result<()> {
    let partial = partial.slice::<f32>()?;
    sum.update(|sum| {
        if beta == 0.0 {
            sum.fill(0.0);
        }
        let width = sum.len();
        for part in partial.chunks_exact(2 * width) {
            vectorized(
                #[inline(always)]
                || simd::add_into(sum, &part[which * width..][..width]),
            );
        }
    })
}

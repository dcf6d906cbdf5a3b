//! Layer norm on CUDA: a block for each row, and parts of the rows for the parameters' gradients.

use super::ROWS_PER_PART;
use crate::error::Result;
use crate::tensor::{Buffer, Tensor, ViewMut};

const MODULE: &str = "layer_norm";
/// Threads of a block that goes down columns, and the columns of one that adds parts.
const THREADS: usize = 256;
const COLUMNS: usize = 32;

/// Threads for a row: each keeps 16 of its numbers in registers, as far as 256 threads reach.
fn threads(width: usize) -> usize {
    32 * width.div_ceil(32 * 16).min(THREADS / 32)
}

pub(super) fn forward(
    y: ViewMut,
    stats: ViewMut,
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f32,
) -> Result<()> {
    let (rows, width) = (x.shape().rows(), x.shape().last_dim());
    let launch = y
        .gpu()?
        .kernel(MODULE, format!("layer_norm_forward_{}_{}", x.dtype(), weight.dtype()))
        .grid(rows, 1, 1)
        .block(threads(width))
        .arg(&y)
        .arg(&stats)
        .arg(x)
        .arg(weight)
        .arg(bias)
        .arg(width as u32)
        .arg(eps);
    // SAFETY: x and y have rows·width elements and stats 2·rows, as mod.rs made them; `check` compared
    // weight and bias with width and their dtypes with those in the name.
    unsafe { launch.run() }
}

pub(super) fn residual_forward(
    [sum, y, stats]: [ViewMut; 3],
    x: &Tensor,
    delta: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f32,
) -> Result<()> {
    let (rows, width) = (x.shape().rows(), x.shape().last_dim());
    let dtypes = format!("{}_{}_{}", x.dtype(), delta.dtype(), weight.dtype());
    let launch = y
        .gpu()?
        .kernel(MODULE, format!("layer_norm_residual_{dtypes}"))
        .grid(rows, 1, 1)
        .block(threads(width))
        .arg(&sum)
        .arg(&y)
        .arg(&stats)
        .arg(x)
        .arg(delta)
        .arg(weight)
        .arg(bias)
        .arg(width as u32)
        .arg(eps);
    // SAFETY: as in `forward`; sum and delta have the shape of x, and the kernel the dtypes named.
    unsafe { launch.run() }
}

/// dx = beta·dx + the gradient that comes through the norm.
pub(super) fn add_dx(
    dx: ViewMut,
    beta: f32,
    dy: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    stats: &Buffer,
) -> Result<()> {
    let (rows, width) = (x.shape().rows(), x.shape().last_dim());
    let dtypes = format!("{}_{}_{}", x.dtype(), weight.dtype(), dx.dtype());
    let launch = dx
        .gpu()?
        .kernel(MODULE, format!("layer_norm_dx_{dtypes}"))
        .grid(rows, 1, 1)
        .block(threads(width))
        .arg(&dx)
        .arg(beta)
        .arg(dy)
        .arg(x)
        .arg(weight)
        .arg(stats)
        .arg(width as u32);
    // SAFETY: dx and dy have the shape of x, dy the dtype of weight as y has, and stats 2·rows numbers
    // of the forward.
    unsafe { launch.run() }
}

/// Per part of [`ROWS_PER_PART`] rows: Σ dy·x̂, then Σ dy, `width` numbers each.
pub(super) fn partial_sums(
    partial: ViewMut,
    dy: &Tensor,
    x: &Tensor,
    stats: &Buffer,
) -> Result<()> {
    let (rows, width) = (x.shape().rows(), x.shape().last_dim());
    let launch = partial
        .gpu()?
        .kernel(MODULE, format!("layer_norm_partial_{}_{}", x.dtype(), dy.dtype()))
        .grid(rows.div_ceil(ROWS_PER_PART), width.div_ceil(THREADS), 1)
        .block(THREADS)
        .arg(&partial)
        .arg(dy)
        .arg(x)
        .arg(stats)
        .arg(rows as u32)
        .arg(width as u32)
        .arg(ROWS_PER_PART as u32);
    // SAFETY: partial has 2·width numbers for each part, dy the shape of x, and stats 2·rows numbers.
    unsafe { launch.run() }
}

/// sum = beta·sum + Σ parts, in a fixed order; `which` is 0 for dweight and 1 for dbias.
pub(super) fn add_parts(sum: ViewMut, beta: f32, partial: &Buffer, which: usize) -> Result<()> {
    let width = sum.len();
    let launch = sum
        .gpu()?
        .kernel(MODULE, format!("layer_norm_parts_{}", sum.dtype()))
        .grid(width.div_ceil(COLUMNS), 1, 1)
        .block(THREADS)
        .arg(&sum)
        .arg(beta)
        .arg(partial)
        .arg(which as u32)
        .arg((partial.len() / (2 * width)) as u32)
        .arg(width as u32);
    // SAFETY: sum has width elements, and partial whole parts of 2·width numbers.
    unsafe { launch.run() }
}

//! Sums on CUDA: a block for some neighbouring results, with some lanes for each; where that makes too
//! few blocks, sums of parts of the axis first.

use crate::cuda::Argument;
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::{Buffer, Tensor, ViewMut};

/// Threads of a block.
pub(in crate::ops) const THREADS: usize = 256;
/// Blocks that fill a card. Not asked of the card: the order of a sum depends on shapes alone.
const BLOCKS: usize = 256;
/// Numbers that a lane adds at least before an axis is cut.
const PER_LANE: usize = 16;

/// How many threads of a block share a result, a power of two and at most `n` (but 1): all where the
/// axis is the last, and otherwise so many that a block still reads rows of 32 neighbours.
pub(in crate::ops) fn lanes(n: usize, inner: usize) -> usize {
    let most = (THREADS / inner.max(1)).max(8).min(n.max(1));
    1 << most.ilog2()
}

/// Into how many parts the axis is cut.
fn parts([outer, n, inner]: [usize; 3]) -> usize {
    let lanes = lanes(n, inner);
    let blocks = (outer * inner).div_ceil(THREADS / lanes).max(1);
    (BLOCKS / blocks).min(n / (lanes * PER_LANE)).max(1)
}

/// How many numbers [`sum`] needs room for besides its results.
pub(super) fn scratch([outer, n, inner]: [usize; 3]) -> usize {
    match parts([outer, n, inner]) {
        1 => 0,
        parts => outer * parts * inner,
    }
}

/// y [outer, inner] = scale·Σ x [outer, n, inner]; `partial` has room for [`scratch`] numbers.
pub(super) fn sum(
    y: ViewMut,
    partial: &mut Buffer,
    x: &Tensor,
    [outer, n, inner]: [usize; 3],
    scale: f64,
) -> Result<()> {
    let scale = scale as f32;
    match parts([outer, n, inner]) {
        1 => sum_parts(&y, x, x.dtype(), [outer, n, inner], 1, scale),
        parts => {
            sum_parts(&partial.view_mut(), x, x.dtype(), [outer, n, inner], parts, 1.0)?;
            sum_parts(&y, &*partial, DType::F32, [outer, parts, inner], 1, scale)
        }
    }
}

/// y [outer, parts, inner] = scale·Σ over each part of the axis of x [outer, n, inner] of this dtype.
pub(super) fn sum_parts(
    y: &ViewMut,
    x: impl Argument,
    dtype: DType,
    [outer, n, inner]: [usize; 3],
    parts: usize,
    scale: f32,
) -> Result<()> {
    let part = n.div_ceil(parts);
    let (results, lanes) = (outer * parts * inner, lanes(part, inner));
    let launch = y
        .gpu()?
        .kernel("reduce", format!("reduce_sum_{dtype}_{}", y.dtype()))
        .grid(results.div_ceil(THREADS / lanes), 1, 1)
        .block(THREADS)
        .arg(y)
        .arg(x)
        .arg(results as u64)
        .arg(n as u64)
        .arg(inner as u64)
        .arg(parts as u32)
        .arg(part as u64)
        .arg(lanes as u32)
        .arg(scale);
    // SAFETY: x has outer·n·inner elements of `dtype` and y outer·parts·inner, as mod.rs made them.
    unsafe { launch.run() }
}

//! Launches of the kernels that treat each number by itself: the Rust side of `pointwise.cuh`.

use crate::cuda::{Gpu, Launch};
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::{Tensor, ViewMut};

/// Threads of a block.
pub(super) const THREADS: usize = 256;
/// Numbers that a thread has in hand at once.
const PART: usize = 8;

/// Blocks for the parts of `n` numbers that lie in rows of `width`.
pub(super) fn blocks(gpu: &Gpu, [n, width]: [usize; 2]) -> usize {
    let parts = n.checked_div(width).unwrap_or(0) * width.div_ceil(PART);
    gpu.blocks(parts, THREADS)
}

/// `kernel` over `n` numbers that lie in rows of `width`.
pub(super) fn over_rows<'a>(
    gpu: &'a Gpu,
    module: &'static str,
    kernel: String,
    size: [usize; 2],
) -> Launch<'a> {
    gpu.kernel(module, kernel).grid(blocks(gpu, size), 1, 1).block(THREADS)
}

/// `kernel` over `n` numbers in a row.
pub(super) fn over<'a>(gpu: &'a Gpu, module: &'static str, kernel: String, n: usize) -> Launch<'a> {
    over_rows(gpu, module, kernel, [n, n])
}

/// An `In` of C: where the numbers are, and their dtype.
pub(super) fn input(x: &Tensor) -> Result<[u64; 2]> {
    Ok([x.ptr()?.0, x.dtype() as u64])
}

/// An `Out` of C.
pub(super) fn output(y: &ViewMut) -> Result<[u64; 2]> {
    Ok([y.ptr()?.0, y.dtype() as u64])
}

/// The words by which kernels move elements of this dtype as they are.
pub(super) fn words(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 | DType::U32 => "u32",
        DType::F16 | DType::BF16 => "u16",
    }
}

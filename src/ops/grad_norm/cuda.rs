//! The norm on CUDA: sums of parts, then theirs (`kernels/grad_norm.cu`).

use crate::error::Result;
use crate::tensor::{Buffer, ViewMut};

const THREADS: usize = 256;
/// The most sums of the first pass, each an f64 and so two f32 of memory.
pub(super) const PARTS: usize = 1024;

pub(super) fn norm(norm: ViewMut, parts: &Buffer, sums: &Buffer) -> Result<()> {
    // From the length alone, so that every card adds in the same order.
    let blocks = sums.len().div_ceil(16 * THREADS).clamp(1, PARTS);
    let launch = norm
        .gpu()?
        .kernel("grad_norm", "grad_norm_parts")
        .grid(blocks, 1, 1)
        .block(THREADS)
        .arg(parts)
        .arg(sums)
        .arg(sums.len() as u64);
    // SAFETY: `parts` has room for PARTS f64, and `sums` begins where a pack of four may.
    unsafe { launch.run()? };
    let launch = norm
        .gpu()?
        .kernel("grad_norm", "grad_norm_total")
        .block(THREADS)
        .arg(&norm)
        .arg(parts)
        .arg(blocks as u32);
    // SAFETY: `norm` is one f32, and the first `blocks` of the parts were written.
    unsafe { launch.run() }
}

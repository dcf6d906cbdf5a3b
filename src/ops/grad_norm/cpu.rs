//! The norm on the CPU: one pass at memory bandwidth.

use crate::cpu::{simd, sum_chunks, vectorized};
use crate::error::Result;
use crate::tensor::Buffer;

pub(super) fn norm(sums: &Buffer) -> Result<f32> {
    let sums = sums.slice::<f32>()?;
    let total = sum_chunks(sums.len(), 1, |at| {
        vectorized(
            #[inline(always)]
            || {
                // Blocks short enough that an f32 sum keeps its digits.
                sums[at].chunks(1024).map(|block| f64::from(simd::sum_of_squares(block))).sum()
            },
        )
    });
    Ok(total.sqrt() as f32)
}

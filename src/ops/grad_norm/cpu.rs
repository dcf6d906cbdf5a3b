//! The norm on the CPU: one pass at memory bandwidth.

use crate::cpu::{simd, sum_chunks, vectorized};
use crate::error::Result;
use crate::tensor::{Buffer, ViewMut};

pub(super) fn norm(mut norm: ViewMut, sums: &Buffer) -> Result<()> {
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
    norm.write(|norm| norm.fill(total.sqrt() as f32))
}

//! Dropout on the CPU: the generator in vector lanes, blocks of a sample in parallel.

use super::Dropout;
use crate::cpu::{for_rows, vectorized};
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::ViewMut;

/// Numbers of a sample that one task takes; a multiple of four.
const BLOCK: usize = 4096;

/// x *= factors; the coordinate of a number is its sample in the effective batch (upper 24 bits) and
/// its place within the sample (lower 40).
pub(super) fn apply(mut x: ViewMut, shape: Shape, dropout: Dropout) -> Result<()> {
    let sample_len: usize = shape[1..].iter().product();
    x.update(|x| {
        if sample_len == 0 {
            return;
        }
        for (sample, x) in x.chunks_exact_mut(sample_len).enumerate() {
            let base = (dropout.first_sample() + sample as u64) << 40;
            let run = |first: usize, x: &mut [f32]| {
                vectorized(
                    #[inline(always)]
                    || dropout.apply_from([x], base | first as u64),
                )
            };
            let whole = sample_len - sample_len % BLOCK;
            let (blocks, rest) = x.split_at_mut(whole);
            for_rows(blocks, BLOCK, BLOCK * 4, |block, x| run(block * BLOCK, x));
            run(whole, rest);
        }
    })
}

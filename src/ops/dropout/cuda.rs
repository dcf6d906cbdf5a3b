//! Dropout on a card: blocks along a sample, and a row of them for each sample.

use super::Dropout;
use crate::error::Result;
use crate::ops::pointwise::{THREADS, blocks, output};
use crate::shape::Shape;
use crate::tensor::ViewMut;

/// Samples that have blocks of their own, enough to fill any card; these go on to the next ones.
const ROWS: usize = 1024;

/// x *= factors; see `cpu::apply` for where a number's coordinate is.
pub(super) fn apply(x: ViewMut, shape: Shape, dropout: Dropout) -> Result<()> {
    let (samples, width) = (shape[0], shape[1..].iter().product::<usize>());
    let gpu = x.gpu()?;
    let launch = gpu
        .kernel("dropout", "dropout_apply")
        .grid(blocks(gpu, [width, width]), samples.min(ROWS), 1)
        .block(THREADS)
        .arg_bytes(&output(&x)?)
        .arg_bytes(&[dropout.key, dropout.rng.attempt])
        .arg(dropout.first_sample())
        .arg(dropout.threshold)
        .arg(dropout.scale)
        .arg(samples as u64)
        .arg(width as u64);
    // SAFETY: x has samples·width numbers, as its shape says.
    unsafe { launch.run() }
}

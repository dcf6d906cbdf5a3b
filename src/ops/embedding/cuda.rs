//! Embedding on CUDA: a block for each row (`kernels/embedding.cu`).

use crate::error::Result;
use crate::tensor::{Tensor, ViewMut};

pub(super) fn forward(
    y: ViewMut,
    tokens: &Tensor,
    ids: &Tensor,
    positions: Option<(&Tensor, &Tensor)>,
) -> Result<()> {
    let (vocab, width) = (tokens.dims()[0], tokens.dims()[1]);
    let (table, at) = positions.unzip();
    let launch = y
        .gpu()?
        .kernel("embedding", format!("embedding_forward_{}", tokens.dtype()))
        .grid(if width == 0 { 0 } else { ids.numel() }, 1, 1)
        .block(width.next_multiple_of(32).min(256))
        .arg(&y)
        .arg(tokens)
        .arg(ids)
        .arg(vocab as u32)
        .arg(table)
        .arg(at)
        .arg(table.map_or(0, |table| table.dims()[0]) as u32)
        .arg(width as u32);
    // SAFETY: y is (rows, width), with an id, and a position if there are any, for each row; both
    // tables have this width and dtype, as mod.rs checked, and ids are compared with their rows.
    unsafe { launch.run() }
}

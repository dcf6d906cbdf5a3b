//! Embedding on the CPU: rows copied in parallel, the positions' rows added while they are hot.

use crate::cpu::{for_rows, simd, vectorized};
use crate::error::{Error, Result};
use crate::tensor::{Tensor, ViewMut};

pub(super) fn forward(
    mut y: ViewMut,
    tokens: &Tensor,
    ids: &Tensor,
    positions: Option<(&Tensor, &Tensor)>,
) -> Result<()> {
    check_ids("token id", ids, tokens)?;
    let width = tokens.dims()[1];
    let (values, ids) = (tokens.read()?, ids.slice::<u32>()?);
    let row = |id: u32| id as usize * width..(id as usize + 1) * width;
    let positions = match positions {
        None => None,
        Some((table, at)) => {
            check_ids("position", at, table)?;
            Some((table.read()?, at.slice::<u32>()?))
        }
    };
    y.write(|y| {
        for_rows(y, width, 2 * width, |first, rows| {
            vectorized(
                #[inline(always)]
                || {
                    for (i, y) in rows.chunks_exact_mut(width).enumerate() {
                        y.copy_from_slice(&values[row(ids[first + i])]);
                        if let Some((table, at)) = &positions {
                            simd::add_into(y, &table[row(at[first + i])]);
                        }
                    }
                },
            )
        })
    })
}

fn check_ids(what: &str, ids: &Tensor, table: &Tensor) -> Result<()> {
    let rows = table.dims()[0];
    match ids.slice::<u32>()?.iter().find(|&&id| id as usize >= rows) {
        None => Ok(()),
        Some(id) => Err(Error::shape(what, format!("below {rows}"), format!("{id}"))),
    }
}

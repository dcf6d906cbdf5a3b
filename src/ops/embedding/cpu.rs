//! Embedding on the CPU: rows copied in parallel, the positions' rows added while they are hot.

use crate::cpu::{for_rows, simd, vectorized};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, ViewMut};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::ops::Range;

pub(super) fn forward(
    mut y: ViewMut,
    tokens: &Tensor,
    ids: &Tensor,
    positions: Option<(&Tensor, &Tensor)>,
) -> Result<()> {
    check_ids("token id", ids, tokens)?;
    let width = tokens.dims()[1];
    let (values, ids) = (Table::of(tokens)?, ids.slice::<u32>()?);
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
                        values.widen(row(ids[first + i]), y);
                        if let Some((table, at)) = &positions {
                            simd::add_into(y, &table[row(at[first + i])]);
                        }
                    }
                },
            )
        })
    })
}

/// The tokens' values, widened only where they are read: a vocabulary is far larger than a batch.
enum Table<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
}

impl<'a> Table<'a> {
    fn of(x: &'a Tensor) -> Result<Self> {
        Ok(match x.dtype() {
            DType::F16 => Table::F16(x.slice()?),
            DType::BF16 => Table::BF16(x.slice()?),
            DType::F32 | DType::U32 => Table::F32(x.slice()?),
        })
    }

    fn widen(&self, at: Range<usize>, y: &mut [f32]) {
        match self {
            Table::F32(x) => y.copy_from_slice(&x[at]),
            Table::F16(x) => x[at].convert_to_f32_slice(y),
            Table::BF16(x) => x[at].convert_to_f32_slice(y),
        }
    }
}

fn check_ids(what: &str, ids: &Tensor, table: &Tensor) -> Result<()> {
    let rows = table.dims()[0];
    match ids.slice::<u32>()?.iter().find(|&&id| id as usize >= rows) {
        None => Ok(()),
        Some(id) => Err(Error::shape(what, format!("below {rows}"), format!("{id}"))),
    }
}

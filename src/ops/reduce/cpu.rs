//! Sums on the CPU: along rows in lanes, across rows column by column.

use crate::cpu::{Disjoint, for_each, for_rows, simd, sum_chunks, vectorized};
use crate::error::Result;
use crate::tensor::{Tensor, ViewMut};

/// Numbers of a row that are summed in f32, in lanes, before they join the f64 sum.
const BLOCK: usize = 1024;
/// Rows that are summed in f32 before they join the f64 sums of their columns.
const ROWS: usize = 32;
/// Columns that one task carries down all rows: four cache lines.
const COLUMNS: usize = 64;

/// y [outer, inner] = scale·Σ x [outer, n, inner].
pub(super) fn sum(mut y: ViewMut, x: &Tensor, [_, n, inner]: [usize; 3], scale: f64) -> Result<()> {
    let x = x.read()?;
    y.write(|y| match inner {
        1 => for_rows(y, 1, n, |first, y| {
            for (row, y) in y.iter_mut().enumerate() {
                *y = (scale * sum_row(&x[(first + row) * n..][..n])) as f32;
            }
        }),
        _ => sum_columns(y, &x, [n, inner], scale),
    })
}

fn sum_row(x: &[f32]) -> f64 {
    sum_chunks(x.len(), 1, |at| {
        vectorized(
            #[inline(always)]
            || x[at].chunks(BLOCK).map(|block| f64::from(simd::sum(block))).sum(),
        )
    })
}

fn sum_columns(y: &mut [f32], x: &[f32], [n, inner]: [usize; 2], scale: f64) {
    let tiles = inner.div_ceil(COLUMNS);
    let outer = y.len().checked_div(inner).unwrap_or(0);
    let y = Disjoint::new(y);
    for_each(outer * tiles, |task| {
        let (outer, column) = (task / tiles, task % tiles * COLUMNS);
        let width = COLUMNS.min(inner - column);
        let place = outer * inner + column;
        // SAFETY: each task has its own tile of one row of y.
        let y = unsafe { y.slice_mut(place..place + width) };
        let x = &x[outer * n * inner..][..n * inner];
        vectorized(
            #[inline(always)]
            || {
                let mut total = [0.0f64; COLUMNS];
                for rows in x.chunks(ROWS * inner) {
                    let mut block = [0.0f32; COLUMNS];
                    for row in rows.chunks_exact(inner) {
                        simd::add_into(&mut block[..width], &row[column..column + width]);
                    }
                    for (total, block) in total.iter_mut().zip(block) {
                        *total += f64::from(block);
                    }
                }
                for (y, total) in y.iter_mut().zip(total) {
                    *y = (scale * total) as f32;
                }
            },
        )
    });
}

//! Embedding on the CPU: rows copied in parallel; gradients gathered per id, so without a race.

use crate::cpu::{Disjoint, for_each, for_rows, simd, vectorized};
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

/// table = beta·table, then table[ids[i]] += dy[i] for every i, in order for each id.
pub(super) fn add_rows(mut table: ViewMut, beta: f32, dy: &Tensor, ids: &Tensor) -> Result<()> {
    let width = dy.shape().last_dim();
    let (dy, ids) = (dy.read()?, ids.slice::<u32>()?);
    // Places sorted by id: every run of equal ids is the work of one thread, in order of place.
    let mut places: Vec<u32> = (0..ids.len() as u32).collect();
    places.sort_by_key(|&place| (ids[place as usize], place));
    let runs: Vec<&[u32]> = places.chunk_by(|&a, &b| ids[a as usize] == ids[b as usize]).collect();
    table.update(|table| {
        if beta == 0.0 {
            for_rows(table, 1, 1, |_, part| part.fill(0.0));
        }
        let table = Disjoint::new(table);
        for_each(runs.len(), |run| {
            let id = ids[runs[run][0] as usize] as usize;
            // SAFETY: every run has an id of its own, so no two threads have the same row.
            let row = unsafe { table.slice_mut(id * width..(id + 1) * width) };
            vectorized(
                #[inline(always)]
                || {
                    for &place in runs[run] {
                        simd::add_into(row, &dy[place as usize * width..][..width]);
                    }
                },
            )
        });
    })
}

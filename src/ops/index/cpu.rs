//! Reading at ids on the CPU, for elements of any type; gradients without a race and in order.

use crate::cpu::{Disjoint, for_each, for_rows, simd, vectorized};
use crate::dtype::Element;
use crate::error::{Error, Result};
use crate::ops::around;
use crate::tensor::{Tensor, ViewMut};

/// Rough cost of an element, for cutting the work.
const COST: usize = 2;

fn check_ids(op: &str, ids: &[u32], size: usize) -> Result<()> {
    match ids.iter().find(|&&id| id as usize >= size) {
        None => Ok(()),
        Some(id) => {
            Err(Error::shape(format!("{op}: id"), format!("below {size}"), format!("{id}")))
        }
    }
}

pub(super) fn select(y: ViewMut, x: &Tensor, axis: usize, ids: &Tensor) -> Result<()> {
    with_dtype!(x.dtype(), T => select_as::<T>(y, x, axis, ids))
}

fn select_as<T: Element>(mut y: ViewMut, x: &Tensor, axis: usize, ids: &Tensor) -> Result<()> {
    let [_, n, inner] = around("index_select", x, axis)?;
    let (x, ids) = (x.slice::<T>()?, ids.slice::<u32>()?);
    check_ids("index_select", ids, n)?;
    for_rows(y.slice::<T>()?, inner, inner * COST, |first, rows| {
        for (row, y) in rows.chunks_exact_mut(inner).enumerate() {
            let (outer, i) = ((first + row) / ids.len(), (first + row) % ids.len());
            let from = (outer * n + ids[i] as usize) * inner;
            y.copy_from_slice(&x[from..from + inner]);
        }
    });
    Ok(())
}

/// dx [outer, n, inner] = beta·dx, then dx[.., ids[i], ..] += dy[.., i, ..] in the order of i.
pub(in crate::ops) fn add_selected(
    mut dx: ViewMut,
    beta: f32,
    dy: &Tensor,
    [outer, n, inner]: [usize; 3],
    ids: &Tensor,
) -> Result<()> {
    let (dy, ids) = (dy.read()?, ids.slice::<u32>()?);
    // Places sorted by id: every run of equal ids is the work of one thread, in order of place.
    let mut places: Vec<usize> = (0..ids.len()).collect();
    places.sort_by_key(|&place| ids[place]);
    let runs: Vec<&[usize]> = places.chunk_by(|&a, &b| ids[a] == ids[b]).collect();
    dx.update(|dx| {
        if beta == 0.0 {
            for_rows(dx, 1, 1, |_, dx| dx.fill(0.0));
        }
        let dx = Disjoint::new(dx);
        for_each(runs.len(), |run| {
            for outer in 0..outer {
                let at = (outer * n + ids[runs[run][0]] as usize) * inner;
                // SAFETY: every run has an id of its own, so no two threads have the same slice.
                let dx = unsafe { dx.slice_mut(at..at + inner) };
                vectorized(
                    #[inline(always)]
                    || {
                        for place in runs[run] {
                            let from = (outer * ids.len() + place) * inner;
                            simd::add_into(dx, &dy[from..from + inner]);
                        }
                    },
                )
            }
        });
    })
}

pub(super) fn gather(y: ViewMut, x: &Tensor, axis: usize, ids: &Tensor) -> Result<()> {
    with_dtype!(x.dtype(), T => gather_as::<T>(y, x, axis, ids))
}

fn gather_as<T: Element>(mut y: ViewMut, x: &Tensor, axis: usize, ids: &Tensor) -> Result<()> {
    let [_, n, inner] = around("gather", x, axis)?;
    let count = ids.dims()[axis];
    let (x, ids) = (x.slice::<T>()?, ids.slice::<u32>()?);
    check_ids("gather", ids, n)?;
    for_rows(y.slice::<T>()?, inner, inner * COST, |first, rows| {
        let ids = ids[first * inner..].chunks_exact(inner);
        for (row, (y, ids)) in rows.chunks_exact_mut(inner).zip(ids).enumerate() {
            let x = &x[(first + row) / count * n * inner..];
            for (j, (y, id)) in y.iter_mut().zip(ids).enumerate() {
                *y = x[*id as usize * inner + j];
            }
        }
    });
    Ok(())
}

/// dx [outer, n, inner] = beta·dx, then dx[o, ids[o, i, j], j] += dy[o, i, j] in the order of i.
pub(super) fn add_gathered(
    mut dx: ViewMut,
    beta: f32,
    dy: &Tensor,
    [outer, n, inner]: [usize; 3],
    ids: &Tensor,
) -> Result<()> {
    let (dy, ids) = (dy.read()?, ids.slice::<u32>()?);
    let len = ids.len().checked_div(outer).unwrap_or(0);
    dx.update(|dx| {
        for_rows(dx, n * inner, n * inner + len * COST, |first, rows| {
            for (row, dx) in rows.chunks_exact_mut(n * inner).enumerate() {
                if beta == 0.0 {
                    dx.fill(0.0);
                }
                let at = (first + row) * len..(first + row + 1) * len;
                for (j, (dy, id)) in dy[at.clone()].iter().zip(&ids[at]).enumerate() {
                    dx[*id as usize * inner + j % inner] += dy;
                }
            }
        })
    })
}

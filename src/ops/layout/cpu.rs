//! Moving elements on the CPU: runs copied as they lie, in parallel, for elements of any type.

use crate::cpu::{for_rows, simd, vectorized};
use crate::dtype::Element;
use crate::error::Result;
use crate::ops::strides::Walk;
use crate::tensor::{Tensor, ViewMut};
use std::ops::Range;

/// Rough cost of an element, for cutting the work.
const COST: usize = 2;

/// y = what the walk reads of x from element `start`.
pub(super) fn copy(y: ViewMut, x: &Tensor, walk: &Walk<1>, start: usize) -> Result<()> {
    with_dtype!(x.dtype(), T => copy_as::<T>(y, x, walk, start))
}

fn copy_as<T: Element>(mut y: ViewMut, x: &Tensor, walk: &Walk<1>, start: usize) -> Result<()> {
    let x = x.slice::<T>()?;
    let [stride] = walk.inner_strides();
    for_rows(y.slice::<T>()?, 1, COST, |first, y| {
        let part = first..first + y.len();
        match stride {
            0 => walk.runs(part, |at, [from]| {
                y[at.start - first..at.end - first].fill(x[start + from]);
            }),
            1 => walk.runs(part, |at, [from]| {
                let x = &x[start + from..][..at.len()];
                y[at.start - first..at.end - first].copy_from_slice(x);
            }),
            _ => {
                let mut runs = Vec::new();
                walk.runs(part, |at, [from]| {
                    runs.push((at.start - first..at.end - first, start + from));
                });
                copy_tiles(y, x, stride, &runs);
            }
        }
    });
    Ok(())
}

/// Runs that step through x: rows of a transposed matrix. What one of them reads lies beside what the
/// next one reads, so they go forward together, and each cache line of x is used while it is there.
fn copy_tiles<T: Element>(y: &mut [T], x: &[T], stride: usize, runs: &[(Range<usize>, usize)]) {
    /// Elements of a run that are copied before its neighbours follow: a cache line of f32.
    const TILE: usize = 16;
    let longest = runs.iter().map(|(at, _)| at.len()).max().unwrap_or(0);
    for tile in (0..longest).step_by(TILE) {
        for (at, from) in runs {
            let y = y[at.clone()].iter_mut().skip(tile).take(TILE);
            let x = x.get(from + tile * stride..).unwrap_or(&[]).iter().step_by(stride);
            y.zip(x).for_each(|(y, x)| *y = *x);
        }
    }
}

/// y = the tensors one after the other along `axis`.
pub(super) fn concat(y: ViewMut, tensors: &[&Tensor], axis: usize) -> Result<()> {
    with_dtype!(y.dtype(), T => concat_as::<T>(y, tensors, axis))
}

fn concat_as<T: Element>(mut y: ViewMut, tensors: &[&Tensor], axis: usize) -> Result<()> {
    // From each tensor as many elements as follow one another both there and in y.
    let parts = tensors
        .iter()
        .map(|x| Ok((x.slice::<T>()?, x.dims()[axis..].iter().product())))
        .collect::<Result<Vec<(&[T], usize)>>>()?;
    let width = parts.iter().map(|(_, len)| len).sum();
    for_rows(y.slice::<T>()?, width, width * COST, |first, rows| {
        for (row, mut y) in rows.chunks_exact_mut(width).enumerate() {
            for (x, len) in &parts {
                let (place, rest) = y.split_at_mut(*len);
                place.copy_from_slice(&x[(first + row) * len..][..*len]);
                y = rest;
            }
        }
    });
    Ok(())
}

/// dx [outer, n, inner] = beta·dx, then += dy in the places along its axis that begin at `start`.
pub(super) fn add_part(
    mut dx: ViewMut,
    beta: f32,
    dy: &Tensor,
    [outer, n, inner]: [usize; 3],
    start: usize,
) -> Result<()> {
    let dy = dy.read()?;
    let len = dy.len().checked_div(outer).unwrap_or(0);
    dx.update(|dx| {
        for_rows(dx, n * inner, n * inner, |first, rows| {
            vectorized(
                #[inline(always)]
                || {
                    for (row, dx) in rows.chunks_exact_mut(n * inner).enumerate() {
                        if beta == 0.0 {
                            dx.fill(0.0);
                        }
                        let dy = &dy[(first + row) * len..][..len];
                        simd::add_into(&mut dx[start * inner..][..len], dy);
                    }
                },
            )
        })
    })
}

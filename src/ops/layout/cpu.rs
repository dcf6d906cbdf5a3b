//! Moving elements on the CPU: runs copied as they lie, in parallel, for elements of any type.

use crate::cpu::{for_rows, simd, vectorized};
use crate::dtype::Element;
use crate::error::Result;
use crate::ops::strides::Walk;
use crate::tensor::{Tensor, ViewMut};

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
        walk.runs(first..first + y.len(), |place, [from]| {
            let y = &mut y[place.start - first..place.end - first];
            let x = &x[start + from..];
            match stride {
                0 => y.fill(x[0]),
                1 => y.copy_from_slice(&x[..y.len()]),
                _ => y.iter_mut().zip(x.iter().step_by(stride)).for_each(|(y, x)| *y = *x),
            }
        })
    });
    Ok(())
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

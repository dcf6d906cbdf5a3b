//! Comparisons and choices on the CPU: one pass over the output.

use super::Comparison;
use crate::cpu::{for_rows, vectorized};
use crate::dtype::{DType, Element};
use crate::error::Result;
use crate::ops::strides::Walk;
use crate::tensor::{Tensor, ViewMut};

/// Rough cost of an element, for cutting the work.
const COST: usize = 2;

pub(super) fn compare<C: Comparison>(
    mut y: ViewMut,
    walk: &Walk<2>,
    comparison: C,
    a: &Tensor,
    b: &Tensor,
) -> Result<()> {
    let y = y.slice::<u32>()?;
    if a.dtype() == DType::U32 {
        fill(y, walk, comparison, a.slice::<u32>()?, b.slice::<u32>()?);
    } else {
        fill(y, walk, comparison, &a.read()?, &b.read()?);
    }
    Ok(())
}

fn fill<C: Comparison, T: Element + PartialOrd>(
    y: &mut [u32],
    walk: &Walk<2>,
    comparison: C,
    a: &[T],
    b: &[T],
) {
    for_rows(y, 1, COST, |first, y| {
        vectorized(
            #[inline(always)]
            || {
                walk.zip(
                    y,
                    first,
                    a,
                    b,
                    #[inline(always)]
                    |a, b| u32::from(comparison.holds(a, b)),
                )
            },
        )
    });
}

/// y = a where the mask is not 0, else b: all of one shape.
pub(super) fn select(y: ViewMut, mask: &Tensor, a: &Tensor, b: &Tensor) -> Result<()> {
    with_dtype!(a.dtype(), T => select_as::<T>(y, mask, a, b))
}

fn select_as<T: Element>(mut y: ViewMut, mask: &Tensor, a: &Tensor, b: &Tensor) -> Result<()> {
    let (mask, a, b) = (mask.slice::<u32>()?, a.slice::<T>()?, b.slice::<T>()?);
    for_rows(y.slice::<T>()?, 1, COST, |first, y| {
        vectorized(
            #[inline(always)]
            || {
                let operands = a[first..].iter().zip(&b[first..]);
                for ((y, mask), (a, b)) in y.iter_mut().zip(&mask[first..]).zip(operands) {
                    *y = if *mask != 0 { *a } else { *b };
                }
            },
        )
    });
    Ok(())
}

//! Comparisons and choices on a card.

use super::Comparison;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::pointwise::{input, over, over_rows, words};
use crate::ops::strides::Walk;
use crate::tensor::{Tensor, ViewMut};

pub(super) fn compare<C: Comparison>(
    y: ViewMut,
    walk: &Walk<2>,
    a: &Tensor,
    b: &Tensor,
) -> Result<()> {
    let (size, ids) = ([y.len(), walk.width()], a.dtype() == DType::U32);
    let kernel = format!("compare_{}{}", C::NAME, if ids { "_u32" } else { "" });
    let launch = over_rows(y.gpu()?, "compare", kernel, size).arg(&y);
    let launch = match ids {
        true => launch.arg(a).arg(b),
        false => launch.arg_bytes(&input(a)?).arg_bytes(&input(b)?),
    };
    let launch = launch.arg_bytes(&walk.axes()).arg(y.len() as u64);
    // SAFETY: y is of u32 and the walk of its shape; a and b are both ids or both floats, of which it
    // reads what they have.
    unsafe { launch.run() }
}

/// y = a where the mask is not 0, else b: all of one shape.
pub(super) fn select(y: ViewMut, mask: &Tensor, a: &Tensor, b: &Tensor) -> Result<()> {
    let n = y.len();
    let launch = over(y.gpu()?, "compare", format!("compare_select_{}", words(y.dtype())), n)
        .arg(&y)
        .arg(mask)
        .arg(a)
        .arg(b)
        .arg(n as u64);
    // SAFETY: all have n elements, y, a and b of the words' size, the mask of u32.
    unsafe { launch.run() }
}

//! Elementwise functions on the CPU: plain loops, vectorised, in parallel chunks.

use super::Function;
use crate::cpu::{for_rows, vectorized};
use crate::error::Result;
use crate::tensor::{Tensor, ViewMut};

pub(super) fn forward<F: Function>(mut y: ViewMut, function: F, x: &Tensor) -> Result<()> {
    let x = x.read()?;
    y.write(|y| {
        for_rows(y, 1, F::COST, |first, y| {
            vectorized(
                #[inline(always)]
                || {
                    for (y, x) in y.iter_mut().zip(&x[first..]) {
                        *y = function.f(*x);
                    }
                },
            )
        })
    })
}

/// dx = beta·dx + dy·f'(x).
pub(super) fn add_dx<F: Function>(
    mut dx: ViewMut,
    beta: f32,
    function: F,
    dy: &Tensor,
    x: &Tensor,
) -> Result<()> {
    let (dy, x) = (dy.read()?, x.read()?);
    dx.update(|dx| {
        for_rows(dx, 1, F::COST, |first, dx| {
            vectorized(
                #[inline(always)]
                || {
                    for ((dx, dy), x) in dx.iter_mut().zip(&dy[first..]).zip(&x[first..]) {
                        let through = dy * function.df(*x);
                        *dx = if beta == 0.0 { through } else { beta * *dx + through };
                    }
                },
            )
        })
    })
}

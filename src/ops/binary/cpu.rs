//! Functions of two numbers on the CPU: runs in which both operands move on, or one of them stands.

use super::Function;
use crate::cpu::{for_rows, vectorized};
use crate::error::Result;
use crate::ops::strides::Walk;
use crate::tensor::{Tensor, ViewMut};

/// Rough cost of a number, for cutting the work.
const COST: usize = 2;

pub(super) fn forward<F: Function>(
    mut y: ViewMut,
    walk: &Walk<2>,
    function: F,
    a: &Tensor,
    b: &Tensor,
) -> Result<()> {
    let (a, b) = (a.read()?, b.read()?);
    y.write(|y| {
        for_rows(y, 1, COST, |first, y| {
            vectorized(
                #[inline(always)]
                || {
                    walk.zip(
                        y,
                        first,
                        &a,
                        &b,
                        #[inline(always)]
                        |a, b| function.f(a, b),
                    )
                },
            )
        })
    })
}

/// through = dy·∂f/∂a for `input` 0, dy·∂f/∂b for 1.
pub(super) fn partial<F: Function>(
    mut through: ViewMut,
    walk: &Walk<2>,
    function: F,
    input: usize,
    dy: &Tensor,
    a: &Tensor,
    b: &Tensor,
) -> Result<()> {
    let (dy, a, b) = (dy.read()?, a.read()?, b.read()?);
    through.write(|through| {
        for_rows(through, 1, 2 * COST, |first, through| {
            vectorized(
                #[inline(always)]
                || {
                    walk.zip(
                        through,
                        first,
                        &a,
                        &b,
                        #[inline(always)]
                        |a, b| if input == 0 { function.da(a, b) } else { function.db(a, b) },
                    );
                    for (through, dy) in through.iter_mut().zip(&dy[first..]) {
                        *through *= dy;
                    }
                },
            )
        })
    })
}

//! Functions of two numbers on a card: a kernel for each, and for each partial derivative.

use super::Function;
use crate::error::Result;
use crate::ops::pointwise::{input, output, over_rows};
use crate::ops::strides::Walk;
use crate::tensor::{Tensor, ViewMut};

pub(super) fn forward<F: Function>(
    y: ViewMut,
    walk: &Walk<2>,
    a: &Tensor,
    b: &Tensor,
) -> Result<()> {
    let size = [y.len(), walk.width()];
    let launch = over_rows(y.gpu()?, "binary", format!("binary_{}", F::NAME), size)
        .arg_bytes(&output(&y)?)
        .arg_bytes(&input(a)?)
        .arg_bytes(&input(b)?)
        .arg_bytes(&walk.axes())
        .arg(y.len() as u64);
    // SAFETY: the walk is of y's shape, and reads of a and b what they have.
    unsafe { launch.run() }
}

/// through = dy·∂f/∂a for `of` 0, dy·∂f/∂b for 1.
pub(super) fn partial<F: Function>(
    through: ViewMut,
    walk: &Walk<2>,
    of: usize,
    dy: &Tensor,
    a: &Tensor,
    b: &Tensor,
) -> Result<()> {
    let size = [through.len(), walk.width()];
    let kernel = format!("binary_{}_{}", F::NAME, ["da", "db"][of]);
    let launch = over_rows(through.gpu()?, "binary", kernel, size)
        .arg_bytes(&output(&through)?)
        .arg_bytes(&input(dy)?)
        .arg_bytes(&input(a)?)
        .arg_bytes(&input(b)?)
        .arg_bytes(&walk.axes())
        .arg(through.len() as u64);
    // SAFETY: the walk is of the shape of dy and through, and reads of a and b what they have.
    unsafe { launch.run() }
}

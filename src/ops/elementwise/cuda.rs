//! Elementwise functions on a card: a kernel for each, by its name.

use super::Function;
use crate::error::Result;
use crate::ops::pointwise::{input, output, over};
use crate::tensor::{Tensor, ViewMut};

pub(super) fn forward<F: Function>(y: ViewMut, function: F, x: &Tensor) -> Result<()> {
    let n = y.len();
    let launch = over(y.gpu()?, "elementwise", format!("elementwise_{}", F::NAME), n)
        .arg_bytes(&output(&y)?)
        .arg_bytes(&input(x)?)
        .arg(function.constant())
        .arg(n as u64);
    // SAFETY: y has the n numbers of x, as allocated in mod.rs.
    unsafe { launch.run() }
}

/// dx = beta·dx + dy·f'(x).
pub(super) fn add_dx<F: Function>(
    dx: ViewMut,
    beta: f32,
    function: F,
    dy: &Tensor,
    x: &Tensor,
) -> Result<()> {
    let n = dx.len();
    let launch = over(dx.gpu()?, "elementwise", format!("elementwise_{}_dx", F::NAME), n)
        .arg_bytes(&output(&dx)?)
        .arg(beta)
        .arg_bytes(&input(dy)?)
        .arg_bytes(&input(x)?)
        .arg(function.constant())
        .arg(n as u64);
    // SAFETY: a gradient of x, or of f(x), has the n numbers of x.
    unsafe { launch.run() }
}

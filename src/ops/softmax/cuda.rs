//! Softmax on CUDA: a block for each row.

use super::Form;
use crate::error::Result;
use crate::tensor::{Tensor, ViewMut};

impl Form {
    /// What its kernels' names begin with.
    fn kernel(self) -> &'static str {
        match self {
            Form::Plain => "softmax",
            Form::Log => "softmax_log",
        }
    }
}

/// Threads for a row: one for every 8 numbers, as far as a block reaches.
fn threads(width: usize) -> usize {
    32 * width.div_ceil(32 * 8).clamp(1, 32)
}

pub(super) fn forward(y: ViewMut, form: Form, x: &Tensor) -> Result<()> {
    let (rows, width) = (x.shape().rows(), x.shape().last_dim());
    let launch = y
        .gpu()?
        .kernel("softmax", format!("{}_forward_{}", form.kernel(), x.dtype()))
        .grid(rows, 1, 1)
        .block(threads(width))
        .arg(&y)
        .arg(x)
        .arg(width as u32);
    // SAFETY: x and y have rows·width elements of one dtype, as mod.rs made them.
    unsafe { launch.run() }
}

/// dx = beta·dx + the gradient that comes through.
pub(super) fn add_dx(dx: ViewMut, beta: f32, form: Form, dy: &Tensor, y: &Tensor) -> Result<()> {
    let (rows, width) = (y.shape().rows(), y.shape().last_dim());
    let launch = dx
        .gpu()?
        .kernel("softmax", format!("{}_dx_{}_{}", form.kernel(), y.dtype(), dx.dtype()))
        .grid(rows, 1, 1)
        .block(threads(width))
        .arg(&dx)
        .arg(beta)
        .arg(dy)
        .arg(y)
        .arg(width as u32);
    // SAFETY: all three have rows·width elements, and dy has the dtype of y, whose gradient it is.
    unsafe { launch.run() }
}

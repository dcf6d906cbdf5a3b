//! Softmax and its logarithm along an axis.
//!
//! ```text
//! y = eˣ / Σ eˣ               dx = y·(dy − Σ dy·y)
//! y = x − ln Σ eˣ             dx = dy − eʸ·Σ dy
//! ```
//!
//! The largest x is subtracted first, so that no exponential overflows. Only y is saved. Equals
//! `torch.softmax` and `torch.log_softmax`. An axis that is not the last is brought there and back.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use super::{around, expect_float};
use crate::error::Result;
use crate::tensor::{Buffer, Device, Op, Sink, Tensor};

#[derive(Clone, Copy)]
enum Form {
    Plain,
    Log,
}

impl Tensor {
    /// Numbers above 0 that add up to 1 along `axis`.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 1.0, 2.0, 2.0], &[2, 2], Device::Cpu)?;
    /// assert_eq!(x.softmax(1)?.to_vec::<f32>()?, [0.5, 0.5, 0.5, 0.5]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn softmax(&self, axis: usize) -> Result<Tensor> {
        along("softmax", Form::Plain, self, axis)
    }

    /// The logarithm of [`Tensor::softmax`], exact also where that is too small for a float.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[0.0f32, 200.0], &[2], Device::Cpu)?;
    /// assert_eq!(x.log_softmax(0)?.to_vec::<f32>()?, [-200.0, 0.0]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn log_softmax(&self, axis: usize) -> Result<Tensor> {
        along("log_softmax", Form::Log, self, axis)
    }
}

fn along(op: &str, form: Form, x: &Tensor, axis: usize) -> Result<Tensor> {
    expect_float(op, "input", x)?;
    around(op, x, axis)?;
    let last = x.dims().len() - 1;
    if axis == last {
        along_last(form, x)
    } else {
        along_last(form, &x.transpose(axis, last)?)?.transpose(axis, last)
    }
}

fn along_last(form: Form, x: &Tensor) -> Result<Tensor> {
    let mut y = Buffer::new(x.device(), x.dtype(), x.numel())?;
    match x.device() {
        Device::Cpu => cpu::forward(y.view_mut(), form, x)?,
        Device::Cuda(_) => cuda::forward(y.view_mut(), form, x)?,
        Device::Meta => {}
    }
    let y = Tensor::new(y, *x.shape());
    Ok(y.clone().with_history(&[x], || Softmax { form, y }))
}

struct Softmax {
    form: Form,
    y: Tensor,
}

impl Op for Softmax {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        let Self { form, y } = *self;
        if let Some((dx, beta)) = to.slot(0, &y)? {
            match y.device() {
                Device::Cpu => cpu::add_dx(dx, beta, form, &dy, &y)?,
                Device::Cuda(_) => cuda::add_dx(dx, beta, form, &dy, &y)?,
                Device::Meta => {}
            }
        }
        Ok(())
    }
}

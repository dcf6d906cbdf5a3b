//! Sums and means: along an axis, over everything, or back to a shape that was broadcast.
//!
//! ```text
//! y = scale·Σ x along an axis        dx = scale·dy, stretched along it
//! ```
//!
//! with scale 1 for a sum and 1/n for a mean. Sums are made in an order that depends on the shape alone:
//! on the CPU in f32 over short blocks and in f64 between them, on CUDA in f32 with compensation.

mod cpu;
pub(super) mod cuda;
#[cfg(test)]
mod tests;

use super::{around, expect_float};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Buffer, Device, Op, Sink, Tensor};

impl Tensor {
    /// Σ along `axis`, which is left out of the result or, with `keep`, has size 1 (`torch.sum`).
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2], Device::Cpu)?;
    /// assert_eq!(x.sum(0, false)?.to_vec::<f32>()?, [4.0, 6.0]);
    /// assert_eq!(x.sum(1, true)?.dims(), [2, 1]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn sum(&self, axis: usize, keep: bool) -> Result<Tensor> {
        scaled_sum("sum", self, axis, keep, |_| 1.0)
    }

    /// The mean along `axis`, which is left out of the result or, with `keep`, has size 1
    /// (`torch.mean`). NaN along an axis of size 0.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2], Device::Cpu)?;
    /// assert_eq!(x.mean(1, false)?.to_vec::<f32>()?, [1.5, 3.5]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn mean(&self, axis: usize, keep: bool) -> Result<Tensor> {
        scaled_sum("mean", self, axis, keep, |n| 1.0 / n as f64)
    }

    /// Σ of all elements, a scalar (`torch.sum`).
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2], Device::Cpu)?;
    /// assert_eq!(x.sum_all()?.item()?, 10.0);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn sum_all(&self) -> Result<Tensor> {
        self.reshape(&[self.numel()])?.sum(0, false)
    }

    /// The mean of all elements, a scalar (`torch.mean`). NaN where there are none.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2], Device::Cpu)?;
    /// assert_eq!(x.mean_all()?.item()?, 2.5);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn mean_all(&self) -> Result<Tensor> {
        self.reshape(&[self.numel()])?.mean(0, false)
    }

    /// Σ over every axis that `dims` would stretch to this shape by broadcasting: the gradient of
    /// [`Tensor::broadcast_to`] (`torch.Tensor.sum_to_size`).
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2], Device::Cpu)?;
    /// assert_eq!(x.sum_to(&[2])?.to_vec::<f32>()?, [4.0, 6.0]);
    /// assert_eq!(x.sum_to(&[2, 1])?.to_vec::<f32>()?, [3.0, 7.0]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn sum_to(&self, dims: &[usize]) -> Result<Tensor> {
        let target = Shape::new(dims)?;
        if target.broadcast(self.shape(), "sum_to")? != *self.shape() {
            let expected = format!("a shape that broadcasts to {}", self.shape());
            return Err(Error::shape("sum_to", expected, format!("{target}")));
        }
        // The axes that the target has not are one in front.
        let extra = self.dims().len() - dims.len();
        let (front, rest) = self.dims().split_at(extra);
        let mut sum = self.clone();
        if extra > 0 {
            let rows = front.iter().product();
            sum = sum.reshape(&[&[rows], rest].concat())?.sum(0, false)?;
        }
        for axis in 0..dims.len() {
            if dims[axis] == 1 && rest[axis] != 1 {
                sum = sum.sum(axis, true)?;
            }
        }
        Ok(sum)
    }
}

/// The shape that is left when `axis` is taken out of `shape`, or with `keep` is made 1.
pub(super) fn without(shape: &Shape, axis: usize, keep: bool) -> Result<Shape> {
    let middle: &[usize] = if keep { &[1] } else { &[] };
    Shape::new(&[&shape[..axis], middle, &shape[axis + 1..]].concat())
}

/// scale·Σ, where the scale is a function of the size of the axis.
fn scaled_sum(
    op: &str,
    x: &Tensor,
    axis: usize,
    keep: bool,
    scale: impl FnOnce(usize) -> f64,
) -> Result<Tensor> {
    expect_float(op, "input", x)?;
    let parts = around(op, x, axis)?;
    let scale = scale(parts[1]);
    let shape = without(x.shape(), axis, keep)?;
    let device = x.device();
    let mut y = Buffer::new(device, x.dtype(), shape.numel())?;
    let scratch = match device {
        Device::Cpu => 0,
        Device::Cuda(_) | Device::Meta => cuda::scratch(parts),
    };
    let mut partial = Buffer::new(device, DType::F32, scratch)?;
    match device {
        Device::Cpu => cpu::sum(y.view_mut(), x, parts, scale)?,
        Device::Cuda(_) => cuda::sum(y.view_mut(), &mut partial, x, parts, scale)?,
        Device::Meta => {}
    }
    let from = *x.shape();
    Tensor::record(y, shape, &[x], || ScaledSum { from, axis, scale: scale as f32 })
}

struct ScaledSum {
    from: Shape,
    axis: usize,
    scale: f32,
}

impl Op for ScaledSum {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        let Self { from, axis, scale } = *self;
        let dy = if scale == 1.0 { dy } else { dy.mul_scalar(scale)? };
        let mut kept = from.to_vec();
        kept[axis] = 1;
        to.give(0, dy.reshape(&kept)?.broadcast_to(&from)?)
    }
}

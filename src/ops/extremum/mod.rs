//! The largest and the smallest along an axis, and where they stand.
//!
//! ```text
//! y = x at the first place that no other exceeds      dx = dy there, 0 elsewhere
//! ```
//!
//! NaN counts as more extreme than any number, as in PyTorch. The place is found by a kernel; the
//! value and its gradient are those of [`Tensor::gather`]. Equals `torch.max(dim)`, `torch.argmax`.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use super::{around, expect_float};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Buffer, Device, Tensor};

#[derive(Clone, Copy)]
enum Extremum {
    Largest,
    Smallest,
}

impl Tensor {
    /// The largest along `axis`, which is left out of the result or, with `keep`, has size 1. Its
    /// gradient goes to the first of equals.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 4.0, 3.0, 2.0], &[2, 2], Device::Cpu)?;
    /// assert_eq!(x.max(1, false)?.to_vec::<f32>()?, [4.0, 3.0]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn max(&self, axis: usize, keep: bool) -> Result<Tensor> {
        value("max", Extremum::Largest, self, axis, keep)
    }

    /// The smallest along `axis`, which is left out of the result or, with `keep`, has size 1. Its
    /// gradient goes to the first of equals.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 4.0, 3.0, 2.0], &[2, 2], Device::Cpu)?;
    /// assert_eq!(x.min(0, true)?.to_vec::<f32>()?, [1.0, 2.0]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn min(&self, axis: usize, keep: bool) -> Result<Tensor> {
        value("min", Extremum::Smallest, self, axis, keep)
    }

    /// The largest of all elements, a scalar.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 4.0, 3.0, 2.0], &[2, 2], Device::Cpu)?;
    /// assert_eq!(x.max_all()?.item()?, 4.0);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn max_all(&self) -> Result<Tensor> {
        self.reshape(&[self.numel()])?.max(0, false)
    }

    /// The smallest of all elements, a scalar.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 4.0, 3.0, 2.0], &[2, 2], Device::Cpu)?;
    /// assert_eq!(x.min_all()?.item()?, 1.0);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn min_all(&self) -> Result<Tensor> {
        self.reshape(&[self.numel()])?.min(0, false)
    }

    /// Where along `axis` the largest stands, the first of equals: u32, without that axis.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 4.0, 3.0, 3.0], &[2, 2], Device::Cpu)?;
    /// assert_eq!(x.argmax(1)?.to_vec::<u32>()?, [1, 0]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn argmax(&self, axis: usize) -> Result<Tensor> {
        place("argmax", Extremum::Largest, self, axis)?.squeeze(axis)
    }

    /// Where along `axis` the smallest stands, the first of equals: u32, without that axis.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 4.0, 3.0, 3.0], &[2, 2], Device::Cpu)?;
    /// assert_eq!(x.argmin(0)?.to_vec::<u32>()?, [0, 1]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn argmin(&self, axis: usize) -> Result<Tensor> {
        place("argmin", Extremum::Smallest, self, axis)?.squeeze(axis)
    }
}

fn value(op: &str, extremum: Extremum, x: &Tensor, axis: usize, keep: bool) -> Result<Tensor> {
    let y = x.gather(axis, &place(op, extremum, x, axis)?)?;
    if keep { Ok(y) } else { y.squeeze(axis) }
}

/// Places along `axis`, which has size 1 in the result.
fn place(op: &str, extremum: Extremum, x: &Tensor, axis: usize) -> Result<Tensor> {
    expect_float(op, "input", x)?;
    let parts = around(op, x, axis)?;
    if parts[1] == 0 {
        let expected = format!("at least one element along axis {axis}");
        return Err(Error::shape(op, expected, format!("shape {}", x.shape())));
    }
    let mut dims = x.dims().to_vec();
    dims[axis] = 1;
    let shape = Shape::new(&dims)?;
    let mut places = Buffer::new(x.device(), DType::U32, shape.numel())?;
    match x.device() {
        Device::Cpu => cpu::places(places.view_mut(), extremum, x, parts)?,
        Device::Cuda(_) => cuda::places(places.view_mut(), extremum, x, parts)?,
        Device::Meta => {}
    }
    Ok(Tensor::new(places, shape))
}

//! Reading at places that ids name: whole slices, or one element each.
//!
//! ```text
//! index_select    y[.., i, ..] = x[.., ids[i], ..]               dx[.., ids[i], ..] += dy[.., i, ..]
//! gather          y[o, i, j] = x[o, ids[o, i, j], j]             dx[o, ids[o, i, j], j] += dy[o, i, j]
//! ```
//!
//! Gradients that meet are added in the order of i. Both read every dtype. Equal
//! `torch.index_select` and `torch.gather`; rows of a table are read faster by
//! [`Tensor::embedding`].
//!
//! An id beyond the axis is an error on the CPU. A card does not report it, as the host would have to
//! wait for that: there it reads NaN (u32: the largest number), and its gradient goes nowhere.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use super::{around, expect_ids, same_device};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Buffer, Device, Op, Sink, Tensor, ViewMut};

impl Tensor {
    /// The slices at `ids` (u32, one axis) along `axis`, which has as many places in the result as
    /// there are ids. An id beyond the axis is an error.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2], Device::Cpu)?;
    /// let ids = Tensor::from_slice(&[1u32, 1, 0], &[3], Device::Cpu)?;
    /// assert_eq!(x.index_select(1, &ids)?.to_vec::<f32>()?, [2.0, 2.0, 1.0, 4.0, 4.0, 3.0]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn index_select(&self, axis: usize, ids: &Tensor) -> Result<Tensor> {
        let op = "index_select";
        expect_ids(op, "ids", ids)?;
        around(op, self, axis)?;
        let &[count] = ids.dims() else {
            return Err(Error::shape("index_select: ids", "one axis", format!("{}", ids.shape())));
        };
        let device = same_device(op, &[self, ids])?;
        let mut dims = self.dims().to_vec();
        dims[axis] = count;
        let shape = Shape::new(&dims)?;
        let mut y = Buffer::new(device, self.dtype(), shape.numel())?;
        match device {
            Device::Cpu => cpu::select(y.view_mut(), self, axis, ids)?,
            Device::Cuda(_) => cuda::select(y.view_mut(), self, axis, ids)?,
            Device::Meta => {}
        }
        Tensor::record(y, shape, &[self], || IndexSelect {
            x: self.detach(),
            axis,
            ids: ids.clone(),
        })
    }

    /// The element at each of `ids` along `axis`: u32, and of this shape but for that axis. An id
    /// beyond the axis is an error.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2], Device::Cpu)?;
    /// let ids = Tensor::from_slice(&[1u32, 0], &[2, 1], Device::Cpu)?;
    /// assert_eq!(x.gather(1, &ids)?.to_vec::<f32>()?, [2.0, 3.0]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn gather(&self, axis: usize, ids: &Tensor) -> Result<Tensor> {
        let op = "gather";
        expect_ids(op, "ids", ids)?;
        around(op, self, axis)?;
        let alike = ids.dims().len() == self.dims().len()
            && ids.dims()[..axis] == self.dims()[..axis]
            && ids.dims()[axis + 1..] == self.dims()[axis + 1..];
        if !alike {
            let expected = format!("shape {} but for axis {axis}", self.shape());
            return Err(Error::shape("gather: ids", expected, format!("{}", ids.shape())));
        }
        let device = same_device(op, &[self, ids])?;
        let mut y = Buffer::new(device, self.dtype(), ids.numel())?;
        match device {
            Device::Cpu => cpu::gather(y.view_mut(), self, axis, ids)?,
            Device::Cuda(_) => cuda::gather(y.view_mut(), self, axis, ids)?,
            Device::Meta => {}
        }
        Tensor::record(y, *ids.shape(), &[self], || Gather {
            x: self.detach(),
            axis,
            ids: ids.clone(),
        })
    }
}

struct IndexSelect {
    x: Tensor,
    axis: usize,
    ids: Tensor,
}

impl Op for IndexSelect {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        let Self { x, axis, ids } = *self;
        if let Some((dx, beta)) = to.slot(0, &x)? {
            add_selected(dx, beta, &dy, around("index_select", &x, axis)?, &ids)?;
        }
        Ok(())
    }
}

/// dx [outer, n, inner] = beta·dx, then dx[.., ids[i], ..] += dy[.., i, ..] in the order of i.
pub(super) fn add_selected(
    dx: ViewMut,
    beta: f32,
    dy: &Tensor,
    parts: [usize; 3],
    ids: &Tensor,
) -> Result<()> {
    let [outer, _, inner] = parts;
    let scratch = Scratch::new(dy.device(), ids.numel(), outer * inner)?;
    match dy.device() {
        Device::Cpu => cpu::add_selected(dx, beta, dy, parts, ids),
        Device::Cuda(_) => cuda::add_selected(dx, beta, dy, parts, ids, scratch),
        Device::Meta => Ok(()),
    }
}

/// What adding gradients in order takes on a card.
struct Scratch {
    /// Two words for each place: sorted from one into the other.
    keys: [Buffer; 2],
    /// Two sums of each column for each chunk of places.
    partial: Buffer,
}

impl Scratch {
    fn new(device: Device, places: usize, columns: usize) -> Result<Self> {
        let keys = || Buffer::new(device, DType::U32, 2 * places);
        let sums = 2 * places.div_ceil(cuda::CHUNK) * columns;
        Ok(Scratch { keys: [keys()?, keys()?], partial: Buffer::new(device, DType::F32, sums)? })
    }
}

struct Gather {
    x: Tensor,
    axis: usize,
    ids: Tensor,
}

impl Op for Gather {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        let Self { x, axis, ids } = *self;
        if let Some((dx, beta)) = to.slot(0, &x)? {
            let parts = around("gather", &x, axis)?;
            let scratch = Scratch::new(x.device(), ids.numel(), 1)?;
            match x.device() {
                Device::Cpu => cpu::add_gathered(dx, beta, &dy, parts, &ids)?,
                Device::Cuda(_) => cuda::add_gathered(dx, beta, &dy, parts, &ids, scratch)?,
                Device::Meta => {}
            }
        }
        Ok(())
    }
}

//! Where elements stand: permuting, cutting out, joining, stretching. Nothing is computed.
//!
//! ```text
//! permute         y = x with its axes in another order     dx = dy with them put back
//! narrow          y = x[.., start..start+len, ..]          dx = dy there, 0 elsewhere
//! concat          y = a, then b, .. along an axis          da, db, .. = the parts of dy
//! broadcast_to    y = x, stretched by NumPy's rule         dx = Σ dy over the stretch
//! ```
//!
//! All of them work for every dtype. Squeezing is a reshape and copies nothing.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use super::strides::{Walk, contiguous};
use super::{around, same_device};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Buffer, Device, Op, Sink, Tensor};

impl Tensor {
    /// The axes in another order: axis i of the result is axis `axes[i]` (`torch.permute`).
    ///
    /// ```
    /// use copla::{DType, Device, Tensor};
    /// let x = Tensor::zeros(&[2, 3, 5], DType::U32, Device::Cpu)?;
    /// assert_eq!(x.permute(&[2, 0, 1])?.dims(), [5, 2, 3]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn permute(&self, axes: &[usize]) -> Result<Tensor> {
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..self.dims().len()) {
            let expected = format!("each axis of shape {} once", self.shape());
            return Err(Error::shape("permute", expected, format!("{axes:?}")));
        }
        if axes.is_sorted() {
            return Ok(self.clone());
        }
        let dims: Vec<usize> = axes.iter().map(|&axis| self.dims()[axis]).collect();
        let from = contiguous(self.shape());
        let strides: Vec<usize> = axes.iter().map(|&axis| from[axis]).collect();
        let y = copied(self, Shape::new(&dims)?, &Walk::new(&dims, [&strides]), 0)?;
        Ok(y.with_history(&[self], || Permute { axes: axes.to_vec() }))
    }

    /// Two axes exchanged (`torch.transpose`).
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1u32, 2, 3, 4], &[2, 2], Device::Cpu)?;
    /// assert_eq!(x.transpose(0, 1)?.to_vec::<u32>()?, [1, 3, 2, 4]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn transpose(&self, a: usize, b: usize) -> Result<Tensor> {
        around("transpose", self, a)?;
        around("transpose", self, b)?;
        let mut axes: Vec<usize> = (0..self.dims().len()).collect();
        axes.swap(a, b);
        self.permute(&axes)
    }

    /// The `len` places from `start` along `axis` (`torch.narrow`).
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1u32, 2, 3, 4], &[4], Device::Cpu)?;
    /// assert_eq!(x.narrow(0, 1, 2)?.to_vec::<u32>()?, [2, 3]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn narrow(&self, axis: usize, start: usize, len: usize) -> Result<Tensor> {
        let [_, size, inner] = around("narrow", self, axis)?;
        if start.checked_add(len).is_none_or(|end| end > size) {
            let expected = format!("places within {size} along axis {axis}");
            return Err(Error::shape("narrow", expected, format!("{len} from {start}")));
        }
        if len == size {
            return Ok(self.clone());
        }
        let mut dims = self.dims().to_vec();
        dims[axis] = len;
        let walk = Walk::new(&dims, [&contiguous(self.shape())]);
        let y = copied(self, Shape::new(&dims)?, &walk, start * inner)?;
        Ok(y.with_history(&[self], || Narrow { x: self.detach(), axis, start }))
    }

    /// Pieces of these sizes, which make up the whole, along `axis` (`torch.split`).
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1u32, 2, 3, 4], &[4], Device::Cpu)?;
    /// let pieces = x.split(0, &[1, 3])?;
    /// assert_eq!(pieces[1].to_vec::<u32>()?, [2, 3, 4]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn split(&self, axis: usize, sizes: &[usize]) -> Result<Vec<Tensor>> {
        let [_, size, _] = around("split", self, axis)?;
        if sizes.iter().try_fold(0usize, |sum, size| sum.checked_add(*size)) != Some(size) {
            let expected = format!("sizes that add up to {size}");
            return Err(Error::shape("split", expected, format!("{sizes:?}")));
        }
        let starts = sizes.iter().scan(0, |end, size| {
            *end += size;
            Some(*end - size)
        });
        starts.zip(sizes).map(|(start, len)| self.narrow(axis, start, *len)).collect()
    }

    /// One after the other along `axis`; elsewhere their sizes are the same (`torch.cat`).
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let a = Tensor::from_slice(&[1u32, 2], &[2, 1], Device::Cpu)?;
    /// let b = Tensor::from_slice(&[3u32, 4], &[2, 1], Device::Cpu)?;
    /// assert_eq!(Tensor::concat(&[&a, &b], 1)?.to_vec::<u32>()?, [1, 3, 2, 4]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn concat(tensors: &[&Tensor], axis: usize) -> Result<Tensor> {
        let op = "concat";
        let Some(first) = tensors.first() else {
            return Err(Error::shape(op, "at least one tensor", "none"));
        };
        around(op, first, axis)?;
        let device = same_device(op, tensors)?;
        for tensor in tensors {
            let alike = tensor.dims().len() == first.dims().len()
                && tensor.dims()[..axis] == first.dims()[..axis]
                && tensor.dims()[axis + 1..] == first.dims()[axis + 1..]
                && tensor.dtype() == first.dtype();
            if !alike {
                let expected = format!("{} {} but for axis {axis}", first.dtype(), first.shape());
                let found = format!("{} {}", tensor.dtype(), tensor.shape());
                return Err(Error::shape(op, expected, found));
            }
        }
        let sizes: Vec<usize> = tensors.iter().map(|tensor| tensor.dims()[axis]).collect();
        let mut dims = first.dims().to_vec();
        dims[axis] = sizes.iter().sum();
        let shape = Shape::new(&dims)?;
        let mut y = Buffer::new(device, first.dtype(), shape.numel())?;
        match device {
            Device::Cpu => cpu::concat(y.view_mut(), tensors, axis)?,
            Device::Cuda(_) => cuda::concat(y.view_mut(), tensors, axis)?,
            Device::Meta => {}
        }
        Tensor::record(y, shape, tensors, || Concat { axis, sizes })
    }

    /// Tensors of one shape along a new axis `axis` (`torch.stack`).
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let (a, b) = (Tensor::scalar(1.0, Device::Cpu)?, Tensor::scalar(2.0, Device::Cpu)?);
    /// assert_eq!(Tensor::stack(&[&a, &b], 0)?.to_vec::<f32>()?, [1.0, 2.0]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn stack(tensors: &[&Tensor], axis: usize) -> Result<Tensor> {
        if let Some(other) = tensors.iter().find(|tensor| tensor.shape() != tensors[0].shape()) {
            let expected = format!("tensors of shape {}", tensors[0].shape());
            return Err(Error::shape("stack", expected, format!("{}", other.shape())));
        }
        let raised: Vec<Tensor> =
            tensors.iter().map(|tensor| tensor.unsqueeze(axis)).collect::<Result<_>>()?;
        Tensor::concat(&Vec::from_iter(&raised), axis)
    }

    /// Stretched to `dims` by NumPy's rule: axes are aligned at the end, and a 1 or a missing axis
    /// takes any size (`torch.broadcast_to`).
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1u32, 2], &[2, 1], Device::Cpu)?;
    /// assert_eq!(x.broadcast_to(&[2, 2])?.to_vec::<u32>()?, [1, 1, 2, 2]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn broadcast_to(&self, dims: &[usize]) -> Result<Tensor> {
        let shape = Shape::new(dims)?;
        if self.shape().broadcast(&shape, "broadcast_to")? != shape {
            let expected = format!("a shape that {} broadcasts to", self.shape());
            return Err(Error::shape("broadcast_to", expected, format!("{shape}")));
        }
        if *self.shape() == shape {
            return Ok(self.clone());
        }
        let y = copied(self, shape, &Walk::broadcast(&shape, [self.shape()]), 0)?;
        let from = *self.shape();
        Ok(y.with_history(&[self], || BroadcastTo { from }))
    }

    /// Without `axis`, which has size 1 (`torch.squeeze`, but an axis of another size is an error).
    ///
    /// ```
    /// use copla::{DType, Device, Tensor};
    /// let x = Tensor::zeros(&[2, 1, 3], DType::F32, Device::Cpu)?;
    /// assert_eq!(x.squeeze(1)?.dims(), [2, 3]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn squeeze(&self, axis: usize) -> Result<Tensor> {
        let [_, size, _] = around("squeeze", self, axis)?;
        if size != 1 {
            let expected = format!("size 1 at axis {axis}");
            return Err(Error::shape("squeeze", expected, format!("shape {}", self.shape())));
        }
        self.reshape(&[&self.dims()[..axis], &self.dims()[axis + 1..]].concat())
    }

    /// With a new axis of size 1 at `axis` (`torch.unsqueeze`).
    ///
    /// ```
    /// use copla::{DType, Device, Tensor};
    /// let x = Tensor::zeros(&[2, 3], DType::F32, Device::Cpu)?;
    /// assert_eq!(x.unsqueeze(2)?.dims(), [2, 3, 1]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn unsqueeze(&self, axis: usize) -> Result<Tensor> {
        let rank = self.dims().len();
        if axis > rank {
            return Err(Error::shape("unsqueeze", format!("axis up to {rank}"), format!("{axis}")));
        }
        self.reshape(&[&self.dims()[..axis], &[1], &self.dims()[axis..]].concat())
    }
}

/// What the walk reads of `x` from element `start`, as a tensor without history.
fn copied(x: &Tensor, shape: Shape, walk: &Walk<1>, start: usize) -> Result<Tensor> {
    let mut y = Buffer::new(x.device(), x.dtype(), shape.numel())?;
    match x.device() {
        Device::Cpu => cpu::copy(y.view_mut(), x, walk, start)?,
        Device::Cuda(_) => cuda::copy(y.view_mut(), x, walk, start)?,
        Device::Meta => {}
    }
    Ok(Tensor::new(y, shape))
}

struct Permute {
    axes: Vec<usize>,
}

impl Op for Permute {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        let mut inverse = vec![0; self.axes.len()];
        for (to, &from) in self.axes.iter().enumerate() {
            inverse[from] = to;
        }
        to.give(0, dy.permute(&inverse)?)
    }
}

struct Narrow {
    /// Says what its gradient is like; kept alive by that, as by a view in PyTorch.
    x: Tensor,
    axis: usize,
    start: usize,
}

impl Op for Narrow {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        let Self { x, axis, start } = *self;
        // Pieces of one tensor add into one place, each its own part.
        if let Some((dx, beta)) = to.slot(0, &x)? {
            let parts = around("narrow", &x, axis)?;
            match x.device() {
                Device::Cpu => cpu::add_part(dx, beta, &dy, parts, start)?,
                Device::Cuda(_) => cuda::add_part(dx, beta, &dy, parts, start)?,
                Device::Meta => {}
            }
        }
        Ok(())
    }
}

struct Concat {
    axis: usize,
    sizes: Vec<usize>,
}

impl Op for Concat {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        let mut start = 0;
        for (input, len) in self.sizes.into_iter().enumerate() {
            if to.wants(input) {
                to.give(input, dy.narrow(self.axis, start, len)?)?;
            }
            start += len;
        }
        Ok(())
    }
}

struct BroadcastTo {
    from: Shape,
}

impl Op for BroadcastTo {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        to.give(0, dy.sum_to(&self.from)?)
    }
}

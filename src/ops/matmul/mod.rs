//! The matrix product, one or many at a time.
//!
//! ```text
//! y [.., m, n] = a [.., m, k]·b [.., k, n]        da = Σ dy·bᵀ        db = Σ aᵀ·dy
//! ```
//!
//! The axes in front broadcast by NumPy's rule; Σ is over the products that one matrix took part in.
//! Equals `torch.matmul` for operands of at least two axes.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use super::strides::Walk;
use super::{expect_float, joint_dtype, same_device};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Buffer, Device, Op, Sink, Tensor};

impl Tensor {
    /// `self` [.., m, k] times `other` [.., k, n]: [.., m, n].
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let a = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2], Device::Cpu)?;
    /// let b = Tensor::from_slice(&[5.0f32, 6.0], &[2, 1], Device::Cpu)?;
    /// assert_eq!(a.matmul(&b)?.to_vec::<f32>()?, [17.0, 39.0]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        let op = "matmul";
        expect_float(op, "left operand", self)?;
        expect_float(op, "right operand", other)?;
        let device = same_device(op, &[self, other])?;
        let (products, shape) = plan(self.shape(), other.shape())?;
        let mut y = Buffer::new(device, joint_dtype(self, other), shape.numel())?;
        match device {
            Device::Cpu => cpu::forward(y.view_mut(), &products, self, other)?,
            Device::Cuda(_) => cuda::forward(y.view_mut(), &products, self, other)?,
            Device::Meta => {}
        }
        Tensor::record(y, shape, &[self, other], || Matmul {
            products,
            a: self.detach(),
            b: other.detach(),
        })
    }
}

/// Products [m, k]·[k, n]: for each, in the order of the output, which matrix of a and which of b.
struct Products {
    m: usize,
    k: usize,
    n: usize,
    operands: Vec<[usize; 2]>,
}

fn plan(a: &Shape, b: &Shape) -> Result<(Products, Shape)> {
    let op = "matmul";
    let (&[ref a_front @ .., m, k], &[ref b_front @ .., rows, n]) = (&**a, &**b) else {
        return Err(Error::shape(op, "[.., m, k] and [.., k, n]", format!("{a} and {b}")));
    };
    if k != rows {
        let expected = format!("[.., {k}, n] on the right of {a}");
        return Err(Error::shape(op, expected, format!("{b}")));
    }
    let (a_front, b_front) = (Shape::new(a_front)?, Shape::new(b_front)?);
    let front = a_front.broadcast(&b_front, op)?;
    let shape = Shape::new(&[&front, &[m, n][..]].concat())?;
    if b_front.numel() == 1 {
        // One matrix on the right: the rows of all on the left are those of one tall matrix.
        let m = front.numel() * m;
        return Ok((Products { m, k, n, operands: vec![[0, 0]] }, shape));
    }
    let walk = Walk::broadcast(&front, [&a_front, &b_front]);
    let [a_stride, b_stride] = walk.inner_strides();
    let mut operands = Vec::with_capacity(front.numel());
    walk.runs(0..front.numel(), |place, [a, b]| {
        operands.extend((0..place.len()).map(|i| [a + i * a_stride, b + i * b_stride]));
    });
    Ok((Products { m, k, n, operands }, shape))
}

struct Matmul {
    products: Products,
    a: Tensor,
    b: Tensor,
}

impl Op for Matmul {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        let Self { products, a, b } = *self;
        if let Some((da, beta)) = to.slot(0, &a)? {
            match a.device() {
                Device::Cpu => cpu::add_da(da, beta, &products, &dy, &b)?,
                Device::Cuda(_) => cuda::add_da(da, beta, &products, &dy, &b)?,
                Device::Meta => {}
            }
        }
        if let Some((db, beta)) = to.slot(1, &b)? {
            match b.device() {
                Device::Cpu => cpu::add_db(db, beta, &products, &dy, &a)?,
                Device::Cuda(_) => cuda::add_db(db, beta, &products, &dy, &a)?,
                Device::Meta => {}
            }
        }
        Ok(())
    }
}

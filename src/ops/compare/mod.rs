//! Comparisons under NumPy broadcasting, and the choice between two tensors by their outcome.
//!
//! ```text
//! y = 1 where a ∘ b holds, 0 elsewhere (u32, without gradient)
//! y = a where mask ≠ 0, b elsewhere       da = dy where mask ≠ 0, 0 elsewhere; db the other way
//! ```
//!
//! NaN differs from everything and is neither less nor greater. Equal `torch.eq` and its like, and
//! `torch.where`.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use super::strides::Walk;
use super::{expect_ids, same_device};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Buffer, Device, Op, Sink, Tensor};

trait Comparison: Copy + Send + Sync {
    const NAME: &str;
    fn holds<T: PartialOrd>(self, a: T, b: T) -> bool;
}

/// One row per comparison: its name and type, when it holds, and what it says of 1, 2 and 3 beside 2.
macro_rules! comparisons {
    ($(
        $(#[$doc:meta])*
        $name:ident $Type:ident |$a:ident, $b:ident| $holds:expr; $outcome:literal
    )*) => {
        $(
            #[derive(Clone, Copy)]
            struct $Type;

            impl Comparison for $Type {
                const NAME: &str = stringify!($name);

                #[inline(always)]
                fn holds<T: PartialOrd>(self, $a: T, $b: T) -> bool {
                    $holds
                }
            }
        )*

        impl Tensor {
            $(
                $(#[$doc])*
                /// The shapes broadcast; both are u32 or both are floats.
                ///
                /// ```
                /// use copla::{Device, Tensor};
                /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], &[3], Device::Cpu)?;
                /// let two = Tensor::scalar(2.0, Device::Cpu)?;
                #[doc = concat!(
                    "assert_eq!(x.", stringify!($name), "(&two)?.to_vec::<u32>()?, ", $outcome, ");"
                )]
                /// # Ok::<(), copla::Error>(())
                /// ```
                pub fn $name(&self, other: &Tensor) -> Result<Tensor> {
                    compare($Type, self, other)
                }
            )*
        }
    };
}

comparisons! {
    /// 1 where a = b, else 0.
    eq Eq |a, b| a == b; "[0, 1, 0]"
    /// 1 where a ≠ b, else 0.
    ne Ne |a, b| a != b; "[1, 0, 1]"
    /// 1 where a < b, else 0.
    lt Lt |a, b| a < b; "[1, 0, 0]"
    /// 1 where a ≤ b, else 0.
    le Le |a, b| a <= b; "[1, 1, 0]"
    /// 1 where a > b, else 0.
    gt Gt |a, b| a > b; "[0, 0, 1]"
    /// 1 where a ≥ b, else 0.
    ge Ge |a, b| a >= b; "[0, 1, 1]"
}

fn compare<C: Comparison>(comparison: C, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let device = same_device(C::NAME, &[a, b])?;
    if a.dtype().is_float() != b.dtype().is_float() {
        let found = format!("{} and {}", a.dtype(), b.dtype());
        return Err(Error::shape(C::NAME, "two float tensors or two of u32", found));
    }
    let shape = a.shape().broadcast(b.shape(), C::NAME)?;
    let mut y = Buffer::new(device, DType::U32, shape.numel())?;
    let walk = Walk::broadcast(&shape, [a.shape(), b.shape()]);
    match device {
        Device::Cpu => cpu::compare(y.view_mut(), &walk, comparison, a, b)?,
        Device::Cuda(_) => cuda::compare::<C>(y.view_mut(), &walk, a, b)?,
        Device::Meta => {}
    }
    Ok(Tensor::new(y, shape))
}

impl Tensor {
    /// `a` where `self`, a mask of u32, is not 0, and `b` elsewhere. All three broadcast; `a` and `b`
    /// are of one dtype, whichever.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-1.0f32, 2.0], &[2], Device::Cpu)?;
    /// let zero = Tensor::scalar(0.0, Device::Cpu)?;
    /// assert_eq!(x.gt(&zero)?.select(&x, &zero)?.to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn select(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let op = "select";
        expect_ids(op, "mask", self)?;
        if a.dtype() != b.dtype() {
            let found = format!("{} and {}", a.dtype(), b.dtype());
            return Err(Error::shape(op, "two tensors of one dtype", found));
        }
        let device = same_device(op, &[self, a, b])?;
        let shape = a.shape().broadcast(b.shape(), op)?.broadcast(self.shape(), op)?;
        let mask = self.broadcast_to(&shape)?;
        let (a, b) = (a.broadcast_to(&shape)?, b.broadcast_to(&shape)?);
        let mut y = Buffer::new(device, a.dtype(), shape.numel())?;
        match device {
            Device::Cpu => cpu::select(y.view_mut(), &mask, &a, &b)?,
            Device::Cuda(_) => cuda::select(y.view_mut(), &mask, &a, &b)?,
            Device::Meta => {}
        }
        Tensor::record(y, shape, &[&a, &b], || Select { mask })
    }
}

struct Select {
    mask: Tensor,
}

impl Op for Select {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        let zero = Tensor::zeros(&[], dy.dtype(), dy.device())?;
        if to.wants(0) {
            to.give(0, self.mask.select(&dy, &zero)?)?;
        }
        if to.wants(1) {
            to.give(1, self.mask.select(&zero, &dy)?)?;
        }
        Ok(())
    }
}

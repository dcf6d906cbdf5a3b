//! The same numbers in another dtype.
//!
//! ```text
//! y = x, rounded to what the dtype holds        dx = dy in the dtype of x
//! ```
//!
//! To a 16-bit float the nearest, ties to even; to u32 toward zero, held to what u32 has (NaN is 0),
//! and u32 to a float the nearest. Equals `torch.Tensor.to(dtype)` where that is defined.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::{Buffer, Device, Op, Sink, Tensor};

impl Tensor {
    /// This tensor as `dtype`; itself where it already is.
    ///
    /// ```
    /// use copla::{DType, Device, Tensor};
    /// let x = Tensor::from_slice(&[1.75f32, 300.5], &[2], Device::Cpu)?;
    /// assert_eq!(x.cast(DType::U32)?.to_vec::<u32>()?, [1, 300]);
    /// // bf16 has eight bits of fraction.
    /// assert_eq!(x.cast(DType::BF16)?.cast(DType::F32)?.to_vec::<f32>()?, [1.75, 300.0]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn cast(&self, dtype: DType) -> Result<Tensor> {
        let from = self.dtype();
        if from == dtype {
            return Ok(self.clone());
        }
        let mut y = Buffer::new(self.device(), dtype, self.numel())?;
        match self.device() {
            Device::Cpu => cpu::cast(y.view_mut(), self)?,
            Device::Cuda(_) => cuda::cast(y.view_mut(), self)?,
            Device::Meta => {}
        }
        let y = Tensor::new(y, *self.shape());
        // An integer has no gradient to send back.
        Ok(if dtype.is_float() { y.with_history(&[self], || Cast { from }) } else { y })
    }
}

struct Cast {
    from: DType,
}

impl Op for Cast {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        to.give(0, dy.cast(self.from)?)
    }
}

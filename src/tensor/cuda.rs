//! Tensors on a card: as arguments of kernels, and the two things that `tensor` itself does there.

use crate::cuda::{Argument, Gpu};
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::{Buffer, Tensor, ViewMut};
use half::{bf16, f16};

impl Argument for Tensor {
    fn word(&self) -> Result<u64> {
        self.ptr().map(|ptr| ptr.0)
    }
}

impl Argument for ViewMut<'_> {
    fn word(&self) -> Result<u64> {
        self.ptr().map(|ptr| ptr.0)
    }
}

impl Argument for Buffer {
    fn word(&self) -> Result<u64> {
        self.ptr(0).map(|ptr| ptr.0)
    }
}

/// Every element is `value` (for u32, rounded toward zero).
pub(super) fn fill(y: ViewMut, value: f32) -> Result<()> {
    let pattern = match y.dtype() {
        DType::F32 => value.to_bits(),
        DType::F16 => f16::from_f32(value).to_bits().into(),
        DType::BF16 => bf16::from_f32(value).to_bits().into(),
        DType::U32 => value as u32,
    };
    // SAFETY: the view has `len` elements of this size.
    unsafe { y.gpu()?.fill(y.ptr()?, pattern, y.dtype().size(), y.len()) }
}

/// sum = beta·sum + grad.
pub(super) fn accumulate(sum: ViewMut, beta: f32, grad: &Tensor) -> Result<()> {
    let gpu: &Gpu = sum.gpu()?;
    let launch = gpu
        .kernel("accumulate", format!("accumulate_{}_{}", sum.dtype(), grad.dtype()))
        .grid(gpu.blocks(sum.len(), 256), 1, 1)
        .block(256)
        .arg(&sum)
        .arg(grad)
        .arg(beta)
        .arg(sum.len() as u64);
    // SAFETY: both have `len` elements, which the caller compared, of the types in the name.
    unsafe { launch.run() }
}

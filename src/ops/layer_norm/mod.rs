//! Layer normalisation, alone and with the residual sum before it.
//!
//! For each row x of `width` numbers, with mean μ and variance σ² over the row:
//!
//! ```text
//! x̂ = (x − μ) / √(σ² + eps)        y = x̂·weight + bias
//! dx = (g − mean(g) − x̂·mean(g·x̂)) / √(σ² + eps)   where g = dy·weight
//! dweight = Σ_rows dy·x̂            dbias = Σ_rows dy
//! ```
//!
//! Ba, Kiros, Hinton, "Layer Normalization" (2016), section 3; equals
//! `torch.nn.functional.layer_norm` over the last axis.
//!
//! y has the dtype of the weight, so that an f32 residual stream goes into 16-bit matrix products.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use super::{expect_dims, expect_float, same_device};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Buffer, Device, Op, Sink, Tensor};

/// Rows whose weight gradients are summed before they meet the others.
const ROWS_PER_PART: usize = 32;

impl Tensor {
    /// Normalises each row [..., width] and scales it by `weight` [width], shifted by `bias` [width].
    /// Of `self` in f32 or the weight's dtype, in the weight's dtype.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 3.0], &[1, 2], Device::Cpu)?;
    /// let (w, b) = (Tensor::full(1.0, &[2], x.dtype(), x.device())?, Tensor::full(0.0, &[2], x.dtype(), x.device())?);
    /// let y = x.layer_norm(&w, &b, 1e-5)?.to_vec::<f32>()?;
    /// assert!((y[0] + 1.0).abs() < 1e-4 && (y[1] - 1.0).abs() < 1e-4);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn layer_norm(&self, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
        let device = check(self, weight, bias)?;
        let mut y = Buffer::new(device, weight.dtype(), self.numel())?;
        let mut stats = Buffer::new(device, DType::F32, 2 * self.shape().rows())?;
        match device {
            Device::Cpu => cpu::forward(y.view_mut(), stats.view_mut(), self, weight, bias, eps)?,
            Device::Cuda(_) => {
                cuda::forward(y.view_mut(), stats.view_mut(), self, weight, bias, eps)?
            }
            Device::Meta => {}
        }
        record(y, stats, self, weight, bias)
    }

    /// `sum = self + delta` and its layer norm `y`, in one pass over memory: (sum, y), both [..., width],
    /// the sum in the dtype of `self` and y in the weight's; both terms are f32 or in the weight's dtype.
    pub fn residual_layer_norm(
        &self,
        delta: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        eps: f32,
    ) -> Result<(Tensor, Tensor)> {
        let device = check(self, weight, bias)?;
        same_device("residual_layer_norm", &[self, delta])?;
        expect_dims("residual_layer_norm", "delta", delta, self.dims())?;
        expect_f32_or("residual_layer_norm: delta", weight.dtype(), delta)?;
        let mut sum = Buffer::new(device, self.dtype(), self.numel())?;
        let mut y = Buffer::new(device, weight.dtype(), self.numel())?;
        let mut stats = Buffer::new(device, DType::F32, 2 * self.shape().rows())?;
        let out = [sum.view_mut(), y.view_mut(), stats.view_mut()];
        match device {
            Device::Cpu => cpu::residual_forward(out, self, delta, weight, bias, eps)?,
            Device::Cuda(_) => cuda::residual_forward(out, self, delta, weight, bias, eps)?,
            Device::Meta => {}
        }
        // Two nodes for one pass: the norm adds its gradient onto the sum's, which then goes to both
        // terms as one shared tensor.
        let residual = || Residual { delta: delta.dtype() };
        let sum = Tensor::record(sum, *self.shape(), &[self, delta], residual)?;
        let y = record(y, stats, &sum, weight, bias)?;
        Ok((sum, y))
    }
}

fn check(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Device> {
    let op = "layer_norm";
    if x.shape().last_dim() == 0 || x.shape().is_empty() {
        return Err(Error::shape(op, "rows of at least one number", format!("{}", x.shape())));
    }
    let width = x.shape().last_dim();
    expect_dims(op, "weight", weight, &[width])?;
    expect_dims(op, "bias", bias, &[width])?;
    expect_float(op, "weight", weight)?;
    if bias.dtype() != weight.dtype() {
        let expected = format!("{}, as its weight has", weight.dtype());
        return Err(Error::shape("layer_norm: bias", expected, format!("{}", bias.dtype())));
    }
    expect_f32_or("layer_norm: input", weight.dtype(), x)?;
    same_device(op, &[x, weight, bias])
}

fn expect_f32_or(name: &str, dtype: DType, x: &Tensor) -> Result<()> {
    if [DType::F32, dtype].contains(&x.dtype()) {
        return Ok(());
    }
    let expected = format!("f32 or {dtype}, as its weight has");
    Err(Error::shape(name, expected, format!("{}", x.dtype())))
}

fn record(y: Buffer, stats: Buffer, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Tensor::record(y, *x.shape(), &[x, weight, bias], || LayerNorm {
        x: x.detach(),
        weight: weight.detach(),
        bias: bias.detach(),
        stats,
    })
}

struct LayerNorm {
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    /// Per row: μ and 1/√(σ² + eps), in f32.
    stats: Buffer,
}

impl Op for LayerNorm {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        let Self { x, weight, bias, stats } = *self;
        let device = x.device();
        // Sums over rows are made per chunk of rows, then over chunks in order: (dweight, dbias) each.
        let width = x.shape().last_dim();
        let parts = x.shape().rows().div_ceil(ROWS_PER_PART);
        let mut partial = Buffer::new(device, DType::F32, parts * 2 * width)?;
        if to.wants(1) || to.wants(2) {
            match device {
                Device::Cpu => cpu::partial_sums(partial.view_mut(), &dy, &x, &stats)?,
                Device::Cuda(_) => cuda::partial_sums(partial.view_mut(), &dy, &x, &stats)?,
                Device::Meta => {}
            }
        }
        for (input, like) in [(1, &weight), (2, &bias)] {
            if let Some((sum, beta)) = to.slot(input, like)? {
                match device {
                    Device::Cpu => cpu::add_parts(sum, beta, &partial, input - 1)?,
                    Device::Cuda(_) => cuda::add_parts(sum, beta, &partial, input - 1)?,
                    Device::Meta => {}
                }
            }
        }
        if let Some((dx, beta)) = to.slot(0, &x)? {
            match device {
                Device::Cpu => cpu::add_dx(dx, beta, &dy, &x, &weight, &stats)?,
                Device::Cuda(_) => cuda::add_dx(dx, beta, &dy, &x, &weight, &stats)?,
                Device::Meta => {}
            }
        }
        Ok(())
    }
}

struct Residual {
    delta: DType,
}

impl Op for Residual {
    fn backward(self: Box<Self>, dsum: Tensor, to: &mut Sink) -> Result<()> {
        let ddelta = dsum.cast(self.delta)?;
        to.give(0, dsum)?;
        to.give(1, ddelta)
    }
}

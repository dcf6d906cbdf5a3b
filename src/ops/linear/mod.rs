//! The affine map of a transformer, with its bias and GELU in the same operation.
//!
//! ```text
//! u = x·Wᵀ + bias            y = gelu(u), or u itself
//! du = dy·gelu'(u)           dx = du·W      dW = duᵀ·x      dbias = Σ_rows du
//! ```
//!
//! W is [out, in], the layout of `torch.nn.Linear`, so that decoding streams it row by row. Equals
//! `torch.nn.functional.linear` followed by `gelu`.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use super::{expect_dims, expect_float, same_device};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Buffer, Device, Op, Sink, Tensor, ViewMut};

/// What follows the affine map in the same pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    Identity,
    /// GELU by tanh, as GPT-2 has it (`gelu_new`).
    GeluTanh,
    /// GELU by the error function, PyTorch's default.
    GeluErf,
}

impl Tensor {
    /// `activation(self·weightᵀ + bias)`: self [..., in], weight [out, in], bias [out] → [..., out].
    ///
    /// ```
    /// use copla::{Device, Tensor, ops::linear::Activation};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0], &[1, 2], Device::Cpu)?;
    /// let w = Tensor::from_slice(&[3.0f32, 4.0, 5.0, 6.0], &[2, 2], Device::Cpu)?;
    /// assert_eq!(x.linear(&w, None, Activation::Identity)?.to_vec::<f32>()?, [11.0, 17.0]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn linear(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Tensor> {
        self.affine(weight, bias, activation, self.dtype())
    }

    /// `self·weightᵀ` in f32 whatever type stores the factors: for logits that are compared or drawn
    /// from, of which 16 bits would make many equal.
    pub fn linear_f32(&self, weight: &Tensor) -> Result<Tensor> {
        self.affine(weight, None, Activation::Identity, DType::F32)
    }

    fn affine(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
        dtype: DType,
    ) -> Result<Tensor> {
        let (device, shape) = check(self, weight, bias)?;
        let mut u = Buffer::new(device, dtype, shape.numel())?;
        let mut y = match activation {
            Activation::Identity => None,
            Activation::GeluTanh | Activation::GeluErf => {
                Some(Buffer::new(device, dtype, shape.numel())?)
            }
        };
        let to_y = y.as_mut().map(Buffer::view_mut);
        match device {
            Device::Cpu => cpu::affine(u.view_mut(), to_y, activation, self, weight, bias)?,
            Device::Cuda(_) => cuda::affine(u.view_mut(), to_y, activation, self, weight, bias)?,
            Device::Meta => {}
        }
        let u = Tensor::new(u, shape);
        let (y, activated) = match y {
            None => (u, None),
            Some(y) => (Tensor::new(y, shape), Some((u, activation))),
        };
        let inputs: Vec<&Tensor> = [self, weight].into_iter().chain(bias).collect();
        Ok(y.with_history(&inputs, || Linear {
            x: self.detach(),
            weight: weight.detach(),
            bias: bias.map(Tensor::detach),
            activated,
        }))
    }
}

fn check(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<(Device, Shape)> {
    let op = "linear";
    expect_float(op, "input", x)?;
    let &[outputs, inputs] = weight.dims() else {
        return Err(Error::shape("linear: weight", "[out, in]", format!("{}", weight.shape())));
    };
    if x.shape().is_empty() || x.shape().last_dim() != inputs {
        let expected = format!("[..., {inputs}] for weight {}", weight.shape());
        return Err(Error::shape("linear: input", expected, format!("{}", x.shape())));
    }
    for (name, other) in [("weight", Some(weight)), ("bias", bias)] {
        if let Some(other) = other.filter(|other| other.dtype() != x.dtype()) {
            let (expected, found) = (format!("{}, the input's", x.dtype()), other.dtype());
            return Err(Error::shape(format!("linear: {name}"), expected, found.to_string()));
        }
    }
    let mut device = same_device(op, &[x, weight])?;
    if let Some(bias) = bias {
        expect_dims(op, "bias", bias, &[outputs])?;
        device = same_device(op, &[x, bias])?;
    }
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = outputs;
    }
    Ok((device, Shape::new(&dims)?))
}

struct Linear {
    x: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
    /// What the activation was applied to, where there was one.
    activated: Option<(Tensor, Activation)>,
}

impl Op for Linear {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        let Self { x, weight, bias, activated } = *self;
        let du = match activated {
            None => dy,
            Some((u, activation)) => activation_gradient(dy, u, activation)?,
        };
        if let Some(bias) = bias
            && let Some((dbias, beta)) = to.slot(2, &bias)?
        {
            add_column_sums(dbias, beta, &du)?;
        }
        if let Some((dx, beta)) = to.slot(0, &x)? {
            add_dx(dx, beta, &du, &weight)?;
        }
        if let Some((dweight, beta)) = to.slot(1, &weight)? {
            add_dweight(dweight, beta, &du, &x)?;
        }
        Ok(())
    }
}

/// dx = beta·dx + du·W.
pub(super) fn add_dx(dx: ViewMut, beta: f32, du: &Tensor, weight: &Tensor) -> Result<()> {
    match du.device() {
        Device::Cpu => cpu::add_dx(dx, beta, du, weight),
        Device::Cuda(_) => cuda::add_dx(dx, beta, du, weight),
        Device::Meta => Ok(()),
    }
}

/// dW = beta·dW + duᵀ·x.
pub(super) fn add_dweight(dweight: ViewMut, beta: f32, du: &Tensor, x: &Tensor) -> Result<()> {
    match du.device() {
        Device::Cpu => cpu::add_dweight(dweight, beta, du, x),
        Device::Cuda(_) => cuda::add_dweight(dweight, beta, du, x),
        Device::Meta => Ok(()),
    }
}

/// sums = beta·sums + Σ_rows x.
pub(super) fn add_column_sums(sums: ViewMut, beta: f32, x: &Tensor) -> Result<()> {
    // On every device, so that a plan is one for all.
    let mut partial = Buffer::new(x.device(), DType::F32, partial_sums(x))?;
    match x.device() {
        Device::Cpu => cpu::add_column_sums(sums, beta, x),
        Device::Cuda(_) => cuda::add_column_sums(sums, partial.view_mut(), beta, x),
        Device::Meta => Ok(()),
    }
}

/// Rows that a card adds up at once, for the sums of columns: few enough to keep it busy, and at most
/// 256 such parts.
fn rows_of_part(x: &Tensor) -> usize {
    x.shape().rows().div_ceil(256).max(64)
}

/// Numbers that the sums of the parts take, where there is more than one part.
fn partial_sums(x: &Tensor) -> usize {
    let parts = x.shape().rows().div_ceil(rows_of_part(x));
    if parts > 1 { parts * x.shape().last_dim() } else { 0 }
}

/// dy·activation'(u), over dy where nobody else holds it.
fn activation_gradient(dy: Tensor, u: Tensor, activation: Activation) -> Result<Tensor> {
    let shape = *u.shape();
    let mut du = dy.into_buffer()?;
    match u.device() {
        Device::Cpu => cpu::times_gradient(du.view_mut(), &u, activation)?,
        Device::Cuda(_) => cuda::times_gradient(du.view_mut(), &u, activation)?,
        Device::Meta => {}
    }
    Ok(Tensor::new(du, shape))
}

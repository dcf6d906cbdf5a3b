//! The head of a language model and its loss in one operation that owns the logits.
//!
//! ```text
//! logits = hidden·Wᵀ      loss = Σ over counted rows of (lse(logits) − logits[target]) / targets
//! dlogits = (softmax(logits) − onehot(target))·dloss / targets, 0 in ignored rows
//! dhidden = dlogits·W     dW = dlogitsᵀ·hidden
//! ```
//!
//! The logits of a whole batch are the largest tensor of a training step, so rows go in chunks: with
//! one chunk the logits are kept and turned into their gradient in place; with more they are made
//! again for backward, one chunk at a time. They are stored like `hidden`, but where no gradient is
//! wanted in f32, so that an evaluation does not round them. Equals `torch.nn.functional.cross_entropy` of a linear
//! map with `reduction="sum"`, divided by `targets`; [`IGNORE`] is its `ignore_index`.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use super::{expect_dims, expect_float, expect_ids, same_device};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Buffer, Device, Op, Sink, Tensor, grad_enabled};
use std::ops::Range;

pub use crate::text::batches::IGNORE;

#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy {
    /// The number of targets of the effective batch, by which the sum is divided.
    pub targets: usize,
    /// Rows whose logits are held at once.
    pub chunk: usize,
}

impl Tensor {
    /// `self` [rows, width], `weight` [vocab, width], `targets` (u32, [rows]) → a scalar, f32.
    ///
    /// ```
    /// use copla::{DType, Device, Tensor, ops::cross_entropy::CrossEntropy};
    /// let hidden = Tensor::zeros(&[3, 4], DType::F32, Device::Cpu)?;
    /// let weight = Tensor::zeros(&[8, 4], DType::F32, Device::Cpu)?;
    /// let targets = Tensor::from_slice(&[0u32, 7, 2], &[3], Device::Cpu)?;
    /// let options = CrossEntropy { targets: 3, chunk: 2 };
    /// let loss = hidden.linear_cross_entropy(&weight, &targets, options)?;
    /// assert!((loss.item()? - 8f32.ln()).abs() < 1e-6);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn linear_cross_entropy(
        &self,
        weight: &Tensor,
        targets: &Tensor,
        options: CrossEntropy,
    ) -> Result<Tensor> {
        let (device, rows, vocab) = check(self, weight, targets, options)?;
        let chunk = options.chunk.min(rows.max(1));
        let wants_gradient = grad_enabled() && (self.edge().is_some() || weight.edge().is_some());
        let dtype = if wants_gradient { self.dtype() } else { DType::F32 };
        let mut logits = Buffer::new(device, dtype, chunk * vocab)?;
        let mut lse = Buffer::new(device, DType::F32, rows)?;
        let mut losses = Buffer::new(device, DType::F32, rows)?;
        for at in chunks(rows, chunk) {
            let here = logits.range_mut(0, at.len() * vocab);
            match device {
                Device::Cpu => cpu::logits(here, self, weight, &at)?,
                Device::Cuda(_) => cuda::logits(here, self, weight, &at)?,
                Device::Meta => {}
            }
            let out = [lse.view_mut(), losses.view_mut()];
            match device {
                Device::Cpu => cpu::losses(out, &logits, vocab, targets, &at)?,
                Device::Cuda(_) => cuda::losses(out, &logits, vocab, targets, &at)?,
                Device::Meta => {}
            }
        }
        let mut loss = Buffer::new(device, DType::F32, 1)?;
        match device {
            Device::Cpu => cpu::mean(loss.view_mut(), &losses, options.targets)?,
            Device::Cuda(_) => cuda::mean(loss.view_mut(), &losses, options.targets)?,
            Device::Meta => {}
        }
        let kept = (chunk >= rows).then_some(logits);
        Tensor::record(loss, Shape::new(&[])?, &[self, weight], || LinearCrossEntropy {
            hidden: self.detach(),
            weight: weight.detach(),
            targets: targets.clone(),
            lse,
            kept,
            options: CrossEntropy { chunk, ..options },
        })
    }
}

fn check(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &Tensor,
    options: CrossEntropy,
) -> Result<(Device, usize, usize)> {
    let op = "linear_cross_entropy";
    expect_float(op, "hidden", hidden)?;
    expect_ids(op, "targets", targets)?;
    let (&[rows, width], &[vocab, _]) = (hidden.dims(), weight.dims()) else {
        let found = format!("{} and {}", hidden.shape(), weight.shape());
        return Err(Error::shape(op, "hidden [rows, width] and weight [vocab, width]", found));
    };
    expect_dims(op, "weight", weight, &[vocab, width])?;
    expect_dims(op, "targets", targets, &[rows])?;
    if options.targets == 0 || options.chunk == 0 || vocab == 0 {
        let found = format!("{options:?} over a vocabulary of {vocab}");
        return Err(Error::shape(op, "targets, chunk and vocabulary of at least 1", found));
    }
    Ok((same_device(op, &[hidden, weight, targets])?, rows, vocab))
}

fn chunks(rows: usize, chunk: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(chunk).map(move |row| row..rows.min(row + chunk))
}

struct LinearCrossEntropy {
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    /// log Σ exp of each row's logits.
    lse: Buffer,
    /// All logits, where one chunk held them.
    kept: Option<Buffer>,
    options: CrossEntropy,
}

/// dloss / targets: what every gradient is multiplied by. dloss is on the device, where the loss is.
struct Scale {
    dloss: Tensor,
    targets: usize,
}

impl Op for LinearCrossEntropy {
    fn backward(self: Box<Self>, dloss: Tensor, to: &mut Sink) -> Result<()> {
        let Self { hidden, weight, targets, lse, kept, options } = *self;
        let device = hidden.device();
        let (rows, vocab) = (hidden.dims()[0], weight.dims()[0]);
        let scale = Scale { dloss: dloss.cast(DType::F32)?, targets: options.targets };
        let again = kept.is_none();
        let mut logits = match kept {
            Some(logits) => logits,
            None => Buffer::new(device, hidden.dtype(), options.chunk * vocab)?,
        };
        // Each chunk writes rows of its own: what to multiply them by is what the first was told.
        let mut beta_of_hidden = None;
        for at in chunks(rows, options.chunk) {
            if again {
                let here = logits.range_mut(0, at.len() * vocab);
                match device {
                    Device::Cpu => cpu::logits(here, &hidden, &weight, &at)?,
                    Device::Cuda(_) => cuda::logits(here, &hidden, &weight, &at)?,
                    Device::Meta => {}
                }
            }
            let here = logits.range_mut(0, at.len() * vocab);
            match device {
                Device::Cpu => cpu::to_gradient(here, vocab, &lse, &targets, &scale, &at)?,
                Device::Cuda(_) => cuda::to_gradient(here, vocab, &lse, &targets, &scale, &at)?,
                Device::Meta => {}
            }
            if let Some((dhidden, beta)) = to.slot(0, &hidden)? {
                let beta = *beta_of_hidden.get_or_insert(beta);
                match device {
                    Device::Cpu => cpu::add_dhidden(dhidden, beta, &logits, &weight, &at)?,
                    Device::Cuda(_) => cuda::add_dhidden(dhidden, beta, &logits, &weight, &at)?,
                    Device::Meta => {}
                }
            }
            if let Some((dweight, beta)) = to.slot(1, &weight)? {
                match device {
                    Device::Cpu => cpu::add_dweight(dweight, beta, &logits, &hidden, &at)?,
                    Device::Cuda(_) => cuda::add_dweight(dweight, beta, &logits, &hidden, &at)?,
                    Device::Meta => {}
                }
            }
        }
        Ok(())
    }
}

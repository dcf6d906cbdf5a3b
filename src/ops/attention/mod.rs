//! Causal attention over packed queries, keys and values, without the time × time matrix.
//!
//! For every head, with query i reading the keys j of its own document and not after it:
//!
//! ```text
//! P[i,j] = softmax_j(scale·qᵢ·kⱼ + slope·(j − i))  over first_key[i] ≤ j ≤ i          y = P·V
//! dV = Pᵀ·dY     dP = dY·Vᵀ     dS = P∘(dP − Dᵢ) with Dᵢ = dyᵢ·yᵢ
//! dQ = scale·dS·K               dK = scale·dSᵀ·Q
//! ```
//!
//! Forward keeps the log-sum-exp of each row, backward recomputes P from it: Dao et al.,
//! "FlashAttention" (2022), algorithms 1 and 4. Equals
//! `torch.nn.functional.scaled_dot_product_attention` under the mask that `first_key` describes.
//! One bound does the work of several masks: packed documents (the first token of one's own), left
//! padding (the first real token) and local windows (i − window + 1). The slope is 0 without ALiBi.

mod cache;
mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

pub use cache::KeyValues;

use super::dropout::Dropout;
use super::{expect_dims, expect_float, expect_ids, same_device};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Buffer, Device, Op, Sink, Tensor};

/// What a layer's attention is made with.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// 1/√head_dim as a rule; 1 for GPT-Neo.
    pub scale: f32,
    /// Whether scores fall with the distance, head by head at its own slope.
    pub alibi: bool,
    /// Applied to the probabilities, in training only.
    pub dropout: Option<Dropout>,
}

impl Attention {
    /// Refuses dropout where nothing is trained.
    fn without_dropout(self, op: &str) -> Result<Self> {
        match self.dropout {
            None => Ok(self),
            Some(dropout) => {
                Err(Error::usage(format!("{op}: dropout"), "none", format!("{dropout:?}")))
            }
        }
    }

    /// What a step away from its query takes from a score of this head: Press et al., "Train Short,
    /// Test Long" (2022), and `build_alibi_tensor` of `transformers` where the number of heads is no
    /// power of two. (BLOOM's slope·j is this but for a constant, which softmax takes out.)
    fn slope(self, head: usize, heads: usize) -> f32 {
        if !self.alibi {
            return 0.0;
        }
        let power = 1 << heads.ilog2();
        let halves = if head < power { 2 * (head + 1) } else { 2 * (head - power) + 1 };
        (-4.0 * halves as f32 / power as f32).exp2()
    }
}

/// The sizes of a packed [batch, time, 3, heads, head_dim].
#[derive(Clone, Copy)]
struct Dims {
    batch: usize,
    time: usize,
    heads: usize,
    head_dim: usize,
}

impl Dims {
    fn of(qkv: &Tensor, first_key: &Tensor) -> Result<(Device, Self)> {
        let op = "attention";
        expect_float(op, "qkv", qkv)?;
        expect_ids(op, "first_key", first_key)?;
        let &[batch, time, 3, heads, head_dim] = qkv.dims() else {
            let expected = "[batch, time, 3, heads, head_dim]";
            return Err(Error::shape("attention: qkv", expected, format!("{}", qkv.shape())));
        };
        if !(1..=256).contains(&head_dim) {
            return Err(Error::shape("attention: head_dim", "1 to 256", format!("{head_dim}")));
        }
        expect_dims(op, "first_key", first_key, &[batch, time])?;
        let device = same_device(op, &[qkv, first_key])?;
        Ok((device, Dims { batch, time, heads, head_dim }))
    }

    /// [batch, time, heads·head_dim].
    fn output(self) -> Result<Shape> {
        Shape::new(&[self.batch, self.time, self.heads * self.head_dim])
    }
}

impl Tensor {
    /// `self`, packed [batch, time, 3, heads, head_dim], and `first_key` (u32, [batch, time]), the
    /// earliest key that a query may read, at most its own place → [batch, time, heads·head_dim]. The
    /// CPU refuses a key beyond; a card does not look, and the query's row becomes NaN.
    ///
    /// ```
    /// use copla::{DType, Device, Tensor, ops::attention::Attention};
    /// let qkv = Tensor::full(2.0, &[1, 4, 3, 2, 8], DType::F32, Device::Cpu)?;
    /// let first_key = Tensor::zeros(&[1, 4], DType::U32, Device::Cpu)?;
    /// let y = qkv.attention(&first_key, Attention { scale: 0.35, alibi: false, dropout: None })?;
    /// assert_eq!(y.dims(), [1, 4, 16]);
    /// assert!(y.to_vec::<f32>()?.iter().all(|&y| (y - 2.0).abs() < 1e-5));
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn attention(&self, first_key: &Tensor, options: Attention) -> Result<Tensor> {
        let (device, dims) = Dims::of(self, first_key)?;
        let shape = dims.output()?;
        let mut y = Buffer::new(device, self.dtype(), shape.numel())?;
        let mut lse = Buffer::new(device, DType::F32, dims.batch * dims.heads * dims.time)?;
        match device {
            Device::Cpu => {
                let out = [y.view_mut(), lse.view_mut()];
                cpu::forward(out, self, first_key, dims, options)?
            }
            Device::Cuda(_) => {
                let out = [y.view_mut(), lse.view_mut()];
                cuda::forward(out, self, first_key, dims, options)?
            }
            Device::Meta => {}
        }
        let y = Tensor::new(y, shape);
        let saved = y.clone();
        Ok(y.with_history(&[self], || AttentionBackward {
            qkv: self.detach(),
            first_key: first_key.clone(),
            y: saved,
            lse,
            dims,
            options,
        }))
    }

    /// Attention of new positions over those in `cache` and themselves: `self` is packed
    /// [rows, new, 3, heads, head_dim], `first_key` (u32, [rows, new]) counts from the first cached
    /// position. The new keys and values are appended. Not differentiable, and without dropout.
    pub fn cached_attention(
        &self,
        cache: &mut KeyValues,
        first_key: &Tensor,
        options: Attention,
    ) -> Result<Tensor> {
        let options = options.without_dropout("cached attention")?;
        let (device, dims) = Dims::of(self, first_key)?;
        let past = cache.reserve(self, dims)?;
        let shape = dims.output()?;
        let mut y = Buffer::new(device, self.dtype(), shape.numel())?;
        match device {
            Device::Cpu => {
                cpu::append(cache, self, dims, past)?;
                cpu::cached_forward(y.view_mut(), cache, self, first_key, dims, past, options)?
            }
            Device::Cuda(_) => {
                cuda::append(cache, self, dims, past)?;
                let splits = splits(dims, past);
                let queries = dims.batch * dims.heads * dims.time;
                // A sum, a maximum and a weight of each part of a query's keys.
                let mut sums = Buffer::new(device, DType::F32, queries * splits * dims.head_dim)?;
                let mut weights = Buffer::new(device, DType::F32, queries * splits * 2)?;
                let parts = [sums.view_mut(), weights.view_mut()];
                let cached = (&*cache, past);
                cuda::cached_forward(y.view_mut(), parts, cached, self, first_key, dims, options)?
            }
            Device::Meta => {}
        }
        Ok(Tensor::new(y, shape))
    }

    /// The probabilities P [batch, heads, time, time] that [`Tensor::attention`] never stores, for
    /// those who want to look at them. Not differentiable, and without dropout.
    pub fn attention_probs(&self, first_key: &Tensor, options: Attention) -> Result<Tensor> {
        let options = options.without_dropout("attention_probs")?;
        let (device, dims) = Dims::of(self, first_key)?;
        let shape = Shape::new(&[dims.batch, dims.heads, dims.time, dims.time])?;
        let mut probs = Buffer::new(device, DType::F32, shape.numel())?;
        match device {
            Device::Cpu => cpu::probs(probs.view_mut(), self, first_key, dims, options)?,
            Device::Cuda(_) => cuda::probs(probs.view_mut(), self, first_key, dims, options)?,
            Device::Meta => {}
        }
        Ok(Tensor::new(probs, shape))
    }
}

/// In how many parts each query's keys are read on a card: of at least 64 keys, and so many that a
/// small batch fills it. A function of sizes only, so that results are the same on every card.
fn splits(dims: Dims, past: usize) -> usize {
    const BLOCKS: usize = 512;
    let queries = dims.batch * dims.heads * dims.time;
    BLOCKS.div_ceil(queries.max(1)).min((past + dims.time).div_ceil(64))
}

struct AttentionBackward {
    qkv: Tensor,
    first_key: Tensor,
    y: Tensor,
    /// log Σ exp of every row's scores, [batch, heads, time].
    lse: Buffer,
    dims: Dims,
    options: Attention,
}

impl Op for AttentionBackward {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        let mut dqkv = Buffer::new(dy.device(), self.qkv.dtype(), self.qkv.numel())?;
        let mut along = Buffer::new(dy.device(), DType::F32, self.lse.len())?;
        let out = [dqkv.view_mut(), along.view_mut()];
        match dy.device() {
            Device::Cpu => cpu::backward(out, &dy, &self)?,
            Device::Cuda(_) => cuda::backward(out, &dy, &self)?,
            Device::Meta => {}
        }
        let shape = *self.qkv.shape();
        // What forward kept goes before the gradient travels on.
        drop(self);
        to.give(0, Tensor::new(dqkv, shape))
    }
}

//! Dropout whose mask is a function of where a number stands, not of when it is computed.
//!
//! ```text
//! y = x·keep / (1 − p)       dx = dy·keep / (1 − p)
//! keep = word(key(seed, site), attempt, coordinate) ≥ p·2³²
//! ```
//!
//! The mask is never stored: backward draws it again. Srivastava et al., "Dropout" (JMLR 2014), in
//! the inverted form of `torch.nn.functional.dropout`; the generator is [`crate::random`].

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use super::expect_float;
use crate::error::{Error, Result};
use crate::random::Rng;
use crate::tensor::{Device, Op, Sink, Tensor};

/// The dropout of one site (a layer and a place in it) in one attempt at a step.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    rng: Rng,
    key: u64,
    /// Words below this are dropped.
    threshold: u32,
    /// 1 / (1 − p).
    scale: f32,
}

impl Dropout {
    /// `p`, the share that is dropped, in [0, 1).
    pub fn new(p: f32, rng: Rng, site: u64) -> Result<Self> {
        if !(0.0..1.0).contains(&p) {
            return Err(Error::usage("dropout", "a share from 0 to below 1", format!("{p}")));
        }
        let threshold = (f64::from(p) * 4_294_967_296.0) as u32;
        Ok(Dropout { rng, key: rng.key(site), threshold, scale: 1.0 / (1.0 - p) })
    }

    /// Multiplies each row by the factors, 0 or 1/(1−p), of the numbers from `coordinate` on, a
    /// multiple of four. Several rows get the same factors, drawn once.
    #[inline(always)]
    pub(super) fn apply_from<const N: usize>(&self, mut rows: [&mut [f32]; N], coordinate: u64) {
        /// Numbers whose factors are drawn together: four words in each of 32 lanes, so many that the
        /// compiler keeps the loops over them and makes vector code of them.
        const BLOCK: usize = 128;
        let len = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        for start in (0..len).step_by(BLOCK) {
            let words: [[u32; BLOCK / 4]; 4] =
                self.rng.words_every(self.key, coordinate + start as u64, 4);
            let mut factors = [0.0; BLOCK];
            for (i, factor) in factors.iter_mut().enumerate() {
                *factor = if words[i % 4][i / 4] >= self.threshold { self.scale } else { 0.0 };
            }
            for row in rows.iter_mut() {
                let end = row.len().min(start + BLOCK);
                row[start..end].iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
            }
        }
    }

    /// The key and the attempt of the words, the threshold below which one drops, and the scale of
    /// what is kept: what a kernel needs to draw the same mask.
    pub(super) fn draw(&self) -> (u64, u64, u32, f32) {
        (self.key, self.rng.attempt, self.threshold, self.scale)
    }

    /// The first sample of this micro-batch in the effective batch.
    pub(super) fn first_sample(&self) -> u64 {
        self.rng.first_sample
    }
}

impl Tensor {
    /// Drops numbers of `self` [batch, ...]; over its own buffer where nobody else holds it.
    ///
    /// ```
    /// use copla::{DType, Device, Tensor, ops::dropout::Dropout, random::Rng};
    /// let x = Tensor::full(1.0, &[1, 1000], DType::F32, Device::Cpu)?;
    /// let y = x.dropout(Dropout::new(0.25, Rng::new(1), 0)?)?.to_vec::<f32>()?;
    /// let kept = y.iter().filter(|&&y| y > 0.0).count();
    /// assert!((680..820).contains(&kept));
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn dropout(self, dropout: Dropout) -> Result<Tensor> {
        expect_float("dropout", "input", &self)?;
        if self.shape().is_empty() {
            return Err(Error::shape("dropout", "[batch, ...]", "a scalar"));
        }
        let (x, history) = self.into_parts();
        let y = apply(x, dropout)?;
        Ok(y.with_edges(vec![history], || DropoutBackward { dropout }))
    }
}

/// x·factors, over x's own buffer where nobody else holds it.
fn apply(x: Tensor, dropout: Dropout) -> Result<Tensor> {
    let (device, shape) = (x.device(), *x.shape());
    let mut y = x.into_buffer()?;
    match device {
        Device::Cpu => cpu::apply(y.view_mut(), shape, dropout)?,
        Device::Cuda(_) => cuda::apply(y.view_mut(), shape, dropout)?,
        Device::Meta => {}
    }
    Ok(Tensor::new(y, shape))
}

struct DropoutBackward {
    dropout: Dropout,
}

impl Op for DropoutBackward {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        to.give(0, apply(dy, self.dropout)?)
    }
}

//! The next token: the largest logit, or one drawn from what temperature, top-k and top-p leave.
//!
//! ```text
//! wᵢ = exp((logitᵢ − max) / temperature)
//! top-k keeps i where wᵢ is at least the k-th largest weight, ties included
//! top-p keeps i where the weights before it, largest first and lower ids first, sum to less than
//!       p·Σw: the smallest set whose share is at least p (Holtzman et al. 2020, section 3.1)
//! token = the first i, in the order of ids, whose running sum exceeds u·Σw over those kept
//! ```
//!
//! Equals `transformers`' temperature, top-k and top-p warpers in this order. u is the Philox number of
//! (seed, sequence, position): a text does not depend on what else is in its batch.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use super::expect_float;
use crate::dtype::DType;
use crate::error::{Error, Kind, Result};
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::{Buffer, Device, Tensor};

/// The site of sampling's random numbers, beyond those of any model's layers.
const SITE: u64 = 1 << 32;

/// Marks a row from which nothing can be chosen.
const NOTHING: u32 = u32::MAX;

/// How a token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    temperature: f32,
    /// 0 keeps all.
    top_k: usize,
    /// 1 keeps all.
    top_p: f32,
    /// Only ids below this are chosen.
    limit: usize,
}

impl Sampler {
    /// Temperature 0 is greedy: the largest logit, the lowest id of several. Top-k 0 and top-p 1 keep
    /// all tokens. Usage error: a temperature that is negative or not finite, a top-p outside (0, 1].
    pub fn new(temperature: f32, top_k: usize, top_p: f32) -> Result<Self> {
        if !(temperature.is_finite() && temperature >= 0.0) {
            let found = temperature.to_string();
            return Err(Error::usage("temperature", "a number, 0 or more", found));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(Error::usage("top-p", "a share above 0, at most 1", top_p.to_string()));
        }
        Ok(Sampler { temperature, top_k, top_p, limit: usize::MAX })
    }

    /// Always the largest logit.
    pub const GREEDY: Self = Sampler { temperature: 0.0, top_k: 0, top_p: 1.0, limit: usize::MAX };

    /// Chooses only ids below `limit`, where a model's vocabulary is larger than its tokenizer's.
    pub fn below(self, limit: usize) -> Self {
        Sampler { limit, ..self }
    }

    fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }
}

/// Where a token will stand: the coordinates of its random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub sequence: u32,
    pub position: u32,
}

/// A uniform number in [0, 1) with 53 random bits, times 2⁶⁴.
fn uniform(rng: Rng, place: Place) -> u64 {
    let coordinate = u64::from(place.sequence) << 32 | u64::from(place.position);
    let [high, low, ..] = rng.words(rng.key(SITE), coordinate);
    (u64::from(high) << 32 | u64::from(low)) >> 11 << 11
}

impl Tensor {
    /// One token for every row of `self` [rows, vocab], to stand at its place → u32 [rows]. Not
    /// differentiable. Diverged where a row has a NaN or no largest finite logit.
    ///
    /// ```
    /// use copla::{Device, Tensor, ops::sample::{Place, Sampler}, random::Rng};
    /// let logits = Tensor::from_slice(&[0.0f32, 3.0, 1.0], &[1, 3], Device::Cpu)?;
    /// let place = Place { sequence: 0, position: 0 };
    /// let token = logits.sample(&Sampler::GREEDY, Rng::new(0), &[place])?;
    /// assert_eq!(token.to_vec::<u32>()?, [1]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn sample(&self, sampler: &Sampler, rng: Rng, places: &[Place]) -> Result<Tensor> {
        expect_float("sample", "logits", self)?;
        let &[rows, vocab] = self.dims() else {
            return Err(Error::shape("sample", "logits [rows, vocab]", format!("{self:?}")));
        };
        let limit = vocab.min(sampler.limit);
        if limit == 0 || places.len() != rows {
            let expected = format!("logits [{}, at least 1]", places.len());
            return Err(Error::shape("sample", expected, format!("[{rows}, {limit}]")));
        }
        let device = self.device();
        let drawn: Vec<u64> = places.iter().map(|&place| uniform(rng, place)).collect();
        let scratch = match device {
            Device::Cpu | Device::Meta if !sampler.is_greedy() => rows * limit,
            Device::Cpu | Device::Cuda(_) | Device::Meta => 0,
        };
        let mut tokens = Buffer::new(device, DType::U32, rows)?;
        let mut weights = Buffer::new(device, DType::F32, scratch)?;
        // A key is 64 bits.
        let mut keys = Buffer::new(device, DType::U32, 2 * scratch)?;
        match device {
            Device::Cpu if sampler.is_greedy() => cpu::greedy(tokens.view_mut(), self, limit)?,
            Device::Cpu => {
                let scratch = [weights.view_mut(), keys.view_mut()];
                cpu::draw(tokens.view_mut(), scratch, self, limit, sampler, &drawn)?
            }
            Device::Cuda(_) if sampler.is_greedy() => cuda::greedy(tokens.view_mut(), self, limit)?,
            Device::Cuda(_) => cuda::draw(tokens.view_mut(), self, limit, sampler, &drawn)?,
            Device::Meta => {}
        }
        let tokens = Tensor::new(tokens, Shape::new(&[rows])?);
        if device != Device::Meta {
            expect_chosen(&tokens.to_vec()?, self)?;
        }
        Ok(tokens)
    }
}

fn expect_chosen(tokens: &[u32], logits: &Tensor) -> Result<()> {
    match tokens.iter().position(|&token| token == NOTHING) {
        None => Ok(()),
        Some(row) => Err(Error::new(
            Kind::Diverged,
            format!("logits {}", logits.shape()),
            "numbers whose largest is finite",
            format!("NaN or infinity in row {row}"),
        )),
    }
}

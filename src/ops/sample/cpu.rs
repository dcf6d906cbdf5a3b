//! Sampling on the CPU: one row, one task; what is kept is found by selection, without sorting.

use super::{NOTHING, Sampler};
use crate::cpu::{Disjoint, for_each, math, simd, vectorized};
use crate::error::Result;
use crate::tensor::{Tensor, ViewMut};

pub(super) fn greedy(mut tokens: ViewMut, logits: &Tensor, limit: usize) -> Result<()> {
    let vocab = logits.dims()[1];
    let values = logits.read()?;
    let tokens = tokens.slice::<u32>()?;
    for (token, row) in tokens.iter_mut().zip(values.chunks_exact(vocab)) {
        let row = &row[..limit];
        let best = largest(row).and_then(|max| row.iter().position(|&logit| logit == max));
        *token = best.map_or(NOTHING, |id| id as u32);
    }
    Ok(())
}

/// Draws a token for every row: `uniform` has a number in [0, 1) for each, times 2⁶⁴.
pub(super) fn draw(
    mut tokens: ViewMut,
    [mut weights, mut keys]: [ViewMut; 2],
    logits: &Tensor,
    limit: usize,
    sampler: &Sampler,
    uniform: &[u64],
) -> Result<()> {
    let vocab = logits.dims()[1];
    let values = logits.read()?;
    let tokens = tokens.slice::<u32>()?;
    let weights = Disjoint::new(weights.slice::<f32>()?);
    let keys = Disjoint::new(bytemuck::cast_slice_mut::<u32, u64>(keys.slice::<u32>()?));
    let places = Disjoint::new(tokens);
    for_each(uniform.len(), |row| {
        let (scratch, place) = (row * limit..(row + 1) * limit, row..row + 1);
        // SAFETY: a row's token, weights and keys belong to its task alone.
        let (token, weights, keys) = unsafe {
            (places.slice_mut(place), weights.slice_mut(scratch.clone()), keys.slice_mut(scratch))
        };
        let row_logits = &values[row * vocab..][..limit];
        token[0] = match largest(row_logits) {
            Some(max) => {
                weigh(weights, row_logits, max, sampler.temperature);
                let least = least_kept(weights, keys, sampler);
                pick(weights, least, uniform[row] as f64 * (-64f64).exp2())
            }
            None => NOTHING,
        };
    });
    Ok(())
}

/// The largest logit, where it is a number to compare with.
fn largest(logits: &[f32]) -> Option<f32> {
    let max = vectorized(
        #[inline(always)]
        || simd::max(logits),
    );
    max.is_finite().then_some(max)
}

/// w = exp((logit − max) / temperature), the largest of which is 1.
fn weigh(weights: &mut [f32], logits: &[f32], max: f32, temperature: f32) {
    vectorized(
        #[inline(always)]
        || {
            for (weight, logit) in weights.iter_mut().zip(logits) {
                // Divided, as the inverse of a tiny temperature is infinite.
                *weight = math::exp((logit - max) / temperature);
            }
        },
    );
}

/// A token's rank as a number: the heavier token has the larger key, of two equals the lower id.
fn key(weight: f32, id: usize) -> u64 {
    u64::from(weight.to_bits()) << 32 | u64::from(!(id as u32))
}

fn weight_of(key: u64) -> f64 {
    f64::from(f32::from_bits((key >> 32) as u32))
}

/// The key of the last token that top-k and top-p keep; `scratch` has room for a key per token.
pub(super) fn least_kept(weights: &[f32], scratch: &mut [u64], sampler: &Sampler) -> u64 {
    let mut least = 0;
    if (1..weights.len()).contains(&sampler.top_k) {
        let keys = collect(weights, 0, scratch);
        let (_, &mut kth, _) = keys.select_nth_unstable_by(sampler.top_k - 1, |a, b| b.cmp(a));
        // Of any id: those that weigh as much stay.
        least = key(f32::from_bits((kth >> 32) as u32), u32::MAX as usize);
    }
    if sampler.top_p < 1.0 {
        let total = total(weights, least);
        let p = f64::from(sampler.top_p);
        // Tokens lighter than this weigh less than 1 − p all together, so they go without a look.
        let light = (1.0 - p) * total / weights.len() as f64;
        let keys = collect(weights, least.max(key(light as f32, u32::MAX as usize)), scratch);
        least = last_before(keys, p * total);
    }
    least
}

/// The keys of all tokens from `least` on.
fn collect<'a>(weights: &[f32], least: u64, scratch: &'a mut [u64]) -> &'a mut [u64] {
    let mut count = 0;
    for (id, &weight) in weights.iter().enumerate() {
        // Always written and sometimes kept: no branch to mispredict.
        scratch[count] = key(weight, id);
        count += usize::from(scratch[count] >= least);
    }
    &mut scratch[..count]
}

/// The smallest key, in falling order, before which the weights sum to less than `mass`: quickselect
/// by weight instead of rank.
fn last_before(mut keys: &mut [u64], mass: f64) -> u64 {
    let mut before = 0.0;
    loop {
        let middle = keys.len() / 2;
        if middle == 0 {
            return keys.first().copied().unwrap_or(0);
        }
        let (heavy, _, _) = keys.select_nth_unstable_by(middle, |a, b| b.cmp(a));
        let heavy: f64 = heavy.iter().map(|&key| weight_of(key)).sum();
        if before + heavy < mass {
            before += heavy;
            keys = &mut keys[middle..];
        } else {
            keys = &mut keys[..middle];
        }
    }
}

/// The sum of the weights from `least` on, in the order of ids.
fn total(weights: &[f32], least: u64) -> f64 {
    let kept = |(id, &weight): (usize, &f32)| {
        if key(weight, id) >= least { f64::from(weight) } else { 0.0 }
    };
    weights.iter().enumerate().map(kept).sum()
}

/// The first id at which the running sum of those kept exceeds `uniform` of it.
fn pick(weights: &[f32], least: u64, uniform: f64) -> u32 {
    let target = uniform * total(weights, least);
    let (mut sum, mut last) = (0.0, NOTHING);
    for (id, &weight) in weights.iter().enumerate() {
        if weight > 0.0 && key(weight, id) >= least {
            sum += f64::from(weight);
            last = id as u32;
            if sum > target {
                break;
            }
        }
    }
    last
}

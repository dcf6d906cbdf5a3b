//! What a run takes of memory, before any of it is taken: the same steps on the meta device, whose
//! tensors have a shape and no bytes but are counted by the same allocator.
//!
//! A card's own context, cuBLAS' workspace and the process itself come on top.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::generate::next_tokens;
use crate::models::{Input, Model};
use crate::nn::Pass;
use crate::ops::adamw::{AdamW, Moments};
use crate::ops::sample::{Place, Sampler};
use crate::random::Rng;
use crate::tensor::{Device, Gradients, memory_stats, no_grad, reset_peak};
use crate::text::Batch;
use crate::text::batches::MOST_PLACES;
use crate::train::{Decay, Schedule, Trainer};
use serde::Serialize;

/// Bytes, as the allocator counts them; 0 where a run has nothing of a kind. The peak is less than the
/// sum where backward frees the one before it needs the other, and more by what an operation takes for
/// its own length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    pub parameters: usize,
    pub gradients: usize,
    /// AdamW's m and v, and the f32 master of 16-bit parameters.
    pub optimizer: usize,
    /// What forward keeps for backward, ids included.
    pub activations: usize,
    /// What the head and the loss add to them.
    pub logits: usize,
    /// Or whatever else decoding carries along, at its capacity.
    pub kv_cache: usize,
    pub peak: usize,
}

/// A step of a [`Trainer`] over `rows` × `time` tokens: forward, backward, AdamW, with the dropout that
/// the model has. Out of memory: sizes that no machine could address.
pub fn training(model: Box<dyn Model>, dtype: DType, rows: usize, time: usize) -> Result<Plan> {
    let batch = batch(rows, time)?;
    let start = held();
    let params = model.layout()?.build(dtype, Device::Meta)?;
    let parameters = held() - start;
    let gradients = taken_by(|| Gradients::new(&params))?;
    let optimizer = taken_by(|| Moments::new(&params))?;
    let schedule = Schedule { peak: 1.0, warmup_steps: 0, total_steps: 1, decay: Decay::Constant };
    let mut trainer = Trainer::new(model, params, AdamW::default(), schedule, 1.0, 0)?;
    let (activations, logits) = forward(&trainer, &batch)?;
    let step = peak_of(|| trainer.launch(&batch).map(drop))?;
    let peak = held() - start + step;
    Ok(Plan { parameters, gradients, optimizer, activations, logits, kv_cache: 0, peak })
}

/// What the forward pass of a step keeps, and what its loss takes on top.
fn forward(trainer: &Trainer, batch: &Batch) -> Result<(usize, usize)> {
    let Trainer { model, params, .. } = trainer;
    let start = held();
    let (input, targets) = Input::from_batch(batch, Device::Meta)?;
    let mut pass = Pass { dropout: Some(Rng::new(0)), ..Pass::new(params) };
    let hidden = model.hidden(&input, &mut pass)?;
    let activations = held() - start;
    let options = trainer.cross_entropy(batch);
    let logits = peak_of(|| model.loss(&hidden, &targets, options, &mut pass).map(drop))?;
    Ok((activations, logits))
}

/// Full rows, in which every target counts. Usage error: more than any batch has.
fn batch(rows: usize, time: usize) -> Result<Batch> {
    if rows.saturating_mul(time) > MOST_PLACES {
        let found = format!("{rows} × {time}");
        return Err(Error::usage("batch of rows × tokens", "at most 2^28 tokens", found));
    }
    let ids = vec![0; rows * time];
    let positions = (0..rows).flat_map(|_| 0..time as u32).collect();
    let (tokens, targets) = (ids.clone(), ids.clone());
    Ok(Batch { tokens, targets, positions, first_key: ids, rows, time })
}

/// [`generate`](crate::generate::generate) for `rows` prompts of `prompt` tokens, `new` more of each:
/// the prompts in one pass, then a token at a time. Its `activations` are all but weights and cache.
pub fn generation(
    model: &dyn Model,
    dtype: DType,
    rows: usize,
    prompt: usize,
    new: usize,
) -> Result<Plan> {
    let start = held();
    let params = model.layout()?.frozen().build(dtype, Device::Meta)?;
    let parameters = held() - start;
    let mut state = model.new_state(rows, prompt + new, &params)?;
    let kv_cache = held() - start - parameters;
    let sampler = Sampler::new(0.8, 0, 0.95)?;
    let places = vec![Place { sequence: 0, position: 0 }; rows];
    let mut next = |time: usize| {
        let input = Input::rows(&vec![0; rows * time], rows, Device::Meta)?;
        let drawn = (&sampler, Rng::new(0), &*places);
        no_grad(|| next_tokens(model, &params, &input, &mut state, drawn)).map(drop)
    };
    let activations = peak_of(|| {
        next(prompt)?;
        // Each of the others takes what the first one does.
        if new > 1 { next(1) } else { Ok(()) }
    })?;
    let peak = parameters + kv_cache + activations;
    Ok(Plan { parameters, activations, kv_cache, peak, ..Plan::default() })
}

/// Bytes on the meta device, of this thread.
fn held() -> usize {
    memory_stats(Device::Meta).current
}

/// The bytes of what `make` makes.
fn taken_by<T>(make: impl FnOnce() -> Result<T>) -> Result<usize> {
    let start = held();
    let made = make()?;
    let taken = held() - start;
    drop(made);
    Ok(taken)
}

/// The most that `work` holds at once, beyond what is held before it.
fn peak_of(work: impl FnOnce() -> Result<()>) -> Result<usize> {
    let start = held();
    reset_peak(Device::Meta);
    work()?;
    Ok(memory_stats(Device::Meta).peak - start)
}

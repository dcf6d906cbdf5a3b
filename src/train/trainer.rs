//! One step of training: forward, backward, clip, AdamW; the same numbers on any number of threads.

use crate::error::{Error, Kind, Result};
use crate::models::{Input, Model};
use crate::nn::Pass;
use crate::ops::adamw::{AdamW, Moments, StepState};
use crate::ops::cross_entropy::CrossEntropy;
use crate::random::Rng;
use crate::tensor::{Gradients, Parameters, Tensor, backward};
use crate::text::Batch;
use crate::train::Schedule;

/// The most bytes of logits that a training step holds; beyond it they are made again for backward.
const LOGITS_BYTES: usize = 256 << 20;

pub struct Trainer {
    pub model: Box<dyn Model>,
    pub params: Parameters,
    grads: Gradients,
    moments: Moments,
    rule: AdamW,
    schedule: Schedule,
    max_grad_norm: f32,
    rng: Rng,
    step: u64,
}

/// What one step was like.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Counted from 1.
    pub step: u64,
    /// Mean nats per target, before the update.
    pub loss: f32,
    /// The norm of all gradients before clipping.
    pub grad_norm: f32,
    pub learning_rate: f32,
}

impl Trainer {
    /// `max_grad_norm` 0 clips nothing; `seed` is that of dropout.
    pub fn new(
        model: Box<dyn Model>,
        params: Parameters,
        rule: AdamW,
        schedule: Schedule,
        max_grad_norm: f32,
        seed: u64,
    ) -> Result<Self> {
        let grads = Gradients::new(&params)?;
        let moments = Moments::new(&params)?;
        let rng = Rng::new(seed);
        Ok(Trainer { model, params, grads, moments, rule, schedule, max_grad_norm, rng, step: 0 })
    }

    /// Steps made so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// One update. Fails with [`Kind::Diverged`], changing nothing, when the loss or a gradient is
    /// not finite.
    pub fn step(&mut self, batch: &Batch) -> Result<Step> {
        let step = self.step + 1;
        let device = self.params.device();
        let (input, targets) = Input::from_batch(batch, device)?;
        let row = self.model.vocab_size() * size_of::<f32>();
        let options = CrossEntropy { targets: batch.targets(), chunk: (LOGITS_BYTES / row).max(1) };
        let rng = Rng { attempt: step, ..self.rng };
        let mut pass = Pass { dropout: Some(rng), ..Pass::new(&self.params) };
        let hidden = self.model.hidden(&input, &mut pass)?;
        let loss = self.model.loss(&hidden, &targets, options, &mut pass)?;
        drop(hidden);
        let value = loss.item()?;
        if !value.is_finite() {
            return Err(diverged(step, "a finite loss", value));
        }
        self.grads.clear();
        backward(loss, Tensor::scalar(1.0, device)?, &mut self.grads)?;
        if self.step == 0 {
            self.grads.require_all()?;
        }
        let norm = self.grads.norm()?;
        let learning_rate = self.schedule.rate(step);
        let max_grad_norm = self.max_grad_norm;
        let state = StepState { step, learning_rate, max_grad_norm, loss_scale: 1.0 };
        self.rule.step(&mut self.params, &self.grads, &mut self.moments, &norm, state)?;
        let grad_norm = norm.item()?;
        if !grad_norm.is_finite() {
            return Err(diverged(step, "finite gradients", grad_norm));
        }
        self.step = step;
        Ok(Step { step, loss: value, grad_norm, learning_rate })
    }
}

fn diverged(step: u64, expected: &str, found: f32) -> Error {
    let thing = format!("training step {step}");
    let found = format!("{found} (a smaller --learning-rate may help)");
    Error::new(Kind::Diverged, thing, expected, found)
}

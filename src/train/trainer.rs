//! One step of training: forward, backward, clip, AdamW; the same numbers on any number of threads.

use crate::error::{Error, Kind, Result};
use crate::models::{Input, Model};
use crate::nn::{Pass, Probe, State};
use crate::ops::adamw::{AdamW, Moments, StepState};
use crate::ops::cross_entropy::CrossEntropy;
use crate::random::Rng;
use crate::tensor::{Gradients, Parameters, Tensor, backward, no_grad};
use crate::text::Batch;
use crate::train::{LossScale, Schedule};

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
    scale: LossScale,
    step: u64,
    attempt: u64,
    /// Where a recurrent model is in every row ([`State::recurrent`]): with the parameters, the moments
    /// and the counts above, all that the next step depends on.
    carried: Vec<(Tensor, Tensor)>,
}

/// What one step was like.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Counted from 1. A skipped step is tried again under the same number.
    pub step: u64,
    /// Mean nats per target, before the update.
    pub loss: f32,
    /// The norm of all gradients before clipping.
    pub grad_norm: f32,
    pub learning_rate: f32,
    /// What the loss was multiplied by for backward; not in `loss` and `grad_norm`.
    pub loss_scale: f32,
    /// A gradient overflowed, nothing was changed, and the loss scale is halved.
    pub skipped: bool,
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
        let scale = LossScale::of(params.dtype());
        Ok(Trainer {
            model,
            params,
            grads,
            moments,
            rule,
            schedule,
            max_grad_norm,
            rng,
            scale,
            step: 0,
            attempt: 0,
            carried: Vec::new(),
        })
    }

    /// Updates made so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Steps tried so far, skipped ones included: which batch comes next.
    pub fn attempts(&self) -> u64 {
        self.attempt
    }

    /// One update, or none where a gradient overflowed and a smaller loss scale is left to try: that is
    /// decided on the device. Fails with [`Kind::Diverged`], changing nothing, when the loss or, at the
    /// smallest scale, a gradient is not finite.
    ///
    /// A recurrent model goes on in each row where the batch before it ended, a skipped one too: its
    /// forward pass was as good as any. Gradients end where the batch begins (Williams, Peng, "An Efficient
    /// Gradient-Based Algorithm for On-Line Training of Recurrent Network Trajectories", 1990).
    pub fn step(&mut self, batch: &Batch) -> Result<Step> {
        let Launched { input, dropout, loss, norm, learning_rate, loss_scale, carried } =
            self.launch(batch)?;
        let step = self.step + 1;
        // Only now does the host wait for the device.
        let (loss, grad_norm) = (loss.item()?, norm.item()? / loss_scale);
        if !loss.is_finite() {
            let first = self.first_not_finite(&input, dropout)?;
            return Err(diverged(step, "a finite loss", format!("{loss}, {first}")));
        }
        let skipped = !grad_norm.is_finite();
        if !skipped {
            self.scale.succeeded();
            self.step = step;
        } else if !self.scale.overflowed() {
            return Err(diverged(step, "finite gradients", grad_norm.to_string()));
        }
        self.carried = carried;
        Ok(Step { step, loss, grad_norm, learning_rate, loss_scale, skipped })
    }

    /// All that the device does of a step. Reads nothing back, so that it can be done on the meta
    /// device too, where there are no numbers.
    pub(super) fn launch(&mut self, batch: &Batch) -> Result<Launched> {
        let step = self.step + 1;
        self.attempt += 1;
        let device = self.params.device();
        let (input, targets) = Input::from_batch(batch, device)?;
        let dropout = Rng { attempt: self.attempt, ..self.rng };
        let mut carried = State { recurrent: self.carried.clone(), ..State::default() };
        let mut pass = Pass { dropout: Some(dropout), ..Pass::new(&self.params) };
        if self.model.is_recurrent() {
            pass.state = Some(&mut carried);
        }
        let hidden = self.model.hidden(&input, &mut pass)?;
        let loss = self.model.loss(&hidden, &targets, self.cross_entropy(batch), &mut pass)?;
        drop(hidden);
        let value = loss.detach();
        let loss_scale = self.scale.factor();
        self.grads.clear();
        backward(loss, Tensor::scalar(loss_scale, device)?, &mut self.grads)?;
        if self.step == 0 {
            self.grads.require_all()?;
        }
        let norm = self.grads.norm()?;
        let learning_rate = self.schedule.rate(step);
        let max_grad_norm = self.max_grad_norm;
        let state = StepState { step, learning_rate, max_grad_norm, loss_scale };
        self.rule.step(&mut self.params, &self.grads, &mut self.moments, &norm, state)?;
        let carried = carried.recurrent;
        Ok(Launched { input, dropout, loss: value, norm, learning_rate, loss_scale, carried })
    }

    /// How the loss of `batch` is taken: as many rows of logits at once as their bytes allow.
    pub(super) fn cross_entropy(&self, batch: &Batch) -> CrossEntropy {
        let row = self.model.vocab_size() * size_of::<f32>();
        CrossEntropy { targets: batch.targets(), chunk: (LOGITS_BYTES / row).max(1) }
    }

    /// Where in the model the numbers that are not finite begin, found by going through it once more.
    fn first_not_finite(&self, input: &Input, dropout: Rng) -> Result<String> {
        let mut watch = Watch(None);
        let mut carried = State { recurrent: self.carried.clone(), ..State::default() };
        let mut pass = Pass { dropout: Some(dropout), ..Pass::new(&self.params) };
        pass.probe = Some(&mut watch);
        if self.model.is_recurrent() {
            pass.state = Some(&mut carried);
        }
        no_grad(|| self.model.hidden(input, &mut pass))?;
        Ok(match watch.0 {
            Some(site) => format!("not finite from {site} on"),
            None => "every hidden state finite".into(),
        })
    }
}

/// A step whose numbers nobody has read yet.
pub(super) struct Launched {
    input: Input,
    dropout: Rng,
    loss: Tensor,
    norm: Tensor,
    learning_rate: f32,
    loss_scale: f32,
    carried: Vec<(Tensor, Tensor)>,
}

/// Keeps the first site that shows a number that is not finite.
struct Watch(Option<String>);

impl Probe for Watch {
    fn wants(&self, site: &str) -> bool {
        self.0.is_none() && site.starts_with("hidden.")
    }

    fn visit(&mut self, site: &str, x: Tensor) -> Result<Tensor> {
        if !x.read()?.iter().all(|x| x.is_finite()) {
            self.0 = Some(site.to_string());
        }
        Ok(x)
    }
}

fn diverged(step: u64, expected: &str, found: String) -> Error {
    let thing = format!("training step {step}");
    let found = format!("{found} (a smaller --learning-rate may help)");
    Error::new(Kind::Diverged, thing, expected, found)
}

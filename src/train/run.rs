//! A run: steps, and now and then a validation, a sample and a save of what is best so far.

use crate::error::{Error, Kind, Result};
use crate::evaluate::{BySource, Evaluations};
use crate::formats::atomic;
use crate::models;
use crate::train::{Data, Step, Trainer, write_texts};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct Options {
    pub steps: u64,
    /// Steps between validations; one more comes after the last step.
    pub eval_steps: u64,
    /// Where the model is saved whenever its validation is the best so far.
    pub output: PathBuf,
    /// Tokens of the sample that is written at every validation.
    pub sample_tokens: usize,
    pub seed: u64,
    /// What stands in `generation_config.json` besides the special ids.
    pub generation: Map<String, Value>,
}

/// Where a run stands after a step.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub step: Step,
    /// Of this step's training loss.
    pub bits_per_char: f64,
    /// Padding included, over the training steps so far.
    pub tokens_per_second: f64,
    /// At the pace so far, validations included.
    pub time_left: Duration,
}

/// Who is told what happens. The run itself prints nothing.
pub trait Observer {
    fn stepped(&mut self, progress: &Progress);
    /// A gradient overflowed at this step's loss scale, and the next attempt halves it.
    fn skipped(&mut self, step: &Step);
    /// `best`: no earlier validation was as good, and the model was saved.
    fn validated(&mut self, step: u64, validation: &Evaluations, best: bool);
    fn sampled(&mut self, step: u64, text: &str);
    /// The signal that asks the run to stop after this step, if one came.
    fn interrupted(&self) -> Option<u8>;
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The best validation, and the step after which it was made: the model that was saved.
    pub best: Evaluations,
    pub best_step: u64,
    pub elapsed: Duration,
}

/// Trains to the end, or until a signal; either way the best model so far is saved in `output`.
pub fn run(
    mut trainer: Trainer,
    data: &Data,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Summary> {
    atomic::check_dir(&options.output)?;
    let validation = BySource::new(&data.tokenizer, &data.validation)?;
    let start = Instant::now();
    let mut training = Duration::ZERO;
    let mut tokens = 0;
    let mut best: Option<(u64, Evaluations)> = None;
    while trainer.steps() < options.steps {
        let batch = data.train.batch(trainer.attempts());
        let began = Instant::now();
        let step = trainer.step(&batch)?;
        training += began.elapsed();
        tokens += batch.tokens.len();
        if step.skipped {
            observer.skipped(&step);
            continue;
        }
        let left = (options.steps - step.step) as f64 / step.step as f64;
        observer.stepped(&Progress {
            step,
            bits_per_char: data.bits_per_char(step.loss),
            tokens_per_second: tokens as f64 / training.as_secs_f64(),
            time_left: start.elapsed().mul_f64(left),
        });
        let signal = observer.interrupted();
        let last = step.step == options.steps || signal.is_some();
        if step.step.is_multiple_of(options.eval_steps) || last {
            let found = validation.evaluate(&*trainer.model, &trainer.params)?;
            let better = best.as_ref().is_none_or(|(_, best)| found.total.loss < best.total.loss);
            if better {
                save(&trainer, data, options)?;
                best = Some((step.step, found.clone()));
            }
            observer.validated(step.step, &found, better);
        }
        if let Some(signal) = signal {
            let found = format!("signal {signal} at step {}", step.step);
            let expected = format!("{} steps; the best model is saved", options.steps);
            return Err(Error::new(Kind::Interrupted(signal), "training", expected, found));
        }
        if step.step.is_multiple_of(options.eval_steps) && !last {
            let Trainer { model, params, .. } = &trainer;
            let tokens = options.sample_tokens;
            for text in write_texts(&**model, params, &data.tokenizer, 1, tokens, options.seed)? {
                observer.sampled(step.step, &text);
            }
        }
    }
    match best {
        Some((best_step, best)) => Ok(Summary { best, best_step, elapsed: start.elapsed() }),
        None => Err(Error::usage("--max-steps", "at least 1", format!("{}", options.steps))),
    }
}

fn save(trainer: &Trainer, data: &Data, options: &Options) -> Result<()> {
    atomic::write_dir(&options.output, |dir| {
        models::save_with(dir, &*trainer.model, &trainer.params, &options.generation)?;
        data.tokenizer.save(dir)
    })
}

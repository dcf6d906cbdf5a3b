//! How well a model foretells texts: loss, perplexity, and bits per character, which compare across
//! tokenizers.
//!
//! Every document `t1 .. tn` is read as `[EOS, t1 .. tn]` against `[t1 .. tn, EOS]`, in windows of the
//! model's context, packed; every token and every end is a target once.

#[cfg(test)]
mod tests;
mod tokenised;

pub use tokenised::Tokenised;

use crate::error::{Error, Kind, Result};
use crate::models::{Input, Model};
use crate::nn::Pass;
use crate::ops::cross_entropy::CrossEntropy;
use crate::tensor::{Parameters, no_grad};
use crate::text::{Batch, Batcher, Document, Tokenizer};

/// What a model makes of documents, whatever the batches and rows they were packed into.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean −ln p of a target, in nats.
    pub loss: f64,
    /// Targets: every token, and one end for each document.
    pub tokens: usize,
    /// Characters (Unicode scalar values) of the documents, which have no end of text.
    pub chars: usize,
    /// Bytes of the documents as UTF-8.
    pub bytes: usize,
}

impl Evaluation {
    /// exp(loss): between how many tokens the model might as well have guessed. It depends on the
    /// tokenizer.
    pub fn perplexity(&self) -> f64 {
        self.loss.exp()
    }

    /// The bits of all targets, the ends' included, over the characters: the convention of
    /// [`KneserNey::bits_per_char`](crate::text::KneserNey::bits_per_char). NaN without characters.
    pub fn bits_per_char(&self) -> f64 {
        self.bits() / self.chars as f64
    }

    /// The same bits over the bytes of the text.
    pub fn bits_per_byte(&self) -> f64 {
        self.bits() / self.bytes as f64
    }

    fn bits(&self) -> f64 {
        self.loss * self.tokens as f64 / std::f64::consts::LN_2
    }
}

/// Places of a batch: enough work for every core, few enough activations for a small machine.
const PLACES: usize = 4096;
/// Logits held at once, all rows together.
const LOGITS: usize = 1 << 24;

/// Evaluates `documents`. Bad data where there are none or where the model lacks a row for one of the
/// tokenizer's ids; diverged where the loss is not finite.
pub fn evaluate(
    model: &dyn Model,
    params: &Parameters,
    tokenizer: &Tokenizer,
    documents: &[Document],
) -> Result<Evaluation> {
    let texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
    evaluate_tokenised(model, params, &Tokenised::new(tokenizer, &texts)?)
}

/// As [`evaluate`], for documents that are tokenised once and evaluated often.
pub fn evaluate_tokenised(
    model: &dyn Model,
    params: &Parameters,
    documents: &Tokenised,
) -> Result<Evaluation> {
    documents.check_ids(model.vocab_size())?;
    let time = model.context();
    let rows = (PLACES / time.max(1)).max(1);
    let batches = Batcher::unshuffled(&documents.ids, documents.eos, time, rows)?;
    // The sum in f64: a corpus has more targets than f32 has digits.
    let nats = no_grad(|| {
        batches.epoch(0).try_fold(0.0, |sum, batch| Ok(sum + nats(model, params, &batch)?))
    })?;
    let tokens = batches.targets();
    let loss = nats / tokens as f64;
    if !loss.is_finite() {
        return Err(Error::new(
            Kind::Diverged,
            "evaluation loss",
            "a finite number",
            loss.to_string(),
        ));
    }
    Ok(Evaluation { loss, tokens, chars: documents.chars, bytes: documents.bytes })
}

/// Σ −ln p over the targets of a batch.
fn nats(model: &dyn Model, params: &Parameters, batch: &Batch) -> Result<f64> {
    let (input, labels) = Input::from_batch(batch, params.device())?;
    let targets = batch.targets();
    let chunk = (LOGITS / model.vocab_size()).max(1);
    let mut pass = Pass::new(params);
    let hidden = model.hidden(&input, &mut pass)?;
    let options = CrossEntropy { targets, chunk };
    let mean = model.loss(&hidden, &labels, options, &mut pass)?;
    Ok(f64::from(mean.item()?) * targets as f64)
}

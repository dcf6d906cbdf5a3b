//! How well a model foretells texts: loss, perplexity, and bits per character, which compare across
//! tokenizers.
//!
//! Every document `t1 .. tn` is read as `[EOS, t1 .. tn]` against `[t1 .. tn, EOS]`; every token and every
//! end is a target once. A model of a fixed context reads windows of it, packed; a recurrent one reads
//! whole documents, piece by piece, and carries its state.

mod by_source;
#[cfg(test)]
mod tests;

pub use by_source::{BySource, Evaluations};

use crate::error::{Error, Kind, Result};
use crate::models::{Input, Model};
use crate::nn::Pass;
use crate::ops::cross_entropy::CrossEntropy;
use crate::tensor::{Parameters, no_grad};
use crate::text::{Batch, BatchOptions, Batcher, Document, Streams, Tokenizer, Tokens};

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
    /// Tokens that stand for what the tokenizer cannot spell. The model pays for foretelling that
    /// something unknown comes, but nobody has said what: with many of them the bits are too few.
    pub unknown: usize,
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
/// Tokens of a document that a recurrent model reads at once.
const PIECE: usize = 128;
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
    evaluate_tokenised(model, params, &Tokens::new(tokenizer, &texts, &mut |_| {})?)
}

/// As [`evaluate`], for documents that are tokenised once and evaluated often.
pub fn evaluate_tokenised(
    model: &dyn Model,
    params: &Parameters,
    documents: &Tokens,
) -> Result<Evaluation> {
    check_ids(documents, model.vocab_size())?;
    let tokens = documents.targets();
    let nats = no_grad(|| match model.context() {
        Some(time) => windows_nats(model, params, documents, time),
        None => streams_nats(model, params, documents),
    })?;
    let loss = nats / tokens as f64;
    if !loss.is_finite() {
        return Err(Error::new(
            Kind::Diverged,
            "evaluation loss",
            "a finite number",
            loss.to_string(),
        ));
    }
    let &Tokens { chars, bytes, unknown, .. } = documents;
    Ok(Evaluation { loss, tokens, chars, bytes, unknown })
}

/// Every id has its row in an embedding of `vocab` rows: where it has none, model and tokenizer do not
/// belong together.
fn check_ids(documents: &Tokens, vocab: usize) -> Result<()> {
    let largest = documents.largest();
    if (largest as usize) < vocab {
        return Ok(());
    }
    let expected = format!("ids below the model's {vocab}");
    Err(Error::bad_data("tokenizer", expected, largest.to_string()))
}

/// Σ −ln p over all targets, each given what its window of `time` tokens has before it.
fn windows_nats(
    model: &dyn Model,
    params: &Parameters,
    documents: &Tokens,
    time: usize,
) -> Result<f64> {
    let rows = (PLACES / time.max(1)).max(1);
    let batches = Batcher::new(documents.clone(), BatchOptions::new(time, rows))?;
    // The sum in f64: a corpus has more targets than f32 has digits.
    batches
        .epoch(0)
        .try_fold(0.0, |sum, batch| Ok(sum + nats(model, &batch, &mut Pass::new(params))?))
}

/// Σ −ln p over all targets, each given all of its document before it.
fn streams_nats(model: &dyn Model, params: &Parameters, documents: &Tokens) -> Result<f64> {
    let rows = (PLACES / PIECE).min(documents.documents().max(1));
    let streams = Streams::unshuffled(documents.clone(), PIECE, rows)?;
    let mut state = model.new_state(rows, PIECE, params)?;
    streams.epoch(0).try_fold(0.0, |sum, batch| {
        let mut pass = Pass { state: Some(&mut state), ..Pass::new(params) };
        Ok(sum + nats(model, &batch, &mut pass)?)
    })
}

/// Σ −ln p over the targets of a batch.
fn nats(model: &dyn Model, batch: &Batch, pass: &mut Pass) -> Result<f64> {
    let (input, labels) = Input::from_batch(batch, pass.params.device())?;
    let targets = batch.targets();
    let chunk = (LOGITS / model.vocab_size()).max(1);
    let hidden = model.hidden(&input, pass)?;
    let options = CrossEntropy { targets, chunk };
    let mean = model.loss(&hidden, &labels, options, pass)?;
    Ok(f64::from(mean.item()?) * targets as f64)
}

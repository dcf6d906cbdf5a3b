//! An evaluation of every source by itself, from which that of all together follows: a mean over unlike
//! texts hides which of them a model has learnt.

use super::{Evaluation, evaluate_tokenised};
use crate::error::{Error, Result};
use crate::models::Model;
use crate::tensor::Parameters;
use crate::text::{Document, Tokenizer, Tokens};
use std::collections::BTreeMap;

/// Documents that are tokenised once and evaluated often, by the index of their source.
pub struct BySource(BTreeMap<usize, Tokens>);

/// What a model makes of documents of several sources.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluations {
    pub total: Evaluation,
    /// By the index of the source; those without a document are not there.
    pub sources: BTreeMap<usize, Evaluation>,
}

impl BySource {
    /// Fails where the tokenizer does.
    pub fn new(tokenizer: &Tokenizer, documents: &[Document]) -> Result<Self> {
        let mut texts: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for document in documents {
            texts.entry(document.origin.source).or_default().push(&document.text);
        }
        let tokens = |(source, texts): (usize, Vec<&str>)| {
            Ok((source, Tokens::new(tokenizer, &texts, &mut |_| {})?))
        };
        Ok(BySource(texts.into_iter().map(tokens).collect::<Result<_>>()?))
    }

    /// As [`evaluate`](super::evaluate) does. Bad data also where there is no document.
    pub fn evaluate(&self, model: &dyn Model, params: &Parameters) -> Result<Evaluations> {
        let one = |(source, tokens): (&usize, &Tokens)| {
            Ok((*source, evaluate_tokenised(model, params, tokens)?))
        };
        let sources = self.0.iter().map(one).collect::<Result<BTreeMap<_, _>>>()?;
        let total = sources.values().copied().reduce(Evaluation::and);
        let none = || Error::bad_data("documents to evaluate", "at least one", "none");
        Ok(Evaluations { total: total.ok_or_else(none)?, sources })
    }
}

impl Evaluation {
    /// Of this one's documents and the other's together.
    fn and(self, other: Self) -> Self {
        let nats = |part: Self| part.loss * part.tokens as f64;
        let tokens = self.tokens + other.tokens;
        Evaluation {
            loss: (nats(self) + nats(other)) / tokens as f64,
            tokens,
            chars: self.chars + other.chars,
            bytes: self.bytes + other.bytes,
            unknown: self.unknown + other.unknown,
        }
    }
}

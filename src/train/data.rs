//! From documents to what a run needs: split, tokenizer, batches, and the baseline to beat.

use crate::error::Result;
use crate::text::{Batcher, Document, KneserNey, Tokenizer, split};

/// The order of the baseline: it predicts a character from the four before it.
pub const BASELINE_ORDER: usize = 5;

/// How documents become batches.
#[derive(Clone, Debug)]
pub struct DataOptions {
    pub validation_share: f64,
    /// Of the tokenizer trained on the training part.
    pub vocab_size: usize,
    /// Tokens of a row.
    pub time: usize,
    /// Rows of a batch.
    pub rows: usize,
    pub seed: u64,
}

pub struct Data {
    pub tokenizer: Tokenizer,
    pub train: Batcher,
    pub train_documents: usize,
    pub train_chars: usize,
    pub validation: Vec<Document>,
    /// Bits per character of a Kneser-Ney 5-gram, trained and measured on the same split.
    pub baseline_bits_per_char: f64,
}

impl Data {
    /// The tokenizer and the baseline see the training part only.
    pub fn prepare(documents: Vec<Document>, options: &DataOptions) -> Result<Self> {
        let parts = split(documents, options.validation_share, options.seed)?;
        let texts = |documents: &[Document]| -> Vec<String> {
            documents.iter().map(|document| document.text.clone()).collect()
        };
        let train = texts(&parts.train);
        let tokenizer = Tokenizer::train_bpe(&train, options.vocab_size)?;
        let ids = tokenizer.encode_batch(&train)?;
        let baseline = KneserNey::train(&train, BASELINE_ORDER)?;
        Ok(Data {
            train: Batcher::new(&ids, tokenizer.eos()?, options.time, options.rows, options.seed)?,
            train_documents: train.len(),
            train_chars: train.iter().map(|text| text.chars().count()).sum(),
            baseline_bits_per_char: baseline.bits_per_char(&texts(&parts.validation)),
            validation: parts.validation,
            tokenizer,
        })
    }

    /// Bits per character of a loss in nats per token, by the training text's characters per token.
    pub fn bits_per_char(&self, loss: f32) -> f64 {
        let tokens_per_char = self.train.targets() as f64 / self.train_chars as f64;
        f64::from(loss) / std::f64::consts::LN_2 * tokens_per_char
    }
}

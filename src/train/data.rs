//! From documents to what a run needs: split, tokenizer, batches, and the baseline to beat.

use crate::error::Result;
use crate::text::{
    Batch, Batcher, BpeOptions, Document, KneserNey, Streams, Tokenizer, Tokens, split,
};

/// The order of the baseline: it predicts a character from the four before it.
pub const BASELINE_ORDER: usize = 5;

/// How documents become batches.
#[derive(Clone, Debug)]
pub struct DataOptions {
    pub validation_share: f64,
    /// Tokens of a row.
    pub time: usize,
    /// Rows of a batch.
    pub rows: usize,
    /// Whether rows go on from batch to batch, for a recurrent model.
    pub streams: bool,
    pub seed: u64,
}

/// Where the tokenizer of a run comes from.
pub enum Vocabulary {
    /// Learnt from the training part: byte-level BPE of so many tokens.
    Bpe(usize),
    /// Learnt from the training part: a token for each of its characters.
    Characters,
    /// With the model that is trained on, or learnt before.
    Given(Box<Tokenizer>),
}

/// What a run takes its batches from.
pub enum Batches {
    Packed(Batcher),
    Streams(Streams),
}

impl Batches {
    /// The batch of this step, counted from 0, without end.
    pub fn batch(&self, step: u64) -> Batch {
        match self {
            Batches::Packed(batches) => batches.batch(step),
            Batches::Streams(streams) => streams.batch(step),
        }
    }

    /// Targets in one epoch: every token of every document, and its end.
    pub fn targets(&self) -> usize {
        match self {
            Batches::Packed(batches) => batches.targets(),
            Batches::Streams(streams) => streams.targets(),
        }
    }

    /// The fewest batches with every target of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        match self {
            Batches::Packed(batches) => batches.steps_per_epoch(),
            Batches::Streams(streams) => streams.steps_per_epoch(),
        }
    }

    /// Ends of text among them: one for each document.
    pub fn eos_targets(&self) -> usize {
        match self {
            Batches::Packed(batches) => batches.eos_targets(),
            Batches::Streams(streams) => streams.eos_targets(),
        }
    }
}

pub struct Data {
    pub tokenizer: Tokenizer,
    pub train: Batches,
    pub train_documents: usize,
    pub train_chars: usize,
    pub validation: Vec<Document>,
    /// Bits per character of a Kneser-Ney 5-gram, trained and measured on the same split.
    pub baseline_bits_per_char: f64,
}

impl Data {
    /// A tokenizer that is learnt, and the baseline, see the training part only.
    pub fn prepare(
        documents: Vec<Document>,
        vocabulary: Vocabulary,
        options: &DataOptions,
    ) -> Result<Self> {
        let parts = split(documents, options.validation_share, options.seed)?;
        let texts = |documents: &[Document]| -> Vec<String> {
            documents.iter().map(|document| document.text.clone()).collect()
        };
        let train = texts(&parts.train);
        let tokenizer = match vocabulary {
            Vocabulary::Bpe(vocab_size) => {
                Tokenizer::train_bpe(&train, &BpeOptions::new(vocab_size))?
            }
            Vocabulary::Characters => Tokenizer::train_chars(&train)?,
            Vocabulary::Given(tokenizer) => *tokenizer,
        };
        let tokens = Tokens::new(&tokenizer, &train)?;
        let train_chars = tokens.chars;
        let &DataOptions { time, rows, seed, .. } = options;
        let batches = if options.streams {
            Batches::Streams(Streams::new(tokens, time, rows, seed)?)
        } else {
            Batches::Packed(Batcher::new(tokens, time, rows, seed)?)
        };
        let baseline = KneserNey::train(&train, BASELINE_ORDER)?;
        Ok(Data {
            train: batches,
            train_documents: train.len(),
            train_chars,
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

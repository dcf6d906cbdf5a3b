//! What a model is trained with when nothing else is said: a preset from scratch, or one that can write
//! already.

use crate::error::Result;
use crate::models::{Fresh, Model, preset};

/// Sizes of data and steps that suit a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// Tokens of the vocabulary that is learnt; `None` has one for each character. It is not looked at
    /// where the model brings its tokenizer.
    pub vocab_size: Option<usize>,
    /// Tokens of a row.
    pub time: usize,
    /// Rows of a batch.
    pub rows: usize,
    /// Whether rows go on from batch to batch, as a recurrent model reads them.
    pub streams: bool,
    pub length: Length,
    pub learning_rate: f32,
    pub dropout: f32,
    pub weight_decay: f32,
}

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    Steps(u64),
    /// So many times every text.
    Epochs(u64),
}

impl Length {
    /// In updates.
    pub fn steps(self, steps_per_epoch: u64) -> u64 {
        match self {
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) => epochs.saturating_mul(steps_per_epoch),
        }
    }
}

impl Recipe {
    /// `nano` is tuned on copla's own corpus for three minutes on two cores; the others follow the usual:
    /// a learning rate that falls with the width, the published vocabulary and context.
    /// Usage error: no such preset.
    pub fn of(name: &str) -> Result<Self> {
        let model = preset(name, Fresh { vocab: 1, eos: 0, time: 1, dropout: 0.0 })?;
        let sizes = match name {
            "char-lstm" => Recipe {
                vocab_size: None,
                time: 64,
                rows: 8,
                length: Length::Steps(2600),
                learning_rate: 3e-3,
                dropout: 0.4,
                weight_decay: 0.1,
                ..Self::PUBLISHED
            },
            "nano" => Recipe {
                vocab_size: Some(512),
                time: 128,
                rows: 8,
                length: Length::Steps(1400),
                learning_rate: 3e-3,
                dropout: 0.4,
                weight_decay: 0.5,
                ..Self::PUBLISHED
            },
            "micro" => Recipe {
                vocab_size: Some(4096),
                time: 256,
                rows: 16,
                length: Length::Steps(4000),
                learning_rate: 1.5e-3,
                dropout: 0.2,
                weight_decay: 0.1,
                ..Self::PUBLISHED
            },
            "mini" => Recipe {
                vocab_size: Some(8192),
                time: 512,
                rows: 8,
                length: Length::Steps(10_000),
                learning_rate: 1e-3,
                dropout: 0.1,
                weight_decay: 0.1,
                ..Self::PUBLISHED
            },
            "gpt2-medium" => Recipe { learning_rate: 3e-4, ..Self::PUBLISHED },
            _ => Self::PUBLISHED,
        };
        Ok(Recipe { streams: model.is_recurrent(), ..sizes })
    }

    /// For going on with a model that can write: `transformers`' learning rate and epochs, no decay, and
    /// the dropout that the model's config asks for.
    pub fn fine_tuning(model: &dyn Model) -> Self {
        Recipe {
            vocab_size: None,
            time: model.context().map_or(64, |context| context.min(256)),
            rows: 8,
            streams: model.is_recurrent(),
            length: Length::Epochs(3),
            learning_rate: 5e-5,
            dropout: 0.0,
            weight_decay: 0.0,
        }
    }

    /// GPT-2's vocabulary and context; rows and steps for one machine.
    const PUBLISHED: Recipe = Recipe {
        vocab_size: Some(50_257),
        time: 1024,
        rows: 4,
        streams: false,
        length: Length::Steps(20_000),
        learning_rate: 6e-4,
        dropout: 0.1,
        weight_decay: 0.1,
    };
}

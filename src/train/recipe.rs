//! What each preset is trained with when nothing else is said.

use crate::error::Result;
use crate::models::gpt2;

/// Sizes of data and steps that suit a model from scratch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    pub vocab_size: usize,
    /// Tokens of a row.
    pub time: usize,
    /// Rows of a batch.
    pub rows: usize,
    pub steps: u64,
    pub learning_rate: f32,
    pub dropout: f32,
    pub weight_decay: f32,
}

impl Recipe {
    /// `nano` is tuned on copla's own corpus for three minutes on two cores; the others follow the
    /// usual: a learning rate that falls with the width, the published vocabulary and context.
    pub fn of(preset: &str) -> Result<Self> {
        let context = gpt2::preset(preset, 1)?.context;
        Ok(match preset {
            "nano" => Recipe {
                vocab_size: 512,
                time: 128,
                rows: 8,
                steps: 1400,
                learning_rate: 3e-3,
                dropout: 0.4,
                weight_decay: 0.5,
            },
            "micro" => Recipe {
                vocab_size: 4096,
                time: 256,
                rows: 16,
                steps: 4000,
                learning_rate: 1.5e-3,
                dropout: 0.2,
                weight_decay: 0.1,
            },
            "mini" => Recipe {
                vocab_size: 8192,
                time: context,
                rows: 8,
                steps: 10_000,
                learning_rate: 1e-3,
                dropout: 0.1,
                weight_decay: 0.1,
            },
            "gpt2-medium" => Recipe { learning_rate: 3e-4, ..Self::PUBLISHED },
            _ => Self::PUBLISHED,
        })
    }

    /// GPT-2's vocabulary and context; rows and steps for one machine.
    const PUBLISHED: Recipe = Recipe {
        vocab_size: 50_257,
        time: 1024,
        rows: 4,
        steps: 20_000,
        learning_rate: 6e-4,
        dropout: 0.1,
        weight_decay: 0.1,
    };
}

//! Models to be trained from scratch, by name.

use crate::error::{Error, Result};
use crate::models::Model;
use crate::models::char_lstm::{self, CharLstm};
use crate::models::decoder::{self, DropoutShares};
use crate::models::gpt2::{self, Gpt2};

/// What a preset leaves open.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    pub vocab: usize,
    /// The id that begins and ends every text.
    pub eos: u32,
    /// The longest row that it is to read at once.
    pub time: usize,
    /// The share that is dropped wherever the model drops anything.
    pub dropout: f32,
}

/// A model of the sizes that `name` stands for. Usage error: no such name.
pub fn preset(name: &str, fresh: Fresh) -> Result<Box<dyn Model>> {
    let Fresh { vocab, eos, time, dropout } = fresh;
    if let Some(sizes) = gpt2::preset(name, vocab) {
        let dropout = DropoutShares { embedding: dropout, attention: dropout, residual: dropout };
        // Places beyond a row are never trained, so the model has none.
        let options = decoder::Options { context: time, dropout, ..sizes };
        return Ok(Box::new(Gpt2::new(options, Some(eos))?));
    }
    if name == char_lstm::PRESET {
        let options = char_lstm::Options { dropout, ..char_lstm::preset(vocab) };
        return Ok(Box::new(CharLstm::new(options, Some(eos))?));
    }
    let names: Vec<&str> = gpt2::PRESETS.iter().map(|preset| preset.0).collect();
    let expected = format!("one of {}, {}", names.join(", "), char_lstm::PRESET);
    Err(Error::usage("--preset", expected, format!("\"{name}\"")))
}

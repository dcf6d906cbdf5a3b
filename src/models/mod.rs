//! The models: one decoder and its dialects, and the character LSTM, behind one trait.

pub mod bloom;
pub mod char_lstm;
mod convert;
pub mod decoder;
pub mod family;
pub mod gpt2;
pub mod gpt_neo;
mod load;
mod preset;
mod pretrained;
mod retokenize;
mod save;
mod special_ids;
mod stored;

pub use convert::{Converted, convert};
pub use load::{Use, from_config, load, stored_dtypes};
pub use preset::{Fresh, preset};
pub use pretrained::{Description, Pretrained};
pub use retokenize::Retokenized;
pub use save::{in_file_layout, save, save_with};
pub use stored::Stored;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::nn::{Pass, State};
use crate::ops::cross_entropy::CrossEntropy;
use crate::tensor::{Device, Layout, Param, Parameters, Tensor};
use crate::text::Batch;
use serde_json::{Map, Value};

/// What goes into a model; all u32, [batch, time].
pub struct Input {
    pub tokens: Tensor,
    /// Each token's place in its document.
    pub positions: Tensor,
    /// The earliest place in the row that each token may read.
    pub first_key: Tensor,
}

impl Input {
    /// A batch of documents, and its targets.
    pub fn from_batch(batch: &Batch, device: Device) -> Result<(Self, Tensor)> {
        let tensor = |ids: &[u32]| Tensor::from_slice(ids, &[batch.rows, batch.time], device);
        let input = Input {
            tokens: tensor(&batch.tokens)?,
            positions: tensor(&batch.positions)?,
            first_key: tensor(&batch.first_key)?,
        };
        Ok((input, tensor(&batch.targets)?))
    }

    /// Whole rows, each one document from place 0: [rows, time].
    pub fn rows(tokens: &[u32], rows: usize, device: Device) -> Result<Self> {
        let time = tokens.len() / rows.max(1);
        let dims = [rows, time];
        let positions: Vec<u32> = (0..rows).flat_map(|_| 0..time as u32).collect();
        Ok(Input {
            tokens: Tensor::from_slice(tokens, &dims, device)?,
            positions: Tensor::from_slice(&positions, &dims, device)?,
            first_key: Tensor::zeros(&dims, DType::U32, device)?,
        })
    }
}

/// A language model, whatever its family. Parameters are kept apart: a model is their arrangement.
pub trait Model: Send + Sync {
    /// What the head reads, such as the state after the last norm: [batch, time, width].
    fn hidden(&self, input: &Input, pass: &mut Pass) -> Result<Tensor>;

    /// [..., width] → [..., vocab].
    fn logits(&self, hidden: &Tensor, pass: &mut Pass) -> Result<Tensor>;

    /// The loss of `targets` (u32, [batch, time]) given `hidden`; a scalar.
    fn loss(
        &self,
        hidden: &Tensor,
        targets: &Tensor,
        options: CrossEntropy,
        pass: &mut Pass,
    ) -> Result<Tensor>;

    /// What reading `rows` texts of at most `capacity` tokens carries along.
    fn new_state(&self, rows: usize, capacity: usize, params: &Parameters) -> Result<State>;

    fn vocab_size(&self) -> usize;

    /// The most tokens that fit one document; `None` where there is no such limit, since what the model
    /// carries along is as large after many tokens as after one.
    fn context(&self) -> Option<usize>;

    /// Whether a document may be read in pieces of any length, by carrying the state from one to the next.
    fn is_recurrent(&self) -> bool {
        self.context().is_none()
    }

    /// The places of the parameters: what an arena is built from.
    fn layout(&self) -> Result<Layout>;

    /// Those with a row for every token: the embedding, and the head where it is another.
    fn token_tables(&self) -> Vec<Param>;

    /// Fresh weights, drawn on the CPU by the family's own rule.
    fn initialise(&self, params: &mut Parameters, seed: u64) -> Result<()>;

    /// What tells it from others of its family, for people: layers, width and their like, by name.
    fn sizes(&self) -> Vec<(&'static str, Value)>;

    /// `config.json` as `transformers` writes it, with what else stood in the one that it was read from.
    fn config(&self) -> Map<String, Value>;

    /// How the Hugging Face file stores a parameter.
    fn stored(&self, name: &str) -> Stored;
}

/// The number of a preset's or a config's heads must divide its width.
fn head_dim(width: usize, heads: usize) -> Result<usize> {
    if heads > 0 && width > 0 && width.is_multiple_of(heads) && width / heads <= 256 {
        return Ok(width / heads);
    }
    let found = format!("{heads} heads for a width of {width}");
    Err(Error::bad_data("model config", "heads that divide the width into 1 to 256", found))
}

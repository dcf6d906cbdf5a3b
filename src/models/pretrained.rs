//! A whole model directory: config, weights and tokenizer, which agree when they come out of it.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::formats::json::Object;
use crate::models::{Model, Use, load, save, special_ids};
use crate::tensor::{Device, Parameters};
use crate::text::Tokenizer;
use serde_json::{Map, Value};
use std::path::Path;

/// A model with its tokenizer, as [`Pretrained::load`] has read and mended them.
pub struct Pretrained {
    pub model: Box<dyn Model>,
    pub params: Parameters,
    /// What was found to disagree and what was decided, a line each: for the person who runs it.
    pub notes: Vec<String>,
    pub(super) tokenizer: Option<Tokenizer>,
    /// What stands in `generation_config.json`.
    pub generation: Map<String, Value>,
}

/// A model directory but for its weights, which nobody reads: what [`Pretrained::load`] makes of the rest.
pub struct Description {
    config: Object,
    /// The model with the rows that the files have, where the tokenizer has more ids.
    stored: Option<Box<dyn Model>>,
    pub tokenizer: Option<Tokenizer>,
    /// As [`Pretrained::notes`].
    pub notes: Vec<String>,
    generation: Map<String, Value>,
}

impl Description {
    /// Reads the directory `dir`; errors as those of [`Pretrained::load`].
    pub fn read(dir: &Path) -> Result<Self> {
        let mut config = Object::read(&dir.join("config.json"))?;
        let mut generation = Object::read_or_empty(&dir.join("generation_config.json"))?;
        let mut tokenizer = Tokenizer::find(dir)?;
        let mut notes = match &mut tokenizer {
            Some(tokenizer) => special_ids::agree(tokenizer, &mut config, &mut generation)?,
            None => Vec::new(),
        };
        let model = load::from_object(&config)?;
        let mut stored = None;
        if let Some(tokenizer) = &tokenizer
            && tokenizer.vocab_size() > model.vocab_size()
        {
            notes.push(growth(dir, model.vocab_size(), tokenizer)?);
            config.set("vocab_size", tokenizer.vocab_size());
            stored = Some(model);
        }
        Ok(Description { config, stored, tokenizer, notes, generation: generation.map().clone() })
    }

    /// The model, with a row for every id of the tokenizer.
    pub fn model(&self) -> Result<Box<dyn Model>> {
        load::from_object(&self.config)
    }
}

impl Pretrained {
    /// Reads the directory `dir`; the weights are stored as `dtype` on `device`. The special ids are the
    /// tokenizer's, then the configs'; an embedding with fewer rows than the tokenizer has ids grows, and
    /// each new row is the mean of the old ones. Either is noted.
    ///
    /// A directory without a tokenizer's files is a model all the same. Bad data: a file that is missing or
    /// not what it should be, an ordinary token without a row in the embedding.
    pub fn load(dir: &Path, wanted: Use, dtype: DType, device: Device) -> Result<Self> {
        let description = Description::read(dir)?;
        let model = description.model()?;
        let Description { stored, tokenizer, notes, generation, .. } = description;
        let params = match stored {
            None => load::load_weights(dir, &*model, wanted, dtype, device)?,
            Some(stored) => {
                let old =
                    load::load_weights(dir, &*stored, Use::Inference, DType::F32, Device::Cpu)?;
                let mut params = wanted.of(model.layout()?).build(dtype, device)?;
                grow(&old, &mut params)?;
                params
            }
        };
        Ok(Pretrained { model, params, notes, tokenizer, generation })
    }

    /// Bad data: the directory had none.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(no_tokenizer)
    }

    /// The tokenizer, for whoever takes the model apart. Bad data as from [`Pretrained::tokenizer`].
    pub fn take_tokenizer(&mut self) -> Result<Tokenizer> {
        self.tokenizer.take().ok_or_else(no_tokenizer)
    }

    /// Writes all of it into `dir`, so that `transformers` opens it unchanged and copla without a note.
    pub fn save(&self, dir: &Path) -> Result<()> {
        save::save_with(dir, &*self.model, &self.params, &self.generation)?;
        self.tokenizer.as_ref().map_or(Ok(()), |tokenizer| tokenizer.save(dir))
    }
}

fn no_tokenizer() -> Error {
    let expected = "tokenizer.json, or vocab.json and merges.txt";
    Error::bad_data("the model's directory", expected, "neither")
}

/// How the growth to hold all ids of `tokenizer` is told. Bad data: an id beyond the embedding that is not
/// an added token's, as of another model's tokenizer.
fn growth(dir: &Path, rows: usize, tokenizer: &Tokenizer) -> Result<String> {
    let (dir, wanted) = (dir.display(), tokenizer.vocab_size());
    if let Some(id) = (rows..wanted).find(|&id| !tokenizer.is_added(id as u32)) {
        let expected = format!("ids below the model's {rows}, or of added tokens");
        return Err(Error::bad_data(format!("{dir}: tokenizer"), expected, id.to_string()));
    }
    let tokens: Vec<_> = (rows..wanted).filter_map(|id| tokenizer.token(id as u32)).collect();
    let tokens = match &tokens[..] {
        [first, _, .., last] => format!("{first} to {last}"),
        few => few.join(" and "),
    };
    Ok(format!(
        "{dir}: the embedding grows from {rows} rows to {wanted}, for {tokens} of the tokenizer; each \
         new row is the mean of the old ones"
    ))
}

/// Fills `params` from parameters of the same names, of which some have fewer rows.
fn grow(old: &Parameters, params: &mut Parameters) -> Result<()> {
    let pairs: Vec<_> = old.segments().zip(params.segments()).map(|(a, b)| (a.0, b.0)).collect();
    for (from, to) in pairs {
        let mut values: Vec<f32> = old.get(from).to_vec()?;
        let shape = params.segment(to).shape;
        let rows = old.segment(from).shape[0];
        let mean = mean_row(&values, rows);
        values.extend((rows..shape[0]).flat_map(|_| &mean));
        params.set(to, &values)?;
    }
    Ok(())
}

/// The mean of the rows of [rows, width], summed in f64.
pub(super) fn mean_row(values: &[f32], rows: usize) -> Vec<f32> {
    let mut sum = vec![0.0; values.len() / rows];
    for row in values.chunks_exact(sum.len()) {
        sum.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    sum.into_iter().map(|sum| (sum / rows as f64) as f32).collect()
}

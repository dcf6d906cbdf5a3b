//! A model as a Hugging Face directory that `transformers` opens unchanged.

use crate::error::Result;
use crate::formats::json;
use crate::formats::safetensors::{self, Entry};
use crate::models::Model;
use crate::tensor::{Param, Parameters, Segment, Tensor};
use std::path::Path;

/// Writes `config.json`, `generation_config.json` and `model.safetensors` into the directory `dir`.
pub fn save(dir: &Path, model: &dyn Model, params: &Parameters) -> Result<()> {
    let config = model.config();
    json::write(&dir.join("config.json"), &config)?;
    let generation: serde_json::Map<_, _> = ["bos_token_id", "eos_token_id"]
        .into_iter()
        .filter_map(|key| Some((key.to_string(), config.get(key)?.clone())))
        .collect();
    json::write(&dir.join("generation_config.json"), &generation)?;
    let entries: Vec<Entry> = params
        .segments()
        .flat_map(|(param, segment)| weights(model, params, param, segment))
        .collect();
    safetensors::save(&dir.join("model.safetensors"), &entries, &[])
}

/// The parameter `name`, or a tensor like it, as the Hugging Face file stores it: by its names there.
pub fn in_file_layout(
    name: &str,
    model: &dyn Model,
    tensor: &Tensor,
) -> Result<Vec<(String, Tensor)>> {
    let stored = model.stored(name);
    Ok(stored.names(name).into_iter().zip(stored.to_file(tensor)?).collect())
}

/// The entries that one parameter makes, each converted piece by piece when it is written.
fn weights<'a>(
    model: &'a dyn Model,
    params: &'a Parameters,
    param: Param,
    segment: &'a Segment,
) -> impl Iterator<Item = Entry<'a>> {
    let stored = model.stored(&segment.name);
    let dims = stored.shape(&segment.shape);
    stored.names(&segment.name).into_iter().enumerate().map(move |(i, name)| {
        Entry::in_pieces(name, params.dtype(), &dims, move |put| {
            stored.write(&params.get(param), i, put)
        })
    })
}

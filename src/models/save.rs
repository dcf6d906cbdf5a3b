//! A model as a Hugging Face directory that `transformers` opens unchanged.

use crate::dtype::DType;
use crate::error::Result;
use crate::formats::json;
use crate::formats::safetensors::{self, Entry};
use crate::models::Model;
use crate::tensor::{Param, Parameters, Segment, Tensor};
use crate::text::Special;
use serde_json::{Map, Value};
use std::path::Path;

/// Writes `config.json`, `generation_config.json` and `model.safetensors` into the directory `dir`.
pub fn save(dir: &Path, model: &dyn Model, params: &Parameters) -> Result<()> {
    save_with(dir, model, params, &Map::new())
}

/// [`save`], with what else is to stand in `generation_config.json`.
pub(super) fn save_with(
    dir: &Path,
    model: &dyn Model,
    params: &Parameters,
    generation: &Map<String, Value>,
) -> Result<()> {
    let mut config = model.config();
    let mut generation = generation.clone();
    for key in [Special::Bos, Special::Eos, Special::Pad].map(Special::id_key) {
        if let Some(id) = config.get(key) {
            generation.insert(key.to_string(), id.clone());
        }
    }
    // Newer files say `dtype`; the older name is understood by all versions.
    config.insert("torch_dtype".to_string(), torch_name(params.dtype()).into());
    json::write(&dir.join("config.json"), &config)?;
    json::write(&dir.join("generation_config.json"), &generation)?;
    let entries: Vec<Entry> = params
        .segments()
        .flat_map(|(param, segment)| weights(model, params, param, segment))
        .collect();
    safetensors::save(&dir.join("model.safetensors"), &entries, &[])
}

/// What PyTorch calls a type.
fn torch_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        DType::U32 => "uint32",
    }
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

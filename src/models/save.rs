//! A model as a Hugging Face directory that `transformers` opens unchanged.

use crate::error::Result;
use crate::formats::json;
use crate::formats::safetensors::{self, Entry};
use crate::models::{Model, Stored};
use crate::tensor::{Device, Param, Parameters, Segment, Tensor};
use std::borrow::Cow;
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
        .map(|(param, segment)| weight(&segment.name, model, params, param, segment))
        .collect();
    safetensors::save(&dir.join("model.safetensors"), &entries, &[])
}

/// A parameter, or a tensor like it, as the Hugging Face file stores it.
pub fn in_file_layout(name: &str, model: &dyn Model, tensor: &Tensor) -> Result<Tensor> {
    match model.stored(name) {
        Stored::AsHere => Ok(tensor.detach()),
        Stored::Transposed => tensor.detach().transpose(0, 1),
    }
}

fn weight<'a>(
    name: &'a str,
    model: &'a dyn Model,
    params: &'a Parameters,
    param: Param,
    segment: &'a Segment,
) -> Entry<'a> {
    let mut dims = segment.shape.to_vec();
    if model.stored(name) == Stored::Transposed {
        dims.reverse();
    }
    Entry::lazy(name, params.dtype(), &dims, move || {
        let values = params.get(param).to_device(Device::Cpu)?;
        Ok(Cow::Owned(in_file_layout(name, model, &values)?.to_bytes()?))
    })
}

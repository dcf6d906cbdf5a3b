//! A model from a Hugging Face directory: `config.json` tells the family, its weights fill it.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::formats::json::Object;
use crate::formats::weights::Weights;
use crate::models::Model;
use crate::models::bloom::Bloom;
use crate::models::char_lstm::CharLstm;
use crate::models::gpt_neo::GptNeo;
use crate::models::gpt2::Gpt2;
use crate::tensor::{Device, Layout, Param, Parameters};
use std::collections::HashSet;
use std::path::Path;

/// Whether the parameters are to receive gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Inference,
    Training,
}

/// Reads the model in `dir`; its weights are stored as `dtype` on `device`. Bad data where a file is missing or is not what it should be, or where
/// a weight is missing, unknown, or of a shape that the config does not give it.
pub fn load(
    dir: &Path,
    wanted: Use,
    dtype: DType,
    device: Device,
) -> Result<(Box<dyn Model>, Parameters)> {
    let model = from_config(dir)?;
    let params = load_weights(dir, &*model, wanted, dtype, device)?;
    Ok((model, params))
}

/// The parameters of `model`, with the weights in `dir`.
pub(super) fn load_weights(
    dir: &Path,
    model: &dyn Model,
    wanted: Use,
    dtype: DType,
    device: Device,
) -> Result<Parameters> {
    let weights = Weights::open(dir)?;
    // The file answers for the sizes before memory is asked for them.
    let names = check(&weights, model, &model.layout()?.build(dtype, Device::Meta)?)?;
    let mut params = wanted.of(model.layout()?).build(dtype, device)?;
    for (param, names) in names {
        let stored = model.stored(&params.segment(param).name);
        let tensors = names.iter().map(|name| weights.get(name)).collect::<Result<Vec<_>>>()?;
        stored.read(&tensors, param, &mut params)?;
    }
    Ok(params)
}

impl Use {
    /// A layout for this use.
    pub(super) fn of(self, layout: Layout) -> Layout {
        match self {
            Use::Inference => layout.frozen(),
            Use::Training => layout,
        }
    }
}

/// The model that `config.json` describes, without weights.
pub fn from_config(dir: &Path) -> Result<Box<dyn Model>> {
    from_object(&Object::read(&dir.join("config.json"))?)
}

/// The model that the object of a `config.json` describes.
pub(super) fn from_object(config: &Object) -> Result<Box<dyn Model>> {
    match config.get::<String>("model_type")?.as_str() {
        "gpt2" => Ok(Box::new(Gpt2::from_config(config)?)),
        "gpt_neo" => Ok(Box::new(GptNeo::from_config(config)?)),
        "bloom" => Ok(Box::new(Bloom::from_config(config)?)),
        "char_lstm" => Ok(Box::new(CharLstm::from_config(config)?)),
        other => {
            let thing = format!("{}: model_type", config.path().display());
            let expected = "gpt2, gpt_neo, bloom or char_lstm";
            Err(Error::bad_data(thing, expected, format!("\"{other}\"")))
        }
    }
}

/// The names of the tensors that make up each parameter, all of which the file has in their shapes. Bad data
/// otherwise, and where it has others.
fn check(
    weights: &Weights,
    model: &dyn Model,
    params: &Parameters,
) -> Result<Vec<(Param, Vec<String>)>> {
    // Older files leave out the name of the body, as `GPT2Model` itself saves them.
    let prefixed = weights.names().any(|name| name.starts_with(BODY));
    let in_file = |name: String| match name.strip_prefix(BODY) {
        Some(short) if !prefixed => short.to_string(),
        _ => name,
    };
    let names_of = |name: &str| model.stored(name).names(name).into_iter().map(in_file).collect();
    let names: Vec<(Param, Vec<String>)> =
        params.segments().map(|(param, segment)| (param, names_of(&segment.name))).collect();
    let known: HashSet<&str> =
        names.iter().flat_map(|(_, names)| names.iter().map(String::as_str)).collect();
    for name in weights.names() {
        if !known.contains(name) && !is_mask(name) && !name.ends_with(HEAD) {
            let thing = format!("{}: weight `{name}`", weights.path().display());
            return Err(Error::bad_data(thing, "only weights of the model", "an unknown one"));
        }
    }
    for (param, names) in &names {
        let segment = params.segment(*param);
        let shape = model.stored(&segment.name).shape(&segment.shape);
        names.iter().try_for_each(|name| weights.check_shape(name, &shape))?;
    }
    Ok(names)
}

const BODY: &str = "transformer.";

/// A tied head, which some files hold once more.
const HEAD: &str = "lm_head.weight";

/// Whether a file holds the causal mask under this name, a buffer and no weight.
fn is_mask(name: &str) -> bool {
    [".attn.bias", ".attn.masked_bias", ".attn.attention.bias", ".attn.attention.masked_bias"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// The dtypes of the weights in these files, masks aside, the widest first. Bad data where one is of a
/// dtype that no parameter has.
pub fn stored_dtypes(weights: &Weights) -> Result<Vec<DType>> {
    let mut dtypes = Vec::new();
    for name in weights.names().filter(|name| !is_mask(name)) {
        let dtype = weights.dtype(name)?;
        if !dtypes.contains(&dtype) {
            dtypes.push(dtype);
        }
    }
    dtypes.sort_by_key(|dtype| std::cmp::Reverse(dtype.size()));
    Ok(dtypes)
}

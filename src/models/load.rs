//! A model from a Hugging Face directory: `config.json` tells the family, its weights fill it.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::formats::json::Object;
use crate::formats::weights::Weights;
use crate::models::gpt2::Gpt2;
use crate::models::{Model, Stored};
use crate::tensor::{Device, Parameters, Tensor};
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
    let layout = model.layout()?;
    let layout = if wanted == Use::Training { layout } else { layout.frozen() };
    let mut params = layout.build(dtype, device)?;
    read_weights(dir, &*model, &mut params)?;
    Ok((model, params))
}

/// The model that `config.json` describes, without weights.
pub fn from_config(dir: &Path) -> Result<Box<dyn Model>> {
    let path = dir.join("config.json");
    let config = Object::read(&path)?;
    match config.get::<String>("model_type")?.as_str() {
        "gpt2" => Ok(Box::new(Gpt2::from_config(&config)?)),
        other => {
            let thing = format!("{}: model_type", path.display());
            Err(Error::bad_data(thing, "gpt2", format!("\"{other}\"")))
        }
    }
}

fn read_weights(dir: &Path, model: &dyn Model, params: &mut Parameters) -> Result<()> {
    let weights = Weights::open(dir)?;
    // Older files leave out the name of the body, as `GPT2Model` itself saves them.
    let prefixed = weights.names().any(|name| name.starts_with(BODY));
    let in_file = |name: &str| match name.strip_prefix(BODY) {
        Some(short) if !prefixed => short.to_string(),
        _ => name.to_string(),
    };
    let segments: Vec<_> = params.segments().map(|(id, segment)| (id, segment.clone())).collect();
    for name in weights.names() {
        let known = segments.iter().any(|(_, segment)| in_file(&segment.name) == name);
        if !known && !IGNORED.iter().any(|ending| name.ends_with(ending)) {
            let thing = format!("{}: weight `{name}`", weights.path().display());
            return Err(Error::bad_data(thing, "only weights of the model", "an unknown one"));
        }
    }
    for (param, segment) in &segments {
        let stored = weights.get(&in_file(&segment.name))?;
        let values = match (model.stored(&segment.name), &*segment.shape) {
            (Stored::Transposed, &[rows, cols]) => {
                let values = stored.expect_shape(&[cols, rows])?.to_f32()?;
                let matrix = Tensor::from_slice(&values, &[cols, rows], Device::Cpu)?;
                matrix.transpose(0, 1)?.to_vec::<f32>()?
            }
            (_, shape) => stored.expect_shape(shape)?.to_f32()?,
        };
        params.set(*param, &values)?;
    }
    Ok(())
}

const BODY: &str = "transformer.";

/// What some files hold besides weights: the causal mask as a buffer, and the tied head once more.
const IGNORED: [&str; 3] = [".attn.bias", ".attn.masked_bias", "lm_head.weight"];

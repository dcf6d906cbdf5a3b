//! What a model's directory holds and what it takes to run and to train it: told by the small files and
//! the heads of the large ones, for no weight is read.

mod origin;
mod tokenizer;

pub use origin::{Hub, Origin};
pub use tokenizer::{SpecialToken, TokenizerInfo};

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::formats::weights;
use crate::models::{self, Description, Model, from_config};
use crate::train::plan::{self, Plan};
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Everything that [`examine`] finds.
#[derive(Debug, Serialize)]
pub struct Info {
    pub directory: PathBuf,
    /// `model_type` of the config.
    pub family: String,
    /// The class of `transformers` that opens it.
    pub architecture: Option<String>,
    /// As [`Model::sizes`] has them.
    pub sizes: Map<String, Value>,
    pub parameters: usize,
    pub weights: Part<Weights>,
    pub tokenizer: Part<TokenizerInfo>,
    pub origin: Origin,
    pub memory: Vec<Memory>,
}

/// A part of a model, or what is wrong with it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Part<T> {
    Found(T),
    Missing { missing: String },
}

impl<T> From<Result<T>> for Part<T> {
    fn from(result: Result<T>) -> Self {
        match result {
            Ok(part) => Part::Found(part),
            Err(error) => Part::Missing { missing: error.to_string() },
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Weights {
    pub files: Vec<StoredFile>,
    /// Of the model's weights, the widest first; several where they differ.
    pub dtypes: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct StoredFile {
    pub name: String,
    pub bytes: u64,
}

/// What a piece of work takes.
#[derive(Debug, Serialize)]
pub struct Memory {
    pub work: &'static str,
    /// The storage dtypes for which it is the same.
    pub dtypes: Vec<String>,
    pub rows: usize,
    pub time: usize,
    #[serde(flatten)]
    pub plan: Plan,
}

/// Examines the model in `dir`. What the directory lacks besides its config is told in its place. Bad data
/// where there is no config, or none that copla computes; out of memory where no machine could hold it.
pub fn examine(dir: &Path) -> Result<Info> {
    let description = Description::read(dir);
    // Where the error is not the tokenizer's, the config has it again.
    let make = || match &description {
        Ok(description) => description.model(),
        Err(_) => from_config(dir),
    };
    let tokenizer = match &description {
        Ok(Description { tokenizer: Some(tokenizer), notes, .. }) => {
            Part::Found(TokenizerInfo::new(tokenizer, notes.clone()))
        }
        Ok(_) => Part::Missing { missing: NO_TOKENIZER.into() },
        Err(error) => Part::Missing { missing: error.to_string() },
    };
    let model = make()?;
    let config = model.config();
    let text = |value: &Value| value.as_str().map(str::to_string);
    Ok(Info {
        directory: dir.to_path_buf(),
        family: config.get("model_type").and_then(text).unwrap_or_default(),
        architecture: config.get("architectures").and_then(|names| text(names.get(0)?)),
        sizes: model.sizes().into_iter().map(|(name, size)| (name.to_string(), size)).collect(),
        parameters: model.layout()?.count(),
        weights: stored(dir).into(),
        tokenizer,
        origin: Origin::of(dir, &config),
        memory: memory(make)?,
    })
}

const NO_TOKENIZER: &str = "no tokenizer.json, and no vocab.json with merges.txt";

fn stored(dir: &Path) -> Result<Weights> {
    let weights = weights::Weights::open(dir)?;
    let file = |path: &Path| {
        let about = std::fs::metadata(path);
        let bytes = about.map_err(|error| Error::io(path, "a file of weights", error))?.len();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(StoredFile { name, bytes })
    };
    let files = weights.files().map(file).collect::<Result<_>>()?;
    let dtypes = models::stored_dtypes(&weights)?.iter().map(DType::to_string).collect();
    Ok(Weights { files, dtypes })
}

/// A batch of short rows, as many a text has.
const SHORT: (usize, usize) = (8, 256);
/// How far a model of a long context is followed, and one whose context has no end.
const LONGEST: usize = 1 << 16;
const ENDLESS: usize = 1024;

/// To generate a text that fills the context, and for a step of training on one row as long, and on
/// several short ones where they are shorter.
fn memory(make: impl Fn() -> Result<Box<dyn Model>>) -> Result<Vec<Memory>> {
    let model = make()?;
    let context = model.context().unwrap_or(ENDLESS).min(LONGEST);
    let mut memory = Vec::new();
    for dtypes in [&[DType::F32][..], &[DType::F16, DType::BF16]] {
        let names: Vec<String> = dtypes.iter().map(DType::to_string).collect();
        let row = |work, rows, time, plan| Memory { work, dtypes: names.clone(), rows, time, plan };
        let plan = plan::generation(&*model, dtypes[0], 1, context.max(2) - 1, 1)?;
        memory.push(row("generate", 1, context, plan));
        let short = Some(SHORT).filter(|&(_, time)| time < context);
        for (rows, time) in [(1, context)].into_iter().chain(short) {
            let plan = plan::training(make()?, dtypes[0], rows, time)?;
            memory.push(row("train", rows, time, plan));
        }
    }
    // What is compared stands together.
    memory.sort_by_key(|memory| memory.work);
    Ok(memory)
}

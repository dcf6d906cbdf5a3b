//! Where a model came from, as far as its directory tells.

use crate::error::Result;
use crate::formats::json::Object;
use serde::Serialize;
use std::path::Path;

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Origin {
    /// `_name_or_path` of the config: what its trainer began with.
    pub name_or_path: Option<String>,
    /// The snapshot of a repository, where the directory lies in the Hub's cache.
    pub hub: Option<Hub>,
    /// The version of `transformers` that wrote the config.
    pub transformers_version: Option<String>,
    /// The steps that `trainer_state.json` counts, where a trainer left one.
    pub trained_steps: Option<usize>,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Hub {
    pub repository: String,
    pub commit: String,
}

impl Origin {
    /// Bad data: a file that is there and is not what it should be.
    pub fn of(dir: &Path) -> Result<Self> {
        let config = Object::read(&dir.join("config.json"))?;
        let state = dir.join("trainer_state.json");
        let trained_steps = match state.exists() {
            true => Object::read(&state)?.optional("global_step")?,
            false => None,
        };
        // An empty name is what `transformers` writes for a model made from a config.
        let name = config.optional("_name_or_path")?.filter(|name: &String| !name.is_empty());
        Ok(Origin {
            name_or_path: name,
            hub: Hub::of(dir),
            transformers_version: config.optional("transformers_version")?,
            trained_steps,
        })
    }
}

impl Hub {
    /// Of `.../models--org--name/snapshots/COMMIT`, as `huggingface_hub` lays its cache out.
    fn of(dir: &Path) -> Option<Self> {
        let dir = std::fs::canonicalize(dir).ok()?;
        let commit = dir.file_name()?.to_str()?.to_string();
        let snapshots = dir.parent()?;
        let folder = snapshots.parent()?.file_name()?.to_str()?;
        let name = folder.strip_prefix("models--")?;
        let repository = name.replace("--", "/");
        (snapshots.file_name()? == "snapshots").then_some(Hub { repository, commit })
    }
}

//! Where a model came from, as far as its directory tells.

use crate::formats::json::Object;
use serde::Serialize;
use serde_json::{Map, Value};
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
    /// What cannot be read tells nothing.
    pub(super) fn of(dir: &Path, config: &Map<String, Value>) -> Self {
        let text = |key| config.get(key).and_then(Value::as_str).map(str::to_string);
        let state = Object::read(&dir.join("trainer_state.json")).ok();
        Origin {
            // An empty name is what `transformers` writes for a model made from a config.
            name_or_path: text("_name_or_path").filter(|name| !name.is_empty()),
            hub: Hub::of(dir),
            transformers_version: text("transformers_version"),
            trained_steps: state.and_then(|state| state.get("global_step").ok()),
        }
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

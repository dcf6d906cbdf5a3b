//! The tiny models of `tiny_models.py`, one of every family.

use std::path::{Path, PathBuf};

pub const FAMILIES: [&str; 3] = ["gpt2", "gpt_neo", "bloom"];

/// The model's directory, as `transformers` saved it, with what it computes beside it.
pub fn dir(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{family}_tiny"))
}

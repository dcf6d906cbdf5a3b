//! The tiny models of `tiny_models.py` and `char_lstm.py`, one of every family.

use std::path::{Path, PathBuf};

/// The decoders first.
pub const FAMILIES: [&str; 4] = ["gpt2", "gpt_neo", "bloom", "char_lstm"];

/// The model's directory, as `transformers` or PyTorch saved it, with what they compute beside it.
pub fn dir(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{family}_tiny"))
}

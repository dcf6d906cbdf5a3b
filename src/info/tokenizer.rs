//! The tokenizer of a model, and what its files and the model's say of the special ids.

use crate::text::{Special, Tokenizer};
use serde::Serialize;

#[derive(Debug, Serialize)]
pub struct TokenizerInfo {
    /// The algorithm: BPE, WordPiece, Unigram or WordLevel.
    pub kind: &'static str,
    pub tokens: usize,
    /// The rows that an embedding needs: more than the tokens where the ids have holes.
    pub vocab_size: usize,
    pub special: Vec<SpecialToken>,
    /// What the files disagree on, and what is used.
    pub notes: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct SpecialToken {
    pub name: &'static str,
    pub id: u32,
    pub token: String,
}

impl TokenizerInfo {
    pub(super) fn new(tokenizer: &Tokenizer, notes: Vec<String>) -> Self {
        let special = |special: Special| {
            let id = tokenizer.special(special)?;
            Some(SpecialToken { name: special.token_key(), id, token: tokenizer.token(id)? })
        };
        TokenizerInfo {
            kind: tokenizer.kind(),
            tokens: tokenizer.token_count(),
            vocab_size: tokenizer.vocab_size(),
            special: Special::ALL.into_iter().filter_map(special).collect(),
            notes,
        }
    }
}

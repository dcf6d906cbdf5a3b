//! Documents as token ids, with the counts of their text that the ids no longer tell.

use crate::error::{Error, Result};
use crate::text::{Special, Tokenizer};

/// Documents ready to be evaluated.
#[derive(Clone, Debug)]
pub struct Tokenised {
    /// Of each document, without its end.
    pub ids: Vec<Vec<u32>>,
    /// The id that begins and ends a document.
    pub eos: u32,
    /// Characters of all documents.
    pub chars: usize,
    /// UTF-8 bytes of all documents.
    pub bytes: usize,
    /// Ids of all documents that stand for what the tokenizer cannot spell.
    pub unknown: usize,
}

impl Tokenised {
    /// Encodes whole texts, on all threads.
    pub fn new<S: AsRef<str> + Sync>(tokenizer: &Tokenizer, texts: &[S]) -> Result<Self> {
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let ids = tokenizer.encode_batch(&texts)?;
        Ok(Tokenised {
            unknown: match tokenizer.special(Special::Unk) {
                Some(unknown) => ids.iter().flatten().filter(|&&id| id == unknown).count(),
                None => 0,
            },
            ids,
            eos: tokenizer.eos()?,
            chars: texts.iter().map(|text| text.chars().count()).sum(),
            bytes: texts.iter().map(|text| text.len()).sum(),
        })
    }

    /// Every id has its row in an embedding of `vocab` rows: where it has none, model and tokenizer do
    /// not belong together.
    pub(super) fn check_ids(&self, vocab: usize) -> Result<()> {
        let all = self.ids.iter().flatten().copied().chain([self.eos]);
        match all.max().filter(|&id| id as usize >= vocab) {
            None => Ok(()),
            Some(id) => {
                let expected = format!("ids below the model's {vocab}");
                Err(Error::bad_data("tokenizer", expected, id.to_string()))
            }
        }
    }
}

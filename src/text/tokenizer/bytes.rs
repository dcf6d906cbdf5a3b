//! Tokens as bytes: half a character is a token too, though it is no text.

use std::sync::LazyLock;

use tokenizers::models::ModelWrapper;
use tokenizers::{DecoderWrapper, Model};

use super::{Special, Tokenizer, library};
use crate::Result;

/// GPT-2's byte-level alphabet: the character that stands for each byte. Those that can be seen stand
/// for themselves, the others for the characters from U+0100 on, in order.
static ALPHABET: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut unseen = 0x100..;
    std::array::from_fn(|byte| match byte as u8 {
        byte @ (b'!'..=b'~' | 0xa1..=0xac | 0xae..) => char::from(byte),
        _ => unseen.next().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER),
    })
});

impl Tokenizer {
    /// The bytes that a token adds to a text; `None` of an id that no token has.
    pub fn bytes(&self, id: u32) -> Result<Option<Vec<u8>>> {
        let Some(token) = self.token(id) else { return Ok(None) };
        if self.is_added(id) {
            return Ok(Some(token.into_bytes()));
        }
        let spelt = || {
            let byte = |char| ALPHABET.iter().position(|&one| one == char);
            token.chars().map(|char| byte(char).map(|byte| byte as u8)).collect::<Option<Vec<u8>>>()
        };
        match self.is_byte_level().then(spelt).flatten() {
            Some(bytes) => Ok(Some(bytes)),
            None => Ok(Some(self.decode(&[id])?.into_bytes())),
        }
    }

    /// The ids of bytes within a word, which need be no text: as [`encode`](Tokenizer::encode) gives
    /// them where the bytes are a text that it does not cut into words. `None` where a part of them has
    /// no token, as what is no text for a tokenizer of characters.
    pub fn encode_bytes(&self, bytes: &[u8]) -> Result<Option<Vec<u32>>> {
        let ids = if self.is_byte_level() {
            let spelt: String = bytes.iter().map(|&byte| ALPHABET[usize::from(byte)]).collect();
            let tokens = self.inner.get_model().tokenize(&spelt);
            let tokens = tokens.map_err(|error| library("encoding bytes", "ids", error))?;
            // What the vocabulary lacks is left out of it.
            let found: usize = tokens.iter().map(|token| token.value.chars().count()).sum();
            if found < bytes.len() {
                return Ok(None);
            }
            tokens.iter().map(|token| token.id).collect()
        } else {
            match std::str::from_utf8(bytes) {
                Ok(text) => self.encode(text)?,
                Err(_) => return Ok(None),
            }
        };
        let unknown = self.special(Special::Unk);
        Ok(Some(ids).filter(|ids: &Vec<u32>| ids.iter().all(|&id| Some(id) != unknown)))
    }

    /// Whether its tokens are spelt in [`ALPHABET`].
    fn is_byte_level(&self) -> bool {
        let decoder = self.inner.get_decoder();
        matches!(self.inner.get_model(), ModelWrapper::BPE(_))
            && matches!(decoder, Some(DecoderWrapper::ByteLevel(_)))
    }
}

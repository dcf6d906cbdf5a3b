//! Ids to text as they come, never half a character: a token may end within one.

use crate::error::Result;
use crate::text::Tokenizer;

/// The text of a sequence of ids, given out in whole characters.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// Ids whose text ends within a character.
    pending: Vec<u32>,
}

impl<'a> TextStream<'a> {
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        TextStream { tokenizer, pending: Vec::new() }
    }

    /// The text that `id` completes; empty where it ends within a character.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.pending.push(id);
        let text = self.tokenizer.decode(&self.pending)?;
        if text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.pending.clear();
        Ok(text)
    }

    /// What is left: the bytes of a character that was never completed appear as U+FFFD.
    pub fn finish(self) -> Result<String> {
        self.tokenizer.decode(&self.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::BpeOptions;

    #[test]
    fn characters_come_whole_and_nothing_is_lost() {
        // Too few merges for the moon's four bytes to be one token.
        let tokenizer =
            Tokenizer::train_bpe(&["la niña canta, la niña llora"], &BpeOptions::new(262)).unwrap();
        let text = "¡la niña 🌙 mañana!";
        let ids = tokenizer.encode(text).unwrap();
        let mut stream = TextStream::new(&tokenizer);
        let pieces: Vec<String> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        assert!(pieces.iter().any(String::is_empty), "no character was cut by a token");
        assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')), "{pieces:?}");
        assert_eq!(pieces.concat() + &stream.finish().unwrap(), text);
        // Cut within the moon, what is missing shows at the end and not before.
        let moon = tokenizer.encode("🌙").unwrap();
        let mut stream = TextStream::new(&tokenizer);
        assert_eq!(stream.push(moon[0]).unwrap(), "");
        assert_eq!(stream.finish().unwrap(), "\u{fffd}");
    }
}

//! How well a tokenizer fits a text: the fewer tokens a word costs, the more text a context holds.
//!
//! Rust et al., "How Good is Your Tokenizer?" (2021), section 3: *fertility* is the mean number of
//! tokens of a word; here also the share of words that are one token, and how the letters fare that
//! Spanish has and English has not.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::text::Tokenizer;

/// The characters that a vocabulary made for English is likely to cut into bytes.
pub const SPANISH: [char; 16] =
    ['á', 'é', 'í', 'ó', 'ú', 'ü', 'ñ', 'Á', 'É', 'Í', 'Ó', 'Ú', 'Ñ', '¿', '¡', '—'];

/// One tokenizer on one text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fertility {
    pub vocab_size: usize,
    /// Without the documents' ends.
    pub tokens: usize,
    /// Unicode scalar values.
    pub chars: usize,
    /// Runs of letters and digits, and of the marks within a word (`l'amor`, `bien-amado`).
    pub words: usize,
    /// Shares of the vocabulary that the text uses, in [0, 1].
    pub vocabulary_used: f64,
    /// Tokens of a word, with the space before it: the mean over running words.
    pub tokens_per_word: f64,
    /// The same over the words with one of [`SPANISH`]; 0 where there is none.
    pub tokens_per_spanish_word: f64,
    /// Share of running words that are one token, in [0, 1].
    pub whole_words: f64,
    /// What each of [`SPANISH`] costs by itself, in tokens: more than one is a character cut in half.
    pub tokens_of: Vec<(char, usize)>,
}

impl Fertility {
    /// Of `tokenizer` on whole texts. Bad data: texts without a word.
    pub fn measure<S: AsRef<str> + Sync>(tokenizer: &Tokenizer, texts: &[S]) -> Result<Self> {
        let documents = tokenizer.encode_batch(texts)?;
        let mut used = vec![false; tokenizer.vocab_size()];
        for &id in documents.iter().flatten() {
            used[id as usize] = true;
        }
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for word in texts.iter().flat_map(|text| words(text.as_ref())) {
            *counts.entry(word).or_default() += 1;
        }
        let counts: Vec<(&str, usize)> = counts.into_iter().collect();
        let lengths =
            counts.par_iter().map(|(word, _)| Ok(tokenizer.encode(&format!(" {word}"))?.len()));
        let lengths = lengths.collect::<Result<Vec<usize>>>()?;
        let (mut all, mut spanish, mut whole) = (Mean::default(), Mean::default(), 0);
        for (&(word, count), &length) in counts.iter().zip(&lengths) {
            all.add(length, count);
            if word.contains(SPANISH) {
                spanish.add(length, count);
            }
            whole += if length == 1 { count } else { 0 };
        }
        if all.count == 0 {
            return Err(Error::bad_data("the text", "at least one word", "none"));
        }
        let alone = |char: char| Ok((char, tokenizer.encode(&char.to_string())?.len()));
        Ok(Fertility {
            vocab_size: used.len(),
            tokens: documents.iter().map(Vec::len).sum(),
            chars: texts.iter().map(|text| text.as_ref().chars().count()).sum(),
            words: all.count,
            vocabulary_used: used.iter().filter(|&&used| used).count() as f64 / used.len() as f64,
            tokens_per_word: all.value(),
            tokens_per_spanish_word: spanish.value(),
            whole_words: whole as f64 / all.count as f64,
            tokens_of: SPANISH.into_iter().map(alone).collect::<Result<_>>()?,
        })
    }

    pub fn chars_per_token(&self) -> f64 {
        self.chars as f64 / self.tokens.max(1) as f64
    }

    /// Which of [`SPANISH`] are cut into several tokens.
    pub fn cut(&self) -> String {
        self.tokens_of.iter().filter(|(_, tokens)| *tokens > 1).map(|(char, _)| char).collect()
    }
}

/// The mean of lengths that come `count` times; 0 of none.
#[derive(Default)]
struct Mean {
    sum: usize,
    count: usize,
}

impl Mean {
    fn add(&mut self, length: usize, count: usize) {
        self.sum += length * count;
        self.count += count;
    }

    fn value(&self) -> f64 {
        self.sum as f64 / self.count.max(1) as f64
    }
}

/// The words of a text, without the punctuation around them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let outside = |char: char| !char.is_alphanumeric();
    text.split(|char: char| char.is_whitespace() || matches!(char, '—' | '…' | '/'))
        .map(move |word| word.trim_matches(outside))
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::BpeOptions;

    #[test]
    fn words_are_told_from_what_stands_around_them() {
        let found: Vec<&str> =
            words("¿Qué? —dijo—, «l'amor» del bien-amado…; 3,5 y\nnada. ¡—!").collect();
        assert_eq!(found, ["Qué", "dijo", "l'amor", "del", "bien-amado", "3,5", "y", "nada"]);
    }

    #[test]
    fn bytes_cost_what_bytes_cost() {
        // Nothing comes twice, so every byte is a token.
        let tokenizer = Tokenizer::train_bpe(&["x"], &BpeOptions::new(257)).unwrap();
        let found = Fertility::measure(&tokenizer, &["año sí", "sí"]).unwrap();
        assert_eq!((found.words, found.chars, found.tokens), (3, 8, 11));
        // " año" is 5 bytes, " sí" is 4.
        assert_eq!(found.tokens_per_word, 13.0 / 3.0);
        assert_eq!(found.tokens_per_spanish_word, 13.0 / 3.0);
        assert_eq!((found.whole_words, found.chars_per_token()), (0.0, 8.0 / 11.0));
        assert_eq!(found.cut(), String::from_iter(SPANISH));
        // a ñ(2) o space s í(2): the two bytes of í begin as those of ñ do.
        assert_eq!(found.vocabulary_used, 7.0 / 257.0);
    }

    #[test]
    fn what_was_learnt_is_whole() {
        let text = "la niña canta y la niña calla, ¿canta la niña?";
        // Alone on their lines, so that the letter is a token by itself.
        let tokenizer = Tokenizer::train_bpe(&[text, "ñ\nñ\nñ\nñ"], &BpeOptions::new(300)).unwrap();
        let found = Fertility::measure(&tokenizer, &[text]).unwrap();
        assert!(found.whole_words >= 6.0 / 10.0, "{found:?}");
        assert!(!found.cut().contains('ñ') && found.cut().contains('ü'), "{}", found.cut());
        assert!(found.tokens_per_spanish_word < 1.5, "{found:?}");
        let none = Fertility::measure(&tokenizer, &["¿—?", ""]).err().unwrap();
        assert!(none.to_string().contains("at least one word"));
    }
}

//! A tokenizer of single characters, learnt from a text: what the character LSTM reads.

use std::collections::HashMap;

use tokenizers::decoders::fuse::Fuse;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{AddedToken, Result, Tokenizer as Inner};

/// The token of every character that the text did not have.
pub(super) const UNKNOWN: &str = "<unk>";

/// One token for each character (Unicode scalar value) of `texts`: `end_of_text` is 0, [`UNKNOWN`] 1, then
/// the characters by falling frequency, equals by code point.
///
/// To the library it is a BPE that merges nothing: one look-up for each character, however long the text.
pub(super) fn learn<S: AsRef<str>>(texts: &[S], end_of_text: &str) -> Result<Inner> {
    let mut counts: HashMap<char, usize> = HashMap::new();
    for char in texts.iter().flat_map(|text| text.as_ref().chars()) {
        *counts.entry(char).or_default() += 1;
    }
    let mut chars: Vec<(char, usize)> = counts.into_iter().collect();
    chars.sort_by_key(|&(char, count)| (std::cmp::Reverse(count), char));
    let special = [end_of_text, UNKNOWN];
    let tokens = special.map(String::from).into_iter().chain(chars.iter().map(|c| c.0.into()));
    let vocab: Vocab = tokens.zip(0..).collect();
    let bpe =
        BPE::builder().vocab_and_merges(vocab, Vec::new()).unk_token(UNKNOWN.into()).build()?;
    let mut inner = Inner::new(bpe);
    inner.with_decoder(Some(Fuse::new()));
    inner.add_special_tokens(&special.map(|token| AddedToken::from(token, true)));
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use crate::text::{Special, Tokenizer};

    const TEXTS: [&str; 2] = ["la niña, la niña…", "¡ay\tluna!\r\n🌙\u{301}"];

    #[test]
    fn the_frequent_ones_come_first_and_equals_by_code_point() {
        let tokenizer = Tokenizer::train_chars(&TEXTS).unwrap();
        // a 6 times, space, l and n 3, i and ñ 2, then once each.
        let order = "a lni\u{f1}\t\n\r!,uy\u{a1}\u{301}\u{2026}\u{1f319}";
        let ids = tokenizer.encode(order).unwrap();
        assert_eq!(tokenizer.vocab_size(), 2 + order.chars().count());
        assert_eq!(ids, (2..tokenizer.vocab_size() as u32).collect::<Vec<_>>());
        assert_eq!((tokenizer.eos().unwrap(), tokenizer.special(Special::Unk)), (0, Some(1)));
    }

    #[test]
    fn known_text_comes_back_and_unknown_characters_are_one_token_each() {
        let dir = tempfile::tempdir().unwrap();
        let trained = Tokenizer::train_chars(&TEXTS).unwrap();
        trained.save(dir.path()).unwrap();
        for tokenizer in [trained, Tokenizer::load(dir.path()).unwrap()] {
            for text in TEXTS {
                let ids = tokenizer.encode(text).unwrap();
                assert_eq!(ids.len(), text.chars().count());
                assert_eq!(tokenizer.decode(&ids).unwrap(), text);
            }
            let ids = tokenizer.encode("la Lüna").unwrap();
            let unknown: Vec<_> = ids.iter().map(|&id| id == 1).collect();
            assert_eq!(unknown, [false, false, false, true, true, false, false]);
            // What looks like a special token is text; a prompt begins as documents do.
            assert_eq!(tokenizer.encode("<unk>").unwrap().len(), 5);
            assert_eq!(tokenizer.encode("<|endoftext|>").unwrap().len(), 13);
            assert_eq!(tokenizer.encode_prompt("la").unwrap()[0], 0);
            assert_eq!((tokenizer.eos().unwrap(), tokenizer.special(Special::Unk)), (0, Some(1)));
        }
    }

    /// One piece of hundreds of thousands of characters, which a pre-tokenizer would have cut: were each
    /// merge looked for again from its beginning, this would take hours.
    #[test]
    fn a_long_text_is_a_token_for_each_character() {
        let text = TEXTS.concat().repeat(4000);
        let tokenizer = Tokenizer::train_chars(&[&text]).unwrap();
        let ids = tokenizer.encode(&text).unwrap();
        assert_eq!(ids.len(), text.chars().count());
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
}

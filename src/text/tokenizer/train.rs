//! A tokenizer learnt from texts: byte-level BPE, or a token for every character.

use std::collections::HashSet;

use serde_json::{Map, Value};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Model, Tokenizer as Inner};

use super::{END_OF_TEXT, Tokenizer, byte_level, library, surround_prompts};
use crate::text::characters;
use crate::{Error, Result};

/// The tokens of single bytes, which are there before anything is learnt.
const BYTES: usize = 256;
/// Several times the largest in use; the trainer reserves memory for all of it at once.
const LARGEST_VOCABULARY: usize = 1 << 20;

/// What a byte-level BPE is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpeOptions {
    /// Tokens at most, those of bytes and the special ones among them.
    pub vocab_size: usize,
    /// How often two tokens must stand side by side to become one.
    pub min_frequency: u64,
    /// Tokens that no text becomes, besides `<|endoftext|>`: their ids follow its own, 0.
    pub special_tokens: Vec<String>,
}

impl BpeOptions {
    /// What stands twice may become one, and `<|endoftext|>` alone is special.
    pub fn new(vocab_size: usize) -> Self {
        BpeOptions { vocab_size, min_frequency: 2, special_tokens: Vec::new() }
    }

    /// The usage errors of [`Tokenizer::train_bpe`] that need no texts to be found.
    pub fn check(&self) -> Result<()> {
        let mut seen = HashSet::from([END_OF_TEXT]);
        for token in &self.special_tokens {
            if token.is_empty() || !seen.insert(token) {
                let expected =
                    format!("tokens of at least a character, none twice or {END_OF_TEXT}");
                return Err(Error::usage("special token", expected, format!("{token:?}")));
            }
        }
        let smallest = BYTES + seen.len();
        if !(smallest..=LARGEST_VOCABULARY).contains(&self.vocab_size) {
            let more = match self.special_tokens.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let expected = format!(
                "at least {smallest} ({BYTES} bytes, {END_OF_TEXT}{more}) and at most {LARGEST_VOCABULARY}"
            );
            return Err(Error::usage("vocabulary size", expected, self.vocab_size.to_string()));
        }
        if self.min_frequency == 0 {
            return Err(Error::usage("minimum frequency", "at least 1", "0"));
        }
        Ok(())
    }
}

impl Tokenizer {
    /// A byte-level BPE (Sennrich et al. 2016; on bytes: Radford et al. 2019) learnt from `texts`:
    /// GPT-2's pre-tokenizer without a prefix space, all 256 bytes, and `<|endoftext|>` as id 0. Pairs
    /// that are rarer than asked for are not merged, so a small corpus may give fewer tokens than asked
    /// for.
    ///
    /// The same texts give the same tokenizer, on any number of threads. Usage error: no room for the
    /// bytes and the special tokens or more than 2^20 tokens, a special token that is empty, comes
    /// twice or is one that texts become, a minimum frequency of 0.
    pub fn train_bpe<S: AsRef<str> + Sync>(texts: &[S], options: &BpeOptions) -> Result<Self> {
        options.check()?;
        let more = options.special_tokens.iter().map(String::as_str);
        let special = [END_OF_TEXT].into_iter().chain(more);
        let mut trainer: TrainerWrapper = BpeTrainer::builder()
            .vocab_size(options.vocab_size)
            .min_frequency(options.min_frequency)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(special.map(|token| AddedToken::from(token, true)).collect())
            .build()
            .into();
        let mut inner = byte_level(BPE::default(), false);
        inner
            .train(&mut trainer, texts.iter().map(AsRef::as_ref))
            .map_err(|error| library("training the tokenizer", "a vocabulary", error))?;
        for token in &options.special_tokens {
            if becomes(inner.get_model(), token) {
                let expected = "a token that no text becomes, such as <pad>";
                return Err(Error::usage("special token", expected, format!("{token:?}")));
            }
        }
        let mut class = vec![
            ("tokenizer_class".to_string(), "GPT2TokenizerFast".into()),
            ("add_prefix_space".to_string(), false.into()),
        ];
        if !options.special_tokens.is_empty() {
            let tokens = options.special_tokens.clone().into();
            class.push(("additional_special_tokens".to_string(), tokens));
        }
        Self::trained(inner, class, END_OF_TEXT)
    }

    /// A token for every character of `texts`, whichever they are, and one for all others
    /// ([`Special::Unk`](super::Special::Unk)), which decoding cannot undo. `<|endoftext|>` is id 0, `<unk>` 1; frequent characters
    /// come first. The same texts give the same tokenizer.
    pub fn train_chars<S: AsRef<str>>(texts: &[S]) -> Result<Self> {
        let inner = characters::learn(texts, END_OF_TEXT)
            .map_err(|error| library("training the tokenizer", "a vocabulary", error))?;
        let class = vec![("tokenizer_class".to_string(), "PreTrainedTokenizerFast".into())];
        Self::trained(inner, class, characters::UNKNOWN)
    }

    /// A tokenizer whose texts begin and end with `<|endoftext|>`, id 0.
    fn trained(mut inner: Inner, class: Vec<(String, Value)>, unknown: &str) -> Result<Self> {
        surround_prompts(&mut inner, Some(0), None)?;
        let mut config = Map::from_iter(class);
        // transformers' default joins punctuation to the word before it; decoding must give the
        // text.
        config.insert("clean_up_tokenization_spaces".into(), false.into());
        for (key, token) in
            [("bos_token", END_OF_TEXT), ("eos_token", END_OF_TEXT), ("unk_token", unknown)]
        {
            config.insert(key.into(), token.into());
        }
        Self::new(inner, config, "the trained tokenizer")
    }
}

/// Whether merges lead to `token`, so that a text may have its id.
fn becomes(model: &ModelWrapper, token: &str) -> bool {
    let id = model.token_to_id(token);
    model.tokenize(token).is_ok_and(|found| matches!(&found[..], [one] if Some(one.id) == id))
}

//! Text to ids and back: a thin wrapper over the `tokenizers` library. A document is never mistaken for
//! a special token; a prompt may name one.

mod bytes;
mod files;
mod special;
#[cfg(test)]
mod tests;
mod train;

pub use special::Special;
pub use train::BpeOptions;

use std::sync::OnceLock;

use rayon::prelude::*;
use serde_json::{Map, Value};
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer as Inner};

use crate::{Error, Result};

/// What GPT-2's tokenizer class calls the end of a text where its files do not say.
const END_OF_TEXT: &str = "<|endoftext|>";

/// A tokenizer and its special ids.
pub struct Tokenizer {
    /// Reads a special token in a text as text.
    inner: Inner,
    /// Reads it as the token; made for the first prompt that names one.
    parsing: OnceLock<Inner>,
    /// `tokenizer_config.json`, kept whole so that saving loses nothing.
    config: Map<String, Value>,
    /// In the order of [`Special::ALL`].
    special: [Option<u32>; 4],
    vocab_size: usize,
}

impl Tokenizer {
    /// `inner` with the special tokens that `config` names.
    fn new(mut inner: Inner, config: Map<String, Value>, file: &str) -> Result<Self> {
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| library(file, "a tokenizer that can encode without limit", error))?;
        // A poem that quotes "<|endoftext|>" is text to the end.
        inner.set_encode_special_tokens(true);
        let id = |special: Special| {
            inner.token_to_id(special::content(config.get(special.token_key())?)?)
        };
        let special = Special::ALL.map(id);
        let vocab_size = inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        Ok(Tokenizer { inner, parsing: OnceLock::new(), config, special, vocab_size })
    }

    /// The ids of `text`: never a special token, and none added at either end.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| library("encoding a text", "ids", error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids that a model continues, the same as `transformers`' `tokenizer(text)`: special tokens that
    /// `text` names are those tokens (`Hola.<|endoftext|>`, as a DialoGPT is asked), and the ones that
    /// the files ask for stand before and after. A tokenizer trained here puts the end of text before
    /// it, since documents begin with it in training; GPT-2's adds nothing.
    ///
    /// Without any token, the end of text, after which a new one begins. Bad data: there is none.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder().values();
        let named = added.filter(|token| token.special).any(|token| text.contains(&token.content));
        let inner = if named { self.parsing.get_or_init(|| self.parsing()) } else { &self.inner };
        let encoding = inner
            .encode_fast(text, true)
            .map_err(|error| library("encoding a prompt", "ids", error))?;
        match encoding.get_ids() {
            [] => Ok(vec![self.eos()?]),
            ids => Ok(ids.to_vec()),
        }
    }

    fn parsing(&self) -> Inner {
        let mut inner = self.inner.clone();
        inner.set_encode_special_tokens(false);
        inner
    }

    /// [`Tokenizer::encode`] of each text, in order, on all threads.
    pub fn encode_batch<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<Vec<Vec<u32>>> {
        texts.par_iter().map(|text| self.encode(text.as_ref())).collect()
    }

    /// The text of `ids`. Special tokens appear as they are written; bytes that are no UTF-8 (a
    /// character cut in half) as U+FFFD. A hole in the vocabulary has no text. Bad data: an id beyond it.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            let expected = format!("an id below the tokenizer's {}", self.vocab_size);
            return Err(Error::bad_data("token id", expected, id.to_string()));
        }
        self.inner.decode(ids, false).map_err(|error| library("decoding ids", "a text", error))
    }

    /// The rows that an embedding needs: the largest id and one.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// How many tokens there are, added ones included.
    pub fn token_count(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The algorithm by its name in `tokenizer.json`.
    pub fn kind(&self) -> &'static str {
        match self.inner.get_model() {
            ModelWrapper::BPE(_) => "BPE",
            ModelWrapper::WordPiece(_) => "WordPiece",
            ModelWrapper::WordLevel(_) => "WordLevel",
            ModelWrapper::Unigram(_) => "Unigram",
        }
    }

    /// The token of an id as the vocabulary writes it, if it has one.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of a token as the vocabulary writes it, if there is such a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether an id's token stands beside the vocabulary that was learnt, as special ones do.
    pub fn is_added(&self, id: u32) -> bool {
        self.inner.get_added_vocabulary().get_added_tokens_decoder().contains_key(&id)
    }

    /// `tokenizer.json` on one line: with the special ids, all that encoding depends on.
    pub fn to_json(&self) -> Result<String> {
        self.inner.to_string(false).map_err(|error| library("the tokenizer", "JSON", error))
    }

    /// The id that ends (and, as input, begins) every document. Bad data: the files name none.
    pub fn eos(&self) -> Result<u32> {
        self.special(Special::Eos).ok_or_else(|| {
            let expected = "an end-of-text token (eos_token in tokenizer_config.json)";
            Error::bad_data("tokenizer", expected, "none")
        })
    }

    pub fn special(&self, special: Special) -> Option<u32> {
        self.special[special as usize]
    }

    /// Makes the token `id` a special one, for this tokenizer and for what it saves. Bad data: no token
    /// has this id.
    pub fn set_special(&mut self, which: Special, id: u32) -> Result<()> {
        let token = self
            .token(id)
            .ok_or_else(|| Error::bad_data(which.id_key(), "the id of a token", id.to_string()))?;
        special::add_special(&mut self.inner, &[AddedToken::from(token.as_str(), true)]);
        self.parsing = OnceLock::new();
        self.config.insert(which.token_key().into(), token.into());
        self.special[which as usize] = Some(id);
        Ok(())
    }
}

/// From now on `bos` stands before a prompt and `eos` after it, where there is one: by a template in
/// `tokenizer.json`, where `transformers` reads it too.
fn surround_prompts(inner: &mut Inner, bos: Option<u32>, eos: Option<u32>) -> Result<()> {
    let token = |id: u32| Some((inner.id_to_token(id)?, id));
    let (bos, eos) = (bos.and_then(token), eos.and_then(token));
    let name = |token: &Option<(String, u32)>| token.as_ref().map(|(name, _)| name.clone());
    let pieces = [name(&bos), Some("$A".to_string()), name(&eos)].into_iter().flatten();
    let mut tokens: Vec<(String, u32)> = [bos, eos].into_iter().flatten().collect();
    tokens.dedup();
    let template = TemplateProcessing::builder()
        .try_single(pieces.collect::<Vec<_>>())
        .map_err(tokenizers::Error::from)
        .and_then(|builder| Ok(builder.special_tokens(tokens).build()?))
        .map_err(|error| library("the tokenizer", "tokens that a template can name", error))?;
    inner.with_post_processor(Some(template));
    Ok(())
}

/// `model` between GPT-2's byte-level pre-tokenizer and decoder.
fn byte_level(model: BPE, prefix_space: bool) -> Inner {
    let mut inner = Inner::new(model);
    inner.with_pre_tokenizer(Some(ByteLevel::new(prefix_space, true, true)));
    inner.with_decoder(Some(ByteLevel::default()));
    inner
}

fn library(thing: impl ToString, expected: &str, error: tokenizers::Error) -> Error {
    Error::bad_data(thing.to_string(), expected, error.to_string()).because(error)
}

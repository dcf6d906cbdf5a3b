//! The special tokens by their names in the files: which token each is, in words and as an id.

use serde_json::{Map, Value};
use tokenizers::{AddedToken, Tokenizer as Inner};

use super::END_OF_TEXT;

/// A special token that a model's files name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Begins a text.
    Bos,
    /// Ends a text.
    Eos,
    /// Stands for what the vocabulary lacks.
    Unk,
    /// Fills up a batch.
    Pad,
}

impl Special {
    pub const ALL: [Special; 4] = [Special::Bos, Special::Eos, Special::Unk, Special::Pad];

    /// Its key in `tokenizer_config.json` and `special_tokens_map.json`.
    pub fn token_key(self) -> &'static str {
        match self {
            Special::Bos => "bos_token",
            Special::Eos => "eos_token",
            Special::Unk => "unk_token",
            Special::Pad => "pad_token",
        }
    }

    /// Its key in `config.json` and `generation_config.json`.
    pub fn id_key(self) -> &'static str {
        match self {
            Special::Bos => "bos_token_id",
            Special::Eos => "eos_token_id",
            Special::Unk => "unk_token_id",
            Special::Pad => "pad_token_id",
        }
    }

    /// What `transformers`' tokenizer class takes it for where no file names it.
    pub(super) fn class_default(self, class: &str) -> Option<&'static str> {
        match (class.trim_end_matches("Fast"), self) {
            ("GPT2Tokenizer", Special::Pad) => None,
            ("GPT2Tokenizer", _) => Some(END_OF_TEXT),
            ("BloomTokenizer", Special::Bos) => Some("<s>"),
            ("BloomTokenizer", Special::Eos) => Some("</s>"),
            ("BloomTokenizer", Special::Unk) => Some("<unk>"),
            ("BloomTokenizer", Special::Pad) => Some("<pad>"),
            _ => None,
        }
    }
}

/// Where a config names further special tokens.
pub(super) const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

/// In the order in which `transformers` gives those ids that the vocabulary lacks.
const FIRST: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The tokens that a config names as special: under `bos_token` and its like, and in [`LISTS`].
pub(super) fn named(config: &Map<String, Value>) -> Vec<AddedToken> {
    let first = FIRST.iter().filter_map(|&key| config.get(key));
    let is_other = |key: &str| key.ends_with("_token") && !FIRST.contains(&key);
    let others = config.iter().filter(|(key, _)| is_other(key)).map(|(_, value)| value);
    let listed = LISTS.iter().filter_map(|&key| config.get(key)?.as_array()).flatten();
    first.chain(others).chain(listed).filter_map(|value| added_token(value, true)).collect()
}

/// Makes `tokens` special; how one is found in a text remains what was said where it was added.
pub(super) fn add_special(inner: &mut Inner, tokens: &[AddedToken]) {
    let said = inner.get_added_tokens_decoder();
    let as_said = |token: &AddedToken| match said.values().find(|t| t.content == token.content) {
        Some(said) => said.clone().special(true),
        None => token.clone(),
    };
    inner.add_special_tokens(&tokens.iter().map(as_said).collect::<Vec<_>>());
}

/// A token as the files write it: a string, or an object with its `content` and how it is found in a
/// text. `None` where it is neither (`null`, or the flag `add_bos_token`).
pub(super) fn added_token(value: &Value, special: bool) -> Option<AddedToken> {
    let flag = |key: &str, default| value.get(key).and_then(Value::as_bool).unwrap_or(default);
    let special = special || flag("special", false);
    Some(
        AddedToken::from(content(value)?, special)
            .single_word(flag("single_word", false))
            .lstrip(flag("lstrip", false))
            .rstrip(flag("rstrip", false))
            .normalized(flag("normalized", !special)),
    )
}

/// The words of a token in a config.
pub(super) fn content(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str()).filter(|content| !content.is_empty())
}

/// Makes a token in a config its words alone: all else of it stands in `tokenizer.json`.
pub(super) fn to_words(value: &mut Value) {
    if let Some(words) = content(value).map(str::to_string) {
        *value = words.into();
    }
}

//! The files of a tokenizer, in every form that `transformers` has given them, in and out.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{AddedToken, Tokenizer as Inner};

use super::special::{LISTS, Special, add_special, added_token, named, to_words};
use super::{Tokenizer, byte_level, library, surround_prompts};
use crate::formats::atomic;
use crate::formats::json::{self, Object};
use crate::formats::mapped::refuse_pointer;
use crate::{Error, Result};

const TOKENIZER: &str = "tokenizer.json";
pub(super) const CONFIG: &str = "tokenizer_config.json";
pub(super) const SPECIAL_TOKENS: &str = "special_tokens_map.json";
const ADDED_TOKENS: &str = "added_tokens.json";

impl Tokenizer {
    /// Reads an HF directory: `tokenizer.json`, else `vocab.json` with `merges.txt` (GPT-2's
    /// byte-level BPE); then `tokenizer_config.json`, `special_tokens_map.json` and
    /// `added_tokens.json`, in the order of `transformers`. Truncation and padding that the files ask
    /// for are dropped: nothing is shortened in silence.
    ///
    /// A special token that a file names, or that the tokenizer's class names where no file does, gets
    /// the next id where the vocabulary lacks it, as in `transformers`.
    ///
    /// Bad data: files missing or broken.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        Self::find(dir)?.ok_or_else(|| {
            let expected = "tokenizer.json, or vocab.json and merges.txt";
            Error::bad_data(dir.display().to_string(), expected, "neither")
        })
    }

    /// [`Tokenizer::load`], and `None` where the directory has no tokenizer.
    pub fn find(dir: impl AsRef<Path>) -> Result<Option<Self>> {
        let dir = dir.as_ref();
        let mut config = object(dir.join(CONFIG))?;
        // Newer files tell the added tokens in the config, and then it is the whole truth.
        if !config.contains_key("added_tokens_decoder") {
            let special = object(dir.join(SPECIAL_TOKENS))?;
            config.extend(special.into_iter().filter(|(_, token)| !token.is_null()));
        }
        let added = added_tokens(dir, &config)?;
        let class = class(dir, &config)?;
        let flag = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
        let prefix_space = flag("add_prefix_space");
        // A tokenizer.json has its template in it.
        let is_whole = dir.join(TOKENIZER).exists();
        let [begins, ends] = ["add_bos_token", "add_eos_token"].map(|key| flag(key) && !is_whole);
        let Some(mut inner) = without_config(dir, &class, &added, prefix_space)? else {
            return Ok(None);
        };
        inner.add_tokens(&added.into_values().collect::<Vec<_>>());
        for special in Special::ALL {
            if let Some(token) = special.class_default(&class) {
                config.entry(special.token_key()).or_insert_with(|| token.into());
            }
        }
        add_special(&mut inner, &named(&config));
        // Saved with another model, it is still of its class, and not of that model's.
        let class = if class.is_empty() { "PreTrainedTokenizerFast".to_string() } else { class };
        config.entry("tokenizer_class").or_insert_with(|| class.into());
        let mut tokenizer = Self::new(inner, config, &dir.display().to_string())?;
        if begins || ends {
            let [bos, eos] = [Special::Bos, Special::Eos].map(|s| tokenizer.special(s));
            let (bos, eos) = (bos.filter(|_| begins), eos.filter(|_| ends));
            surround_prompts(&mut tokenizer.inner, bos, eos)?;
        }
        Ok(Some(tokenizer))
    }

    /// Writes `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json` into `dir`
    /// (made if missing): what `transformers.AutoTokenizer.from_pretrained(dir)` opens unchanged.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<()> {
        let dir = dir.as_ref();
        std::fs::create_dir_all(dir)
            .map_err(|error| Error::io(dir, "a directory to save to", error))?;
        let tokenizer =
            self.inner.to_string(true).map_err(|error| library("the tokenizer", "JSON", error))?;
        let mut config = self.config.clone();
        // tokenizer.json has them, and the words below are all that the small files need.
        config.remove("added_tokens_decoder");
        for (key, value) in &mut config {
            let listed = value.as_array_mut().filter(|_| LISTS.contains(&key.as_str()));
            for token in listed.into_iter().flatten() {
                to_words(token);
            }
            if key.ends_with("_token") {
                to_words(value);
            }
        }
        let special: Map<String, Value> = config
            .iter()
            .filter(|(key, value)| key.ends_with("_token") && value.is_string())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        atomic::write_file(&dir.join(TOKENIZER), |file| file.put(tokenizer.as_bytes()))?;
        json::write(&dir.join(CONFIG), &config)?;
        json::write(&dir.join(SPECIAL_TOKENS), &special)
    }
}

/// What the large files make: `tokenizer.json`, else `vocab.json` with `merges.txt`; `None` without.
fn without_config(
    dir: &Path,
    class: &str,
    added: &BTreeMap<u32, AddedToken>,
    prefix_space: bool,
) -> Result<Option<Inner>> {
    let (whole, vocab, merges) =
        (dir.join(TOKENIZER), dir.join("vocab.json"), dir.join("merges.txt"));
    if whole.exists() {
        check_for_library(&whole)?;
        let mut inner: Inner = read(&whole)?
            .parse()
            .map_err(|error| library(whole.display(), "a tokenizer", error))?;
        let own = inner.get_pre_tokenizer();
        if let Some(PreTokenizerWrapper::ByteLevel(own)) = own.cloned()
            && class.starts_with("GPT2Tokenizer")
        {
            // What GPT-2's class says goes before what the file says.
            inner.with_pre_tokenizer(Some(own.add_prefix_space(prefix_space)));
        }
        return Ok(Some(inner));
    }
    match vocab.exists() && merges.exists() {
        true => Ok(Some(byte_level(bpe(&vocab, &merges, added)?, prefix_space))),
        false => Ok(None),
    }
}

/// Refuses a `tokenizer.json` at which the library would panic: one that is no JSON within its decoder, and
/// one whose template has a token that it does not define, or a second text where there is one.
fn check_for_library(path: &Path) -> Result<()> {
    fn undefined(processor: &Value) -> Option<&str> {
        let list = |key: &str| processor[key].as_array().into_iter().flatten();
        let defined = |id: &str| processor["special_tokens"].get(id).is_some();
        let second = list("single")
            .find_map(|piece| piece["Sequence"]["id"].as_str().filter(|&id| id == "B"));
        let of_template = list("single")
            .chain(list("pair"))
            .filter_map(|piece| piece["SpecialToken"]["id"].as_str())
            .find(|id| !defined(id));
        second.or(of_template).or_else(|| list("processors").find_map(undefined))
    }
    let file = Object::read(path)?;
    match file.map().get("post_processor").and_then(undefined) {
        None => Ok(()),
        Some(id) => {
            let thing = format!("{}: `post_processor`", path.display());
            let found = format!("{id:?}");
            Err(Error::bad_data(thing, "a template of what it defines, for one text", found))
        }
    }
}

/// The name of the tokenizer's class: as `tokenizer_config.json` or `config.json` has it, else that of
/// the model's family; empty where nothing tells.
fn class(dir: &Path, config: &Map<String, Value>) -> Result<String> {
    let model = object(dir.join("config.json"))?;
    let class = |config: &Map<String, Value>| {
        config.get("tokenizer_class").and_then(Value::as_str).map(str::to_string)
    };
    let of_family = || match model.get("model_type").and_then(Value::as_str) {
        Some("gpt2" | "gpt_neo") => "GPT2Tokenizer",
        Some("bloom") => "BloomTokenizer",
        Some(_) => "",
        // Without a model, what GPT-2 alone has tells.
        None if dir.join("merges.txt").exists() => "GPT2Tokenizer",
        None => "",
    };
    Ok(class(config).or_else(|| class(&model)).unwrap_or_else(|| of_family().to_string()))
}

/// The tokens beside the vocabulary, by their ids: `added_tokens_decoder`, else `added_tokens.json`.
fn added_tokens(dir: &Path, config: &Map<String, Value>) -> Result<BTreeMap<u32, AddedToken>> {
    let wrong = |file: &str, found: &dyn std::fmt::Display| {
        let expected = "ids of 0 to 2^32 - 1, each with a token";
        Error::bad_data(dir.join(file).display().to_string(), expected, found.to_string())
    };
    let mut added = BTreeMap::new();
    if let Some(Value::Object(decoder)) = config.get("added_tokens_decoder") {
        for (id, token) in decoder {
            let (Ok(number), Some(token)) = (id.parse(), added_token(token, false)) else {
                return Err(wrong(CONFIG, &format_args!("{id}: {token}")));
            };
            added.insert(number, token);
        }
        return Ok(added);
    }
    let special: HashSet<String> = named(config).into_iter().map(|token| token.content).collect();
    for (token, id) in object(dir.join(ADDED_TOKENS))? {
        let Some(number) = id.as_u64().and_then(|id| u32::try_from(id).ok()) else {
            return Err(wrong(ADDED_TOKENS, &format_args!("{id} for {token:?}")));
        };
        let is_special = special.contains(&token);
        if let Some(other) = added.insert(number, AddedToken::from(token, is_special)) {
            return Err(wrong(ADDED_TOKENS, &format_args!("{id} twice, once {:?}", other.content)));
        }
    }
    Ok(added)
}

/// GPT-2's BPE from its two files. Added tokens stand in the vocabulary with the ids that their file
/// gives them, where no merge leads to them: counted on from its end, a hole in it would shift them.
fn bpe(vocab: &Path, merges: &Path, added: &BTreeMap<u32, AddedToken>) -> Result<BPE> {
    let wrong = |found: String| {
        Error::bad_data(vocab.display().to_string(), "a different id for every token", found)
    };
    let mut ids: BTreeMap<u32, String> = BTreeMap::new();
    let tokens = object(vocab.to_path_buf())?;
    let has = |token: &AddedToken| tokens.contains_key(&token.content);
    for (token, id) in &tokens {
        let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let number = number.ok_or_else(|| wrong(format!("{id} for {token:?}")))?;
        if let Some(other) = ids.insert(number, token.clone()) {
            return Err(wrong(format!("{number} for {other:?} and {token:?}")));
        }
    }
    for (&id, token) in added.iter().filter(|(_, token)| !has(token)) {
        if let Some(other) = ids.insert(id, token.content.clone()) {
            return Err(wrong(format!("{id} for {other:?} and the added {:?}", token.content)));
        }
    }
    let text = read(merges)?;
    let lines = text.lines().filter(|line| !line.starts_with("#version") && !line.is_empty());
    let pairs = lines.map(|line| match line.split_once(' ') {
        Some((left, right)) if !right.contains(' ') => Ok((left.to_string(), right.to_string())),
        _ => Err(Error::bad_data(
            merges.display().to_string(),
            "two tokens a line, with a space between them",
            format!("{line:?}"),
        )),
    });
    let vocabulary: Vocab = ids.into_iter().map(|(id, token)| (token, id)).collect();
    BPE::builder()
        .vocab_and_merges(vocabulary, pairs.collect::<Result<Vec<_>>>()?)
        .build()
        .map_err(|error| library(vocab.display(), "a vocabulary with its merges.txt", error))
}

/// The text of a file, without the mark that some editors put before it.
fn read(path: &Path) -> Result<String> {
    const EXPECTED: &str = "a readable text file";
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, EXPECTED, error))?;
    refuse_pointer(path, EXPECTED, &bytes)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        Error::bad_data(path.display().to_string(), "text in UTF-8", error.utf8_error().to_string())
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}

/// The object in a JSON file, an empty one where there is no such file.
fn object(path: PathBuf) -> Result<Map<String, Value>> {
    Ok(Object::read_or_empty(&path)?.into_map())
}

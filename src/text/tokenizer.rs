//! Text to ids and back: a thin wrapper over the `tokenizers` library that never mistakes text for
//! a special token.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use rayon::prelude::*;
use serde_json::{Map, Value};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer as Inner};

use crate::text::characters;
use crate::{Error, Result};

/// What GPT-2's tokenizer class calls the end of a text where its files do not say.
const END_OF_TEXT: &str = "<|endoftext|>";
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";

/// Every byte, and the end of text.
const SMALLEST_VOCABULARY: usize = 257;
/// Several times the largest in use; the trainer reserves memory for all of it at once.
const LARGEST_VOCABULARY: usize = 1 << 20;

/// A tokenizer and its end-of-text id.
pub struct Tokenizer {
    inner: Inner,
    /// `tokenizer_config.json`, kept whole so that saving loses nothing.
    config: Map<String, Value>,
    eos: u32,
    vocab_size: usize,
}

impl Tokenizer {
    /// A byte-level BPE (Sennrich et al. 2016; on bytes: Radford et al. 2019) learnt from `texts`:
    /// GPT-2's pre-tokenizer without a prefix space, all 256 bytes, and `<|endoftext|>` as id 0. A
    /// pair seen once is not merged, so a small corpus may give fewer than `vocab_size` tokens.
    ///
    /// The same texts give the same tokenizer. Usage error: `vocab_size` below 257 or above 2^20.
    pub fn train_bpe<S: AsRef<str> + Sync>(texts: &[S], vocab_size: usize) -> Result<Self> {
        if !(SMALLEST_VOCABULARY..=LARGEST_VOCABULARY).contains(&vocab_size) {
            let expected = format!(
                "at least {SMALLEST_VOCABULARY} (256 bytes and {END_OF_TEXT}) and at most {LARGEST_VOCABULARY}"
            );
            return Err(Error::usage("vocabulary size", expected, vocab_size.to_string()));
        }
        let mut trainer: TrainerWrapper = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .build()
            .into();
        let mut inner = byte_level(BPE::default(), false);
        inner
            .train(&mut trainer, texts.iter().map(AsRef::as_ref))
            .map_err(|error| library("training the tokenizer", "a vocabulary", error))?;
        let class = [
            ("tokenizer_class".to_string(), "GPT2TokenizerFast".into()),
            ("add_prefix_space".to_string(), false.into()),
        ];
        Self::trained(inner, class, END_OF_TEXT)
    }

    /// A token for every character of `texts`, whichever they are; others are `<unk>`, which decoding
    /// cannot undo ([`Tokenizer::unknown`]). `<|endoftext|>` is id 0, `<unk>` 1, frequent characters
    /// come first. The same texts give the same tokenizer.
    pub fn train_chars<S: AsRef<str>>(texts: &[S]) -> Result<Self> {
        let inner = characters::learn(texts, END_OF_TEXT)
            .map_err(|error| library("training the tokenizer", "a vocabulary", error))?;
        let class = [("tokenizer_class".to_string(), "PreTrainedTokenizerFast".into())];
        Self::trained(inner, class, characters::UNKNOWN)
    }

    /// A tokenizer whose texts begin and end with `<|endoftext|>`, id 0.
    fn trained<const N: usize>(
        mut inner: Inner,
        class: [(String, Value); N],
        unknown: &str,
    ) -> Result<Self> {
        let begin = begin_with(END_OF_TEXT, 0)
            .map_err(|error| library("training the tokenizer", "a template", error))?;
        inner.with_post_processor(Some(begin));
        let mut config = Map::from_iter(class);
        // transformers' default joins punctuation to the word before it; decoding must give the
        // text.
        config.insert("clean_up_tokenization_spaces".into(), false.into());
        for (key, token) in
            [("bos_token", END_OF_TEXT), ("eos_token", END_OF_TEXT), ("unk_token", unknown)]
        {
            config.insert(key.into(), token.into());
        }
        Self::new(inner, config, END_OF_TEXT, "the trained tokenizer")
    }

    /// Reads an HF directory: `tokenizer.json`, else `vocab.json` with `merges.txt` (GPT-2's
    /// byte-level BPE). The end of text is the `eos_token` of `tokenizer_config.json`, else of
    /// `special_tokens_map.json`, else `<|endoftext|>`. Truncation and padding that the files ask
    /// for are dropped: nothing is shortened in silence.
    ///
    /// Bad data: files missing or broken, an end of text that the vocabulary lacks.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let mut config = read_json(&dir.join(CONFIG))?.unwrap_or_default();
        for (key, token) in read_json(&dir.join(SPECIAL_TOKENS))?.unwrap_or_default() {
            config.entry(key).or_insert(token);
        }
        let eos = content(&config, "eos_token").unwrap_or(END_OF_TEXT).to_string();

        let whole = dir.join("tokenizer.json");
        let (vocab, merges) = (dir.join("vocab.json"), dir.join("merges.txt"));
        let (inner, file) = if whole.exists() {
            let inner = Inner::from_file(&whole)
                .map_err(|error| library(whole.display(), "a tokenizer", error))?;
            (inner, whole)
        } else if vocab.exists() && merges.exists() {
            let bpe = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy()).build();
            let bpe = bpe.map_err(|error| {
                library(vocab.display(), "a vocabulary with its merges.txt", error)
            })?;
            let prefix_space = config.get("add_prefix_space").and_then(Value::as_bool);
            (byte_level(bpe, prefix_space.unwrap_or(false)), vocab)
        } else {
            return Err(Error::bad_data(
                dir.display().to_string(),
                "tokenizer.json, or vocab.json and merges.txt",
                "neither",
            ));
        };
        Self::new(inner, config, &eos, &file.display().to_string())
    }

    fn new(
        mut inner: Inner,
        mut config: Map<String, Value>,
        eos_token: &str,
        file: &str,
    ) -> Result<Self> {
        let eos = inner.token_to_id(eos_token).ok_or_else(|| {
            let expected = format!("the end-of-text token {eos_token:?}");
            Error::bad_data(file, expected, "a vocabulary without it")
        })?;
        if !inner.get_added_vocabulary().is_special_token(eos_token) {
            inner.add_special_tokens(&[AddedToken::from(eos_token, true)]);
        }
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| library(file, "a tokenizer that can encode without limit", error))?;
        // A poem that quotes "<|endoftext|>" is text to the end.
        inner.set_encode_special_tokens(true);
        config.entry("eos_token").or_insert_with(|| eos_token.into());
        let vocab_size = inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        Ok(Tokenizer { inner, config, eos, vocab_size })
    }

    /// Writes `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json` into `dir`
    /// (made if missing): what `transformers.AutoTokenizer.from_pretrained(dir)` opens unchanged.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<()> {
        let dir = dir.as_ref();
        std::fs::create_dir_all(dir)
            .map_err(|error| Error::io(dir, "a directory to save to", error))?;
        let tokenizer =
            self.inner.to_string(true).map_err(|error| library("the tokenizer", "JSON", error))?;
        let special: Map<String, Value> = self
            .config
            .keys()
            .filter(|key| key.ends_with("_token"))
            .filter_map(|key| Some((key.clone(), content(&self.config, key)?.into())))
            .collect();
        write(&dir.join("tokenizer.json"), &tokenizer)?;
        write(&dir.join(CONFIG), &format!("{:#}\n", Value::Object(self.config.clone())))?;
        write(&dir.join(SPECIAL_TOKENS), &format!("{:#}\n", Value::Object(special)))
    }

    /// The ids of `text`: never a special token, and none added at either end.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| library("encoding a text", "ids", error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids that a model continues: `text` between the special tokens that the files ask for, the
    /// same as `transformers`' `tokenizer(text)`. A tokenizer trained here puts the end of text before
    /// it, since documents begin with it in training; GPT-2's adds nothing. Without any token, the end
    /// of text, after which a new one begins.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, true)
            .map_err(|error| library("encoding a prompt", "ids", error))?;
        match encoding.get_ids() {
            [] => Ok(vec![self.eos]),
            ids => Ok(ids.to_vec()),
        }
    }

    /// [`Tokenizer::encode`] of each text, in order, on all threads.
    pub fn encode_batch<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<Vec<Vec<u32>>> {
        texts.par_iter().map(|text| self.encode(text.as_ref())).collect()
    }

    /// The text of `ids`. Special tokens appear as they are written; bytes that are no UTF-8 (a
    /// character cut in half) as U+FFFD. Bad data: an id that no token has.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        // The library drops unknown ids in silence.
        if let Some(id) = ids.iter().find(|&&id| self.inner.id_to_token(id).is_none()) {
            let expected = format!("one of the tokenizer's {} ids", self.vocab_size);
            return Err(Error::bad_data("token id", expected, id.to_string()));
        }
        self.inner.decode(ids, false).map_err(|error| library("decoding ids", "a text", error))
    }

    /// The rows that an embedding needs: the largest id and one.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The id that stands for whatever the vocabulary lacks; `None` where it spells everything, as bytes
    /// do.
    pub fn unknown(&self) -> Option<u32> {
        characters::unknown(&self.inner)
    }

    /// The id that ends (and, as input, begins) every document.
    pub fn eos(&self) -> u32 {
        self.eos
    }
}

/// A prompt begins with `token`, as documents do in training: in `tokenizer.json`, where `transformers`
/// reads it too.
fn begin_with(token: &str, id: u32) -> tokenizers::Result<TemplateProcessing> {
    let mut template = TemplateProcessing::builder();
    template.try_single(format!("{token} $A"))?;
    Ok(template.special_tokens(vec![(token, id)]).build()?)
}

/// `model` between GPT-2's byte-level pre-tokenizer and decoder.
fn byte_level(model: BPE, prefix_space: bool) -> Inner {
    let mut inner = Inner::new(model);
    inner.with_pre_tokenizer(Some(ByteLevel::new(prefix_space, true, true)));
    inner.with_decoder(Some(ByteLevel::default()));
    inner
}

/// A token in a config: a string, or an object with its `content`.
fn content<'a>(config: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    let value = config.get(key)?;
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// The object in a JSON file, `None` where there is no such file.
fn read_json(path: &Path) -> Result<Option<Map<String, Value>>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path, "a readable JSON file", error)),
    };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Error::bad_data(path.display().to_string(), "a JSON object", error.to_string())
            .because(error)
    })
}

/// Writes under a temporary name, then renames: never half a file under its final name.
fn write(path: &Path, text: &str) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| Error::io(path, "a file that can be written", error))
}

fn library(thing: impl ToString, expected: &str, error: tokenizers::Error) -> Error {
    Error::bad_data(thing.to_string(), expected, error.to_string()).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::random::philox;

    const TEXTS: [&str; 3] = [
        "La niña pequeña soñaba con la mañana; la mañana no soñaba con la niña.",
        "¿Quién canta? ¡El corazón canta! —El corazón, la canción y el cantor.",
        "Las canciones de la niña,\nlas canciones del corazón.\n\n🌙 luna, 🌙 lunera",
    ];

    fn tokenizer() -> Tokenizer {
        Tokenizer::train_bpe(&TEXTS, 290).unwrap()
    }

    fn error(dir: &Path) -> String {
        let error = Tokenizer::load(dir).err().unwrap();
        assert_eq!(error.kind(), Kind::BadData);
        error.to_string()
    }

    /// Characters from all over Unicode, weighted to where text and trouble live.
    fn random_text(seed: u32) -> String {
        const CHARS: &[char] =
            &[' ', ' ', '\n', '\t', '\r', '\'', 's', 'ñ', 'á', '¿', '7', '\u{301}', '\u{a0}', '\0'];
        let word = |i| philox(9, [seed, i, 0, 0]);
        let char = |i| match word(i) {
            [kind, which, ..] if kind % 3 == 0 => CHARS[which as usize % CHARS.len()],
            [kind, which, ..] if kind % 3 == 1 => (b'a' + (which % 26) as u8) as char,
            [_, which, ..] => char::from_u32(which % 0x11_0000).unwrap_or('\u{fffd}'),
        };
        (1..word(0)[0] % 60).map(char).collect()
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let tokenizer = tokenizer();
        let texts: Vec<String> = (0..2000).map(random_text).collect();
        let ids = tokenizer.encode_batch(&texts).unwrap();
        for (text, ids) in texts.iter().zip(&ids) {
            assert_eq!(&tokenizer.decode(ids).unwrap(), text);
            assert_eq!(&tokenizer.encode(text).unwrap(), ids);
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        }
        let spaces = " ".repeat(300_000) + "x";
        assert_eq!(tokenizer.decode(&tokenizer.encode(&spaces).unwrap()).unwrap(), spaces);
    }

    #[test]
    fn training_learns_and_repeats_itself() {
        let (one, two) = (tokenizer(), tokenizer());
        assert_eq!(one.inner.to_string(false).unwrap(), two.inner.to_string(false).unwrap());
        assert_eq!((one.vocab_size(), one.eos()), (290, 0));
        // A word that comes again and again is one token, with the space before it.
        let ids = one.encode(" la").unwrap();
        assert_eq!((ids.len(), one.decode(&ids).unwrap().as_str()), (1, " la"));
        assert_eq!(Tokenizer::train_bpe(&TEXTS, 256).err().unwrap().kind(), Kind::Usage);
        // Nothing comes twice: no merge is worth a token.
        assert_eq!(Tokenizer::train_bpe(&["abc"], 300).unwrap().vocab_size(), 257);
    }

    #[test]
    fn threads_change_nothing() {
        let texts: Vec<String> = (0..300).map(random_text).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let tokenizer = Tokenizer::train_bpe(&texts, 400).unwrap();
                let ids = tokenizer.encode_batch(&texts).unwrap();
                (tokenizer.inner.to_string(false).unwrap(), ids)
            })
        };
        let one = run(1);
        assert!(one.1.iter().zip(&texts).any(|(ids, text)| ids.len() < text.len()));
        assert_eq!(one, run(2));
        assert_eq!(one, run(5));
    }

    #[test]
    fn text_never_becomes_a_special_token() {
        let dir = tempfile::tempdir().unwrap();
        tokenizer().save(dir.path()).unwrap();
        for tokenizer in [tokenizer(), Tokenizer::load(dir.path()).unwrap()] {
            let text = "el fin: <|endoftext|> y más";
            let ids = tokenizer.encode(text).unwrap();
            assert!(!ids.contains(&tokenizer.eos()));
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
            assert_eq!(tokenizer.decode(&[tokenizer.eos()]).unwrap(), END_OF_TEXT);
        }
    }

    #[test]
    fn a_prompt_begins_as_its_files_say() {
        let dir = tempfile::tempdir().unwrap();
        let trained = tokenizer();
        trained.save(dir.path()).unwrap();
        let text = "la niña <|endoftext|>";
        let ids = trained.encode(text).unwrap();
        for tokenizer in [trained, Tokenizer::load(dir.path()).unwrap()] {
            assert_eq!(tokenizer.encode_prompt(text).unwrap(), [&[0], ids.as_slice()].concat());
            assert_eq!(tokenizer.encode_prompt("").unwrap(), [0]);
        }
        // GPT-2's own files ask for nothing.
        let dir = tempfile::tempdir().unwrap();
        tokenizers::Model::save(tokenizer().inner.get_model(), dir.path(), None).unwrap();
        let plain = Tokenizer::load(dir.path()).unwrap();
        assert_eq!(plain.encode_prompt(text).unwrap(), ids);
        assert_eq!(plain.encode_prompt("").unwrap(), [0]);
    }

    #[test]
    fn saved_and_loaded_it_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new");
        let saved = tokenizer();
        saved.save(&dir).unwrap();
        let loaded = Tokenizer::load(&dir).unwrap();
        assert_eq!((loaded.vocab_size(), loaded.eos()), (saved.vocab_size(), saved.eos()));
        let texts: Vec<String> = (0..200).map(random_text).collect();
        assert_eq!(loaded.encode_batch(&texts).unwrap(), saved.encode_batch(&texts).unwrap());
        let mut files: Vec<_> =
            std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, [SPECIAL_TOKENS, "tokenizer.json", CONFIG]);
    }

    #[test]
    fn a_vocabulary_with_merges_is_the_same_tokenizer() {
        let dir = tempfile::tempdir().unwrap();
        let trained = tokenizer();
        tokenizers::Model::save(trained.inner.get_model(), dir.path(), None).unwrap();
        let loaded = Tokenizer::load(dir.path()).unwrap();
        assert_eq!((loaded.vocab_size(), loaded.eos()), (trained.vocab_size(), trained.eos()));
        for text in TEXTS.into_iter().chain(["<|endoftext|>"]) {
            assert_eq!(loaded.encode(text).unwrap(), trained.encode(text).unwrap());
        }
    }

    #[test]
    fn the_end_of_text_comes_from_the_files_and_nothing_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let (file, config) = (dir.path().join("tokenizer.json"), dir.path().join(CONFIG));
        let special = dir.path().join(SPECIAL_TOKENS);
        let mut inner = tokenizer().inner;
        inner.add_special_tokens(&[AddedToken::from("</s>", true)]);
        let truncation = tokenizers::TruncationParams { max_length: 3, ..Default::default() };
        inner.with_truncation(Some(truncation)).unwrap();
        inner.save(&file, false).unwrap();
        let eos = || Tokenizer::load(dir.path()).map(|tokenizer| tokenizer.eos());
        assert_eq!(eos().unwrap(), 0);
        std::fs::write(&special, r#"{"eos_token": {"content": "</s>"}}"#).unwrap();
        assert_eq!(eos().unwrap(), 290);
        std::fs::write(&config, r#"{"eos_token": "<|endoftext|>", "model_max_length": 99}"#)
            .unwrap();
        assert_eq!(eos().unwrap(), 0);
        let tokenizer = Tokenizer::load(dir.path()).unwrap();
        assert_eq!(tokenizer.vocab_size(), 291);
        assert!(tokenizer.encode(TEXTS[0]).unwrap().len() > 10);
        // What the files said besides is still said when saved.
        tokenizer.save(dir.path()).unwrap();
        let saved = read_json(&config).unwrap().unwrap();
        assert_eq!(saved["model_max_length"], 99);
        std::fs::write(&config, r#"{"eos_token": "<fin>"}"#).unwrap();
        assert!(error(dir.path()).contains("<fin>"));
    }

    #[test]
    fn bad_files_and_ids_are_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            error(dir.path()).contains("expected tokenizer.json, or vocab.json and merges.txt")
        );
        std::fs::write(dir.path().join("tokenizer.json"), "{\"model\":").unwrap();
        assert!(error(dir.path()).contains("tokenizer.json: expected a tokenizer"));
        std::fs::write(dir.path().join(CONFIG), "[1]").unwrap();
        assert!(error(dir.path()).contains("tokenizer_config.json: expected a JSON object"));
        let unknown = tokenizer().decode(&[5, 290]).unwrap_err().to_string();
        assert!(unknown.contains("one of the tokenizer's 290 ids, found 290"), "{unknown}");
    }
}

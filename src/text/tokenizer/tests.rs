use super::files::{CONFIG, SPECIAL_TOKENS};
use super::*;
use crate::Kind;
use crate::formats::json::Object;
use crate::random::philox;
use std::path::Path;

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
    assert_eq!((one.vocab_size(), one.eos().unwrap()), (290, 0));
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
        assert!(!ids.contains(&tokenizer.eos().unwrap()));
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        assert_eq!(tokenizer.decode(&[tokenizer.eos().unwrap()]).unwrap(), END_OF_TEXT);
    }
}

#[test]
fn a_prompt_begins_as_its_files_say() {
    let dir = tempfile::tempdir().unwrap();
    let trained = tokenizer();
    trained.save(dir.path()).unwrap();
    let text = "la niña <|endoftext|>";
    // A prompt may name a special token, and a document may not.
    let ids = [trained.encode("la niña ").unwrap(), vec![0]].concat();
    assert_ne!(trained.encode(text).unwrap(), ids);
    for tokenizer in [trained, Tokenizer::load(dir.path()).unwrap()] {
        assert_eq!(tokenizer.encode_prompt(text).unwrap(), [&[0], ids.as_slice()].concat());
        assert_eq!(tokenizer.encode_prompt("").unwrap(), [0]);
        assert!(!tokenizer.encode(text).unwrap().contains(&0));
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
    assert_eq!(
        (loaded.vocab_size(), loaded.eos().unwrap()),
        (saved.vocab_size(), saved.eos().unwrap())
    );
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
    assert_eq!(
        (loaded.vocab_size(), loaded.eos().unwrap()),
        (trained.vocab_size(), trained.eos().unwrap())
    );
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
    let eos = || Tokenizer::load(dir.path()).unwrap().special(Special::Eos);
    // Of a tokenizer.json alone nobody knows whose it is; its class, once told, does.
    assert_eq!(eos(), None);
    let error = Tokenizer::load(dir.path()).unwrap().eos().unwrap_err().to_string();
    assert!(error.contains("expected an end-of-text token"), "{error}");
    std::fs::write(&config, r#"{"tokenizer_class": "GPT2TokenizerFast"}"#).unwrap();
    assert_eq!(eos(), Some(0));
    std::fs::write(&config, r#"{"eos_token": "</s>", "model_max_length": 99}"#).unwrap();
    assert_eq!(eos(), Some(290));
    // The map of special tokens goes before the config, as in `transformers`.
    std::fs::write(&special, r#"{"eos_token": {"content": "<|endoftext|>"}}"#).unwrap();
    assert_eq!(eos(), Some(0));
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    assert_eq!(tokenizer.vocab_size(), 291);
    assert!(tokenizer.encode(TEXTS[0]).unwrap().len() > 10);
    // What the files said besides is still said when saved.
    tokenizer.save(dir.path()).unwrap();
    assert_eq!(Object::read(&config).unwrap().get::<u32>("model_max_length").unwrap(), 99);
    std::fs::remove_file(&special).unwrap();
    // What the vocabulary lacks gets the next id.
    std::fs::write(&config, r#"{"eos_token": "<fin>"}"#).unwrap();
    assert_eq!(eos(), Some(291));
}

#[test]
fn bad_files_and_ids_are_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(error(dir.path()).contains("expected tokenizer.json, or vocab.json and merges.txt"));
    let write = |text: &str| std::fs::write(dir.path().join("tokenizer.json"), text).unwrap();
    write("{\"model\":");
    assert!(error(dir.path()).contains("tokenizer.json: expected a JSON object"));
    write("{}");
    assert!(error(dir.path()).contains("tokenizer.json: expected a tokenizer"));
    // The library would panic, at the first text.
    for piece in [
        r#"{"SpecialToken": {"id": "<x>", "type_id": 0}}"#,
        r#"{"Sequence": {"id": "B", "type_id": 0}}"#,
    ] {
        let template = r#"{"type": "TemplateProcessing", "single": [PIECE], "special_tokens": {}}"#;
        let template = template.replace("PIECE", piece);
        write(&format!(r#"{{"post_processor": {{"processors": [{template}]}}}}"#));
        let line = error(dir.path());
        assert!(
            line.contains("`post_processor`: expected a template of what it defines"),
            "{line}"
        );
    }
    std::fs::write(dir.path().join(CONFIG), "[1]").unwrap();
    assert!(error(dir.path()).contains("tokenizer_config.json: expected a JSON object"));
    let unknown = tokenizer().decode(&[5, 290]).unwrap_err().to_string();
    assert!(unknown.contains("an id below the tokenizer's 290, found 290"), "{unknown}");
}

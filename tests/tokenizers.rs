//! The promise: whatever form a tokenizer's files have, the ids of a text, its text again and the special
//! ids are those of `transformers`.

use copla::text::{Special, Tokenizer};
use serde_json::Value;
use std::path::Path;

/// The recorded cases: their names, and what `tokenizer_files.py` says of them.
fn cases() -> Vec<(String, Value)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizers");
    let cases: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().to_string();
            (name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        })
        .collect();
    assert!(cases.len() >= 10, "only {} cases found", cases.len());
    cases
}

fn write_files(dir: &Path, case: &Value) {
    for (name, text) in case["files"].as_object().unwrap() {
        std::fs::write(dir.join(name), text.as_str().unwrap()).unwrap();
    }
}

/// Holds `tokenizer` against all that is recorded of a case.
fn is_that_of_transformers(name: &str, tokenizer: &Tokenizer, case: &Value) {
    let ids = |value: &Value| -> Vec<u32> {
        value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    for special in Special::ALL {
        let key = special.token_key().strip_suffix("_token").unwrap();
        let expected = case["special"][key].as_u64().map(|id| id as u32);
        assert_eq!(tokenizer.special(special), expected, "{name}: {key}");
    }
    for one in case["texts"].as_array().unwrap() {
        let text = one["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text).unwrap(), ids(&one["document"]), "{name}: {text:?}");
        let prompt = ids(&one["prompt"]);
        // Of nothing a text begins with the end of another; `transformers` gives nothing.
        if !prompt.is_empty() {
            assert_eq!(tokenizer.encode_prompt(text).unwrap(), prompt, "{name}: {text:?}");
        }
        let decoded = one["decoded"].as_str().unwrap();
        assert_eq!(tokenizer.decode(&prompt).unwrap(), decoded, "{name}: {text:?}");
    }
}

#[test]
fn ids_and_texts_are_those_of_transformers_in_every_form() {
    for (name, case) in cases() {
        let (dir, saved) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_files(dir.path(), &case);
        let tokenizer = Tokenizer::load(dir.path()).unwrap();
        is_that_of_transformers(&name, &tokenizer, &case);
        // Saved, it is the same in the form of today.
        tokenizer.save(saved.path()).unwrap();
        let again = Tokenizer::load(saved.path()).unwrap();
        is_that_of_transformers(&format!("{name}, saved"), &again, &case);
    }
}

/// Editors put a mark before a text, and leave an empty line behind it.
#[test]
fn marks_and_empty_lines_change_nothing() {
    for (name, mut case) in cases() {
        for (file, text) in case["files"].as_object_mut().unwrap() {
            let end = if file == "merges.txt" { "\n\n" } else { "\n" };
            *text = format!("\u{feff}{}{end}", text.as_str().unwrap()).into();
        }
        let dir = tempfile::tempdir().unwrap();
        write_files(dir.path(), &case);
        is_that_of_transformers(&name, &Tokenizer::load(dir.path()).unwrap(), &case);
    }
}

/// `golden/random_texts.py` writes them and says how this is run; CI does not.
#[test]
#[ignore = "needs a file of a million texts, named by COPLA_RANDOM_TEXTS"]
fn random_texts_have_the_ids_of_the_tokenizers_package() {
    let dir = std::env::var("COPLA_RANDOM_TEXTS").unwrap();
    let tokenizer = Tokenizer::load(&dir).unwrap();
    let lines = std::fs::read_to_string(Path::new(&dir).join("texts.jsonl")).unwrap();
    let cases: Vec<(String, Vec<u32>)> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<&str> = cases.iter().map(|(text, _)| text.as_str()).collect();
    let found = tokenizer.encode_batch(&texts).unwrap();
    for ((text, expected), found) in cases.iter().zip(&found) {
        assert_eq!(found, expected, "{text:?}");
        assert_eq!(&tokenizer.decode(found).unwrap(), text);
    }
    println!("{} texts, {} ids", texts.len(), found.iter().map(Vec::len).sum::<usize>());
}

#[test]
fn a_document_has_no_special_token_and_a_prompt_may() {
    for (name, case) in cases() {
        let dir = tempfile::tempdir().unwrap();
        write_files(dir.path(), &case);
        let tokenizer = Tokenizer::load(dir.path()).unwrap();
        let eos = tokenizer.eos().unwrap();
        let end = tokenizer.token(eos).unwrap();
        let text = format!("fin {end} y más {end}");
        assert!(!tokenizer.encode(&text).unwrap().contains(&eos), "{name}");
        let prompt = tokenizer.encode_prompt(&text).unwrap();
        assert!(prompt.iter().filter(|&&id| id == eos).count() >= 2, "{name}: {prompt:?}");
    }
}

#[test]
fn files_that_contradict_themselves_are_refused() {
    let (_, case) = cases().into_iter().find(|case| case.0 == "end_is_added").unwrap();
    for (file, text, words) in [
        ("vocab.json", r#"{"a": 0, "b": 0}"#, "a different id for every token, found 0 for"),
        ("vocab.json", r#"{"a": -1}"#, "found -1 for \"a\""),
        ("vocab.json", r#"{"a": 4294967296}"#, "found 4294967296 for \"a\""),
        ("vocab.json", r#"["a"]"#, "vocab.json: expected a JSON object"),
        ("merges.txt", "#version: 0.2\na b c\n", "two tokens a line"),
        ("merges.txt", "nada menos\n", "a vocabulary with its merges.txt"),
        ("added_tokens.json", r#"{"x": "7"}"#, "added_tokens.json: expected ids"),
        ("added_tokens.json", r#"{"x": 9000, "y": 9000}"#, "found 9000 twice, once \"x\""),
        ("added_tokens.json", r#"{"<x>": 3}"#, "and the added \"<x>\""),
        ("tokenizer_config.json", r#"{"added_tokens_decoder": {"a": "x"}}"#, "found a: \"x\""),
        ("tokenizer_config.json", r#"{"added_tokens_decoder": {"7": 8}}"#, "found 7: 8"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write_files(dir.path(), &case);
        std::fs::write(dir.path().join(file), text).unwrap();
        let error = Tokenizer::load(dir.path()).err().expect(text);
        assert_eq!(error.kind(), copla::Kind::BadData);
        let line = error.to_string();
        assert!(line.contains(words) && !line.contains('\n'), "{text}: {line}");
    }
}

//! JSON files of the Hugging Face kind: one object whose keys are asked for by name and type.

use crate::error::{Error, Result};
use crate::formats::atomic;
use crate::formats::mapped::refuse_pointer;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The object that a file such as `config.json` holds, and the file's name for the messages.
#[derive(Clone, Debug)]
pub struct Object {
    path: PathBuf,
    map: Map<String, Value>,
}

impl Object {
    /// Reads `path`. A file that is missing, not UTF-8, not JSON (the message gives line and column)
    /// or not an object is an error. Of two equal keys the later one counts, as in Python.
    pub fn read(path: &Path) -> Result<Self> {
        const EXPECTED: &str = "a JSON object";
        let bytes = std::fs::read(path).map_err(|error| Error::io(path, EXPECTED, error))?;
        refuse_pointer(path, EXPECTED, &bytes)?;
        let not_json = |found: String| Error::bad_data(path.display().to_string(), EXPECTED, found);
        // The mark that some editors put before a text is no JSON.
        match serde_json::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes)) {
            Ok(Value::Object(map)) => Ok(Object { path: path.to_path_buf(), map }),
            Ok(other) => Err(not_json(describe(&other))),
            Err(error) => Err(not_json(format!("not JSON: {error}")).because(error)),
        }
    }

    /// [`Object::read`], and an empty object where there is no such file.
    pub fn read_or_empty(path: &Path) -> Result<Self> {
        match path.exists() {
            true => Self::read(path),
            false => Ok(Object { path: path.to_path_buf(), map: Map::new() }),
        }
    }

    /// What is to become the file `path`.
    pub fn new(path: impl Into<PathBuf>, map: Map<String, Value>) -> Self {
        Object { path: path.into(), map }
    }

    /// The value of a key that must be there.
    pub fn get<T: FromJson>(&self, key: &str) -> Result<T> {
        self.optional(key)?.ok_or_else(|| self.wrong::<T>(key, "no such key".to_string()))
    }

    /// The value of a key, or `default` where the key is missing or `null`.
    pub fn get_or<T: FromJson>(&self, key: &str, default: T) -> Result<T> {
        Ok(self.optional(key)?.unwrap_or(default))
    }

    /// The value of a key; `None` where the key is missing or `null`. Another type is an error.
    pub fn optional<T: FromJson>(&self, key: &str) -> Result<Option<T>> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match T::from_json(value) {
                Some(value) => Ok(Some(value)),
                None => Err(self.wrong::<T>(key, describe(value))),
            },
        }
    }

    /// Another value for a key: what the file says is to be mended.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.map.insert(key.to_string(), value.into());
    }

    /// Where it was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything in the file, in its order: for keys of odd shapes, and to write back what copla
    /// does not know.
    pub fn map(&self) -> &Map<String, Value> {
        &self.map
    }

    pub fn into_map(self) -> Map<String, Value> {
        self.map
    }

    fn wrong<T: FromJson>(&self, key: &str, found: String) -> Error {
        Error::bad_data(format!("{}: `{key}`", self.path.display()), T::EXPECTED, found)
    }
}

/// Writes `value` to `path`, indented as `transformers` does, whole or not at all.
pub fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| {
        let found = error.to_string();
        Error::bad_data(path.display().to_string(), "a value that JSON can hold", found)
            .because(error)
    })?;
    atomic::write_file(path, |file| {
        file.put(text.as_bytes())?;
        file.put(b"\n")
    })
}

/// A type that a key can be asked for.
pub trait FromJson: Sized {
    /// What the message says was expected.
    const EXPECTED: &'static str;
    fn from_json(value: &Value) -> Option<Self>;
}

impl FromJson for usize {
    const EXPECTED: &'static str = "a whole number, 0 or more";
    fn from_json(value: &Value) -> Option<Self> {
        value.as_u64()?.try_into().ok()
    }
}

impl FromJson for u32 {
    const EXPECTED: &'static str = "a whole number from 0 to 2^32 - 1";
    fn from_json(value: &Value) -> Option<Self> {
        value.as_u64()?.try_into().ok()
    }
}

impl FromJson for f32 {
    const EXPECTED: &'static str = "a number";
    fn from_json(value: &Value) -> Option<Self> {
        // Beyond f32's range is not a number that a model can use.
        value.as_f64().map(|number| number as f32).filter(|number| number.is_finite())
    }
}

impl FromJson for f64 {
    const EXPECTED: &'static str = "a number";
    fn from_json(value: &Value) -> Option<Self> {
        value.as_f64()
    }
}

impl FromJson for bool {
    const EXPECTED: &'static str = "true or false";
    fn from_json(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl FromJson for String {
    const EXPECTED: &'static str = "a string";
    fn from_json(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_string)
    }
}

/// A value as a message shows it: small ones whole, large ones by their kind.
fn describe(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(map) => format!("an object of {} keys", map.len()),
        Value::String(text) if text.chars().count() > 40 => "a long string".to_string(),
        small => small.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn object(text: &str) -> Result<Object> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        Object::read(&path)
    }

    #[test]
    fn keys_come_out_with_their_types() {
        let config = object(
            r#"{"n_embd": 768, "eps": 1e-5, "one": 1, "tie": true, "act": "gelu_new", "n_inner": null}"#,
        )
        .unwrap();
        assert_eq!(config.get::<usize>("n_embd").unwrap(), 768);
        assert_eq!(config.get::<u32>("n_embd").unwrap(), 768);
        assert_eq!(config.get::<f32>("eps").unwrap(), 1e-5);
        assert_eq!(config.get::<f64>("one").unwrap(), 1.0);
        assert!(config.get::<bool>("tie").unwrap());
        assert_eq!(config.get::<String>("act").unwrap(), "gelu_new");
        assert_eq!(config.optional::<usize>("n_inner").unwrap(), None);
        assert_eq!(config.get_or("n_inner", 3072usize).unwrap(), 3072);
        assert_eq!(config.get_or("absent", 0.1f32).unwrap(), 0.1);
        assert_eq!(config.map().len(), 6);
    }

    #[test]
    fn a_wrong_key_is_named_with_what_was_expected_and_found() {
        let config = object(r#"{"n_head": "12", "n_layer": -1, "huge": 1e300, "tie": 0}"#).unwrap();
        let says = |error: Error, words: &str| {
            assert_eq!(error.kind(), Kind::BadData);
            assert!(error.to_string().ends_with(words), "{error}");
        };
        says(
            config.get::<usize>("n_head").unwrap_err(),
            "config.json: `n_head`: expected a whole number, 0 or more, found \"12\"",
        );
        says(config.get::<usize>("n_layer").unwrap_err(), "found -1");
        says(config.get_or::<usize>("n_layer", 3).unwrap_err(), "found -1");
        says(config.get::<usize>("n_embd").unwrap_err(), "found no such key");
        says(config.get::<f32>("huge").unwrap_err(), "expected a number, found 1e+300");
        says(config.get::<bool>("tie").unwrap_err(), "expected true or false, found 0");
    }

    #[test]
    fn a_file_that_is_not_an_object_is_one_line() {
        for (text, words) in [
            ("", "line 1 column 0"),
            ("{\n  \"a\": 1,\n}", "line 3 column 1"),
            ("[1, 2]", "found an array of 2"),
            ("\u{7}", "not JSON"),
        ] {
            let error = object(text).unwrap_err();
            assert_eq!(error.kind(), Kind::BadData);
            let line = error.to_string();
            assert!(line.contains("config.json: expected a JSON object"), "{line}");
            assert!(line.contains(words) && !line.contains('\n'), "{line}");
        }
        let missing = Object::read(Path::new("/nowhere/config.json")).unwrap_err();
        assert_eq!(missing.kind(), Kind::BadData);
        assert!(missing.to_string().contains("no such file"), "{missing}");
    }

    #[test]
    fn what_is_written_is_read_back_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let value = serde_json::json!({"z": 1, "a": "ñ", "m": [1.5]});
        write(&path, &value).unwrap();
        let read = Object::read(&path).unwrap();
        assert_eq!(Value::Object(read.map().clone()), value);
        assert_eq!(read.map().keys().collect::<Vec<_>>(), ["z", "a", "m"]);
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("{\n  \"z\": 1,\n"));
    }
}

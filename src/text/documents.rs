//! A document: one text that begins and ends, and where it came from.

use super::sources::{Options, Source, read};
use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One text that begins and ends: a poem, a tale. `text` is never blank, has no byte order mark,
/// ends its lines in LF, and neither begins nor ends with an empty line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Empty where the source does not say.
    pub author: String,
    /// Empty where the source does not say.
    pub title: String,
    pub text: String,
    pub origin: Origin,
}

/// Where a document was read; as text, what a message says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The index of its source among those given.
    pub source: usize,
    pub file: Arc<str>,
    /// From 1: the row of a table, the value of JSON, in plain text the line where it begins.
    pub row: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, row {}", self.file, self.row)
    }
}

/// As it is displayed; the source is the first, for no text says which it was.
impl FromStr for Origin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.rsplit_once(", row ");
        let row = parts.and_then(|(_, row)| row.parse().ok()).filter(|row| *row > 0);
        match (parts, row) {
            (Some((file, _)), Some(row)) => Ok(Origin { source: 0, file: file.into(), row }),
            _ => Err(Error::bad_data("origin", "FILE, row NUMBER", format!("{text:?}"))),
        }
    }
}

/// The corpus inside the binary (`corpus/coplas.csv`).
pub fn embedded() -> Result<Vec<Document>> {
    read(&[Source::embedded()], Options::default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_corpus_has_documents() {
        let documents = embedded().unwrap();
        assert!(documents.len() >= 3);
        assert!(documents.iter().all(|document| !document.text.trim().is_empty()));
        assert!(documents.iter().all(|document| !document.text.contains('\r')));
        assert_eq!(documents[1].origin.to_string(), "copla's own corpus, row 2");
        let origin: Origin = "copla's own corpus, row 2".parse().unwrap();
        assert_eq!(origin, documents[1].origin);
        for text in ["", "a.csv", "a.csv, row 0", "a.csv, row x"] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }
}

//! What was found while documents were read, source by source.

use super::record::Remarks;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Of every source, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub sources: Vec<SourceReport>,
}

/// Counts of one source. Characters are Unicode scalar values of the column that holds the texts:
/// `characters_read` = `characters` + `characters_not_taken` + `trimmed` + `crlf`. Where `take` samples
/// the documents or rows are skipped, all that was read is counted, but for the skipped rows' characters.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SourceReport {
    /// As it was given.
    pub source: String,
    pub weight: f64,
    pub files: u64,
    /// Passed over in a directory or by a pattern, for the ends of their names are unknown.
    pub ignored_files: u64,
    /// On the disk.
    pub bytes: u64,
    /// Files in each format, encoding and so on; files that have no such thing are not counted.
    pub formats: BTreeMap<String, u64>,
    pub encodings: BTreeMap<String, u64>,
    pub delimiters: BTreeMap<String, u64>,
    pub columns: BTreeMap<String, u64>,
    pub cuts: BTreeMap<String, u64>,
    /// Rows of tables, values of JSON, parts of plain texts: `documents_found` + `blank` + `skipped_rows`.
    pub rows: u64,
    /// Null, empty or nothing but spaces.
    pub blank: u64,
    pub skipped_rows: u64,
    /// Why the first of them was skipped.
    pub first_skipped: Option<String>,
    pub documents_found: u64,
    /// Those that `take` left.
    pub documents: u64,
    pub characters_read: u64,
    pub characters: u64,
    pub characters_not_taken: u64,
    /// Spaces and empty lines at the ends of texts.
    pub trimmed: u64,
    /// Line ends that were CRLF and are LF.
    pub crlf: u64,
    /// Line ends that were CR and are LF.
    pub lone_cr: u64,
}

impl SourceReport {
    pub(super) fn remark(&mut self, format: &str, remarks: Remarks) {
        let Remarks { encoding, delimiter, column, cut } = remarks;
        let found = [
            (&mut self.formats, Some(format.to_string())),
            (&mut self.encodings, encoding),
            (&mut self.delimiters, delimiter),
            (&mut self.columns, column),
            (&mut self.cuts, cut),
        ];
        for (counts, name) in found {
            if let Some(name) = name {
                *counts.entry(name).or_default() += 1;
            }
        }
    }
}

/// One line for a person: what is there, then what was recognised, then what was left out.
impl fmt::Display for SourceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} documents, {} characters", self.source, self.documents, self.characters)?;
        if self.documents < self.documents_found {
            write!(f, " (of {} documents)", self.documents_found)?;
        }
        write!(f, "; {} {}", self.files, if self.files == 1 { "file" } else { "files" })?;
        let quoted =
            |name: &str| if name.len() == 1 { format!("`{name}`") } else { name.to_string() };
        for (what, counts) in [
            ("", &self.formats),
            ("", &self.encodings),
            ("delimiter ", &self.delimiters),
            ("column ", &self.columns),
            ("cut ", &self.cuts),
        ] {
            if !counts.is_empty() {
                let names: Vec<String> = counts.keys().map(|name| quoted(name)).collect();
                write!(f, ", {what}{}", names.join(" and "))?;
            }
        }
        for (count, what) in [
            (self.ignored_files, "files of unknown format passed over"),
            (self.blank, "blank rows"),
            (self.crlf, "line ends CRLF made LF"),
            (self.lone_cr, "line ends CR made LF"),
            (self.skipped_rows, "broken rows skipped"),
        ] {
            if count > 0 {
                write!(f, "; {what}: {count}")?;
            }
        }
        match &self.first_skipped {
            Some(why) => write!(f, " (the first: {why})"),
            None => Ok(()),
        }
    }
}

//! CSV and TSV: a header, then rows whose quoted fields may hold delimiters, quotes and line breaks.

use super::encoding::Utf8;
use super::input::BUFFER;
use super::record::{Chosen, Fault, Opened, Record, Remarks, Wanted, unreadable};
use crate::error::{Error, Result};
use csv::{Reader, ReaderBuilder, StringRecord};
use std::io::{BufRead, Chain, Read};
use std::sync::Arc;

/// What may stand between fields; a spreadsheet that speaks Spanish writes `;`, for its numbers have
/// commas.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Follows a table while it is read. A quote left open swallows the rest of a file without a
/// complaint from the parser; it then swallows this row too.
const LAST_ROW: &str = "\u{1}";
const END: &[u8] = b"\n\x01\n";

const CLOSING_QUOTE: &str = "a closing quote";
const END_OF_FILE: &str = "the end of the file";

/// Whether a quote that was left open has swallowed the last row into this field.
fn is_swallowed(field: &str) -> bool {
    field.as_bytes().ends_with(END)
}

/// How to read a table.
pub(super) struct Table<'a> {
    pub name: &'a Arc<str>,
    pub wanted: &'a Wanted,
    /// Recognised where it is `None`.
    pub delimiter: Option<u8>,
    /// The first to be tried, by the file's format.
    pub usual: u8,
    /// For one row.
    pub most: u64,
}

impl Table<'_> {
    /// Reads the header. Bad data where a column is missing; a blank file has no records.
    pub fn open(&self, mut utf8: Utf8) -> Result<Opened> {
        let failed = |error| unreadable(self.name, "its header", self.most, error);
        utf8.allow(self.most);
        let head = utf8.fill_buf().map_err(failed)?;
        let delimiter = match self.delimiter {
            Some(delimiter) => delimiter,
            None => self.recognise(head),
        };
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .buffer_capacity(BUFFER)
            .from_reader(utf8.chain(END));
        let header = match reader.headers() {
            Ok(header) => header.clone(),
            Err(error) => return Err(broken(self.name, "its header", self.most, error)),
        };
        let delimiter = match delimiter {
            b'\t' => "tab".to_string(),
            other => char::from(other).to_string(),
        };
        let mut remarks = Remarks { delimiter: Some(delimiter), ..Remarks::default() };
        if header.iter().all(|field| field.trim().is_empty() || field == LAST_ROW) {
            return Ok(Opened { records: Box::new(std::iter::empty()), remarks });
        }
        if header.iter().next_back().is_some_and(is_swallowed) {
            let place = format!("{}, its header", self.name);
            return Err(Error::bad_data(place, CLOSING_QUOTE, END_OF_FILE));
        }
        let names: Vec<&str> = header.iter().collect();
        let columns = self.wanted.choose(self.name, &names)?;
        remarks.column = Some(names[columns.text].trim().to_string());
        let (name, fields, most) = (self.name.clone(), header.len(), self.most);
        let record = StringRecord::new();
        let rows = Rows { reader, record, columns, fields, name, most, row: 0 };
        Ok(Opened { records: Box::new(rows), remarks })
    }

    /// The delimiter under which the header has the columns wanted, or else the most fields; the usual
    /// one where that does not decide.
    fn recognise(&self, head: &[u8]) -> u8 {
        let worth = |&delimiter: &u8| {
            let mut header = StringRecord::new();
            let mut reader =
                ReaderBuilder::new().delimiter(delimiter).has_headers(false).from_reader(head);
            // A header that cannot be read has no fields, and will be refused when it is read.
            let _ = reader.read_record(&mut header);
            let names: Vec<&str> = header.iter().collect();
            let has_columns = self.wanted.choose(self.name, &names).is_ok();
            (has_columns, names.len(), delimiter == self.usual)
        };
        DELIMITERS.into_iter().rev().max_by_key(worth).unwrap_or(self.usual)
    }
}

struct Rows {
    reader: Reader<Chain<Utf8, &'static [u8]>>,
    record: StringRecord,
    columns: Chosen,
    fields: usize,
    name: Arc<str>,
    most: u64,
    row: u64,
}

impl Iterator for Rows {
    type Item = std::result::Result<Record, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.row += 1;
        self.reader.get_mut().get_mut().0.allow(self.most);
        match self.reader.read_record(&mut self.record) {
            Ok(true) if self.record.iter().eq([LAST_ROW]) => None,
            Ok(true) => Some(self.row().map_err(Fault::Row)),
            Ok(false) => None,
            Err(error) => {
                let line = self.reader.position().line();
                let place = format!("row {} (line {line})", self.row);
                Some(Err(Fault::File(broken(&self.name, &place, self.most, error))))
            }
        }
    }
}

impl Rows {
    fn row(&self) -> Result<Record> {
        let record = &self.record;
        let broken = |expected: String, found: String| {
            let line = record.position().map_or(0, |position| position.line());
            let place = format!("{}, row {} (line {line})", self.name, self.row);
            Error::bad_data(place, expected, found)
        };
        if record.iter().next_back().is_some_and(is_swallowed) {
            return Err(broken(CLOSING_QUOTE.into(), END_OF_FILE.into()));
        }
        if record.len() != self.fields {
            return Err(broken(format!("{} fields", self.fields), record.len().to_string()));
        }
        let named = |column: Option<usize>| column.map_or("", |i| record[i].trim()).to_string();
        Ok(Record {
            author: named(self.columns.author),
            title: named(self.columns.title),
            text: record[self.columns.text].to_string(),
            row: self.row,
            origin: None,
        })
    }
}

fn broken(name: &Arc<str>, place: &str, most: u64, error: csv::Error) -> Error {
    let told = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(error) => unreadable(name, place, most, error),
        _ => Error::bad_data(format!("{name}, {place}"), "a readable table", told),
    }
}

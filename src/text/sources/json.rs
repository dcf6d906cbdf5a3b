//! JSON and JSON lines: texts, or objects with columns, one at a time whatever the size of the file.

use super::encoding::Utf8;
use super::record::{Chosen, Fault, Opened, Record, Remarks, Wanted, unreadable};
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::io::{self, BufRead};
use std::sync::Arc;

/// How values stand in a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In one array, or one behind the other.
    Values,
    /// One on each line, so that a broken one harms no other.
    Lines,
}

/// Reads the first value already, for the name of its column. `most` bytes for one value.
pub(super) fn open(
    utf8: Utf8,
    name: &Arc<str>,
    layout: Layout,
    wanted: &Wanted,
    most: u64,
) -> Result<Opened> {
    let mut values = Values {
        utf8,
        name: name.clone(),
        most,
        layout,
        wanted: wanted.clone(),
        column: None,
        bytes: Vec::new(),
        row: 0,
        line: 1,
        begun: 0,
        state: State::Before,
    };
    let first = values.next();
    let remarks = Remarks { column: values.column.clone(), ..Remarks::default() };
    Ok(Opened { records: Box::new(first.into_iter().chain(values)), remarks })
}

/// Where in the file the reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was read.
    Before,
    /// Behind `[`: a value, or the end of an empty array.
    Opened,
    /// Behind a value of an array: a comma or its end.
    InArray,
    /// Behind a comma.
    Comma,
    /// Behind a value that is in no array, or behind the array.
    Bare,
    Ended,
}

struct Values {
    utf8: Utf8,
    name: Arc<str>,
    most: u64,
    layout: Layout,
    wanted: Wanted,
    /// The text's, as the first object names it.
    column: Option<String>,
    /// The value that is being read.
    bytes: Vec<u8>,
    row: u64,
    /// Of the next byte.
    line: u64,
    /// The line at which the value begins.
    begun: u64,
    state: State,
}

impl Iterator for Values {
    type Item = std::result::Result<Record, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.utf8.allow(self.most);
        self.bytes.clear();
        let found = match self.layout {
            Layout::Lines => self.next_line(),
            Layout::Values => self.next_value(),
        };
        match found {
            Ok(false) => None,
            Ok(true) => {
                self.row += 1;
                Some(self.record())
            }
            Err(error) => {
                let place = format!("row {} (line {})", self.row + 1, self.line);
                Some(Err(Fault::File(unreadable(&self.name, &place, self.most, error))))
            }
        }
    }
}

impl Values {
    /// Fills `bytes` with the next line that is not blank; false at the end.
    fn next_line(&mut self) -> io::Result<bool> {
        loop {
            self.begun = self.line;
            self.bytes.clear();
            if self.utf8.read_until(b'\n', &mut self.bytes)? == 0 {
                return Ok(false);
            }
            self.line += 1;
            if !self.bytes.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    /// Fills `bytes` with the next value, whole though not yet looked into; false at the end.
    fn next_value(&mut self) -> io::Result<bool> {
        loop {
            let byte = self.blank()?;
            let next = match (self.state, byte) {
                (State::Before, Some(b'[')) => State::Opened,
                (State::Opened | State::InArray, Some(b']')) => State::Ended,
                (State::InArray, Some(b',')) => State::Comma,
                (State::Before | State::Bare | State::Ended, None) => return Ok(false),
                (State::Opened | State::InArray | State::Comma, None) => {
                    return Err(self.wrong("`]`", "the end of the file (truncated)"));
                }
                (State::InArray, Some(_)) => return Err(self.wrong("`,` or `]`", "another sign")),
                (State::Ended, Some(_)) => {
                    return Err(self.wrong("the end of the file", "something behind the array"));
                }
                (_, Some(b',' | b']' | b'}' | b':')) => {
                    return Err(self.wrong("a value", "a sign that begins none"));
                }
                (state, Some(_)) => {
                    self.begun = self.line;
                    self.value()?;
                    let is_bare = matches!(state, State::Before | State::Bare);
                    self.state = if is_bare { State::Bare } else { State::InArray };
                    return Ok(true);
                }
            };
            self.utf8.consume(1);
            self.state = next;
        }
    }

    /// Skips blanks; the byte behind them, which stays.
    fn blank(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = self.utf8.fill_buf()?;
            let Some(&byte) = buffer.first() else { return Ok(None) };
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.line += u64::from(byte == b'\n');
            self.utf8.consume(1);
        }
    }

    /// Takes bytes to where brackets and quotes are closed.
    fn value(&mut self) -> io::Result<()> {
        let (mut depth, mut in_text, mut escaped) = (0_u64, false, false);
        loop {
            let buffer = self.utf8.fill_buf()?;
            if buffer.is_empty() {
                return match depth > 0 || in_text {
                    true => Err(self.wrong("a whole value", "the end of the file (truncated)")),
                    false => Ok(()),
                };
            }
            // (bytes that belong to the value, whether it ends there)
            let (mut length, mut ended) = (buffer.len(), false);
            for (at, &byte) in buffer.iter().enumerate() {
                self.line += u64::from(byte == b'\n');
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if in_text => escaped = true,
                    b'"' => in_text = !in_text,
                    _ if in_text => {}
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' if depth > 0 => depth -= 1,
                    // A number or a word ends before what follows it.
                    b'}' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => {
                        self.line -= u64::from(byte == b'\n');
                        (length, ended) = (at, true);
                        break;
                    }
                    _ => {}
                }
                if depth == 0 && !in_text && matches!(byte, b'"' | b'}' | b']') {
                    (length, ended) = (at + 1, true);
                    break;
                }
            }
            self.bytes.extend_from_slice(&buffer[..length]);
            self.utf8.consume(length);
            if ended {
                return Ok(());
            }
        }
    }

    fn wrong(&self, expected: &str, found: &str) -> io::Error {
        let place = format!("{}, line {}", self.name, self.line);
        io::Error::other(Error::bad_data(place, expected, found))
    }

    /// The value as a record. The first object settles the column of the text for all of them.
    fn record(&mut self) -> std::result::Result<Record, Fault> {
        let place = format!("{}, row {} (line {})", self.name, self.row, self.begun);
        let value = serde_json::from_slice(&self.bytes).map_err(|error| {
            let told = error.to_string();
            // The library counts lines from the value's first.
            let what = told.split(" at line ").next().unwrap_or(&told);
            let found = format!("{what} (column {})", error.column());
            Fault::Row(Error::bad_data(&*place, "JSON", found).because(error))
        })?;
        match value {
            Value::String(text) => {
                let (author, title) = Default::default();
                Ok(Record { author, title, text, row: self.row, origin: None })
            }
            Value::Object(object) => {
                let names: Vec<&String> = object.keys().collect();
                let chosen = match (self.wanted.choose(&place, &names), &self.column) {
                    (Ok(chosen), _) => chosen,
                    (Err(error), None) => return Err(Fault::File(error)),
                    (Err(error), Some(_)) => return Err(Fault::Row(error)),
                };
                if self.column.is_none() {
                    self.wanted.text = Some(names[chosen.text].clone());
                    self.column = self.wanted.text.clone();
                }
                texts(object, &chosen, &place, self.row).map_err(Fault::Row)
            }
            other => Err(Fault::Row(Error::bad_data(place, "an object or a text", kind(&other)))),
        }
    }
}

fn texts(mut object: Map<String, Value>, chosen: &Chosen, place: &str, row: u64) -> Result<Record> {
    let mut take = |column: Option<usize>| match column.and_then(|at| object.iter_mut().nth(at)) {
        None | Some((_, Value::Null)) => Ok(String::new()),
        Some((_, Value::String(text))) => Ok(std::mem::take(text)),
        Some((name, other)) => {
            Err(Error::bad_data(place, format!("a text in {name:?}"), kind(other)))
        }
    };
    let text = take(Some(chosen.text))?;
    let (author, title) = (take(chosen.author)?, take(chosen.title)?);
    // Another's column of that name may hold anything.
    let origin = object.get("origin").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let (author, title) = (author.trim().into(), title.trim().into());
    Ok(Record { author, title, text, row, origin })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

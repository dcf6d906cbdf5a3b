//! Plain text becomes documents: the whole file, a line each, or what stands between blank lines.

use super::encoding::Utf8;
use super::record::{Fault, Record, unreadable};
use crate::error::{Error, Result};
use std::io::{self, BufRead};
use std::sync::Arc;

/// Where a plain text is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cut {
    /// At the widest break that it has: two or more blank lines, else one, else nowhere.
    #[default]
    Widest,
    /// At blank lines, however many.
    Blank,
    /// At the end of every line.
    Line,
    /// Nowhere: a file is a document.
    File,
}

impl Cut {
    pub(super) fn parse(name: &str) -> Result<Self> {
        match name {
            "widest" => Ok(Cut::Widest),
            "blank" => Ok(Cut::Blank),
            "line" => Ok(Cut::Line),
            "file" => Ok(Cut::File),
            _ => Err(Error::usage("split", "widest, blank, line or file", name)),
        }
    }

    /// Blank lines that are a break, where it need not be looked for.
    pub(super) fn blanks(self) -> Option<usize> {
        match self {
            Cut::Widest => None,
            Cut::Line => Some(0),
            Cut::Blank => Some(1),
            Cut::File => Some(NEVER),
        }
    }
}

/// More blank lines than there are.
const NEVER: usize = usize::MAX;

/// How a break of so many blank lines is reported.
pub(super) fn describe(blanks: usize) -> &'static str {
    match blanks {
        0 => "at every line",
        1 => "at blank lines",
        2 => "at two blank lines",
        _ => "nowhere",
    }
}

/// Reads a text through for its widest break: 2 or 1 blank lines, or that it has none.
pub(super) fn widest_break(utf8: Utf8, name: &Arc<str>, most: u64) -> Result<usize> {
    let mut lines = Lines::new(utf8);
    let (mut line, mut blanks, mut widest, mut begun) = (String::new(), 0, 0, false);
    loop {
        line.clear();
        lines.utf8.allow(most);
        let more = lines
            .append(&mut line)
            .map_err(|error| unreadable(name, &format!("line {}", lines.number), most, error))?;
        match more {
            true if line.trim().is_empty() => blanks += 1,
            true => {
                // Blank lines before the first line are no break.
                widest = if begun { widest.max(blanks) } else { 0 };
                (begun, blanks) = (true, 0);
            }
            false => break,
        }
        if widest >= 2 {
            return Ok(2);
        }
    }
    Ok(if widest == 0 { NEVER } else { 1 })
}

/// The parts of a text, each with the blank lines behind it, the first one also with those before it:
/// together they are the text, character for character.
pub(super) struct Parts {
    lines: Lines,
    name: Arc<str>,
    most: u64,
    /// Blank lines that are a break.
    blanks: usize,
    /// The first line of the next part, and its number.
    next: Option<(u64, String)>,
    ended: bool,
}

impl Parts {
    pub fn new(utf8: Utf8, name: Arc<str>, most: u64, blanks: usize) -> Self {
        Parts { lines: Lines::new(utf8), name, most, blanks, next: None, ended: false }
    }

    fn part(&mut self) -> io::Result<Option<Record>> {
        self.lines.utf8.allow(self.most);
        let (mut row, mut text) = self.next.take().unwrap_or_default();
        let mut blanks = 0;
        while !self.ended {
            let end = text.len();
            self.ended = !self.lines.append(&mut text)?;
            if text[end..].trim().is_empty() {
                blanks += 1;
            } else if row == 0 {
                row = self.lines.number;
            } else if blanks >= self.blanks {
                self.next = Some((self.lines.number, text.split_off(end)));
                break;
            } else {
                blanks = 0;
            }
        }
        let (author, title) = (String::new(), String::new());
        Ok((!text.is_empty()).then_some(Record { author, title, text, row, origin: None }))
    }
}

impl Iterator for Parts {
    type Item = std::result::Result<Record, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.part().transpose().map(|part| {
            part.map_err(|error| {
                let place = format!("line {}", self.lines.number);
                Fault::File(unreadable(&self.name, &place, self.most, error))
            })
        })
    }
}

/// Lines that end in LF, CRLF or CR.
struct Lines {
    utf8: Utf8,
    /// Of the line read last, from 1.
    number: u64,
    line: Vec<u8>,
}

impl Lines {
    fn new(utf8: Utf8) -> Self {
        Lines { utf8, number: 0, line: Vec::new() }
    }

    /// Appends the next line with its end; false behind the last.
    fn append(&mut self, text: &mut String) -> io::Result<bool> {
        self.line.clear();
        self.number += 1;
        loop {
            let buffer = self.utf8.fill_buf()?;
            let end = buffer.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let length = end.map_or(buffer.len(), |end| end + 1);
            self.line.extend_from_slice(&buffer[..length]);
            self.utf8.consume(length);
            if self.line.ends_with(b"\r") && self.utf8.fill_buf()?.first() == Some(&b'\n') {
                self.line.push(b'\n');
                self.utf8.consume(1);
            }
            if end.is_some() || length == 0 {
                break;
            }
        }
        text.push_str(str::from_utf8(&self.line).map_err(io::Error::other)?);
        Ok(!self.line.is_empty())
    }
}

//! The zip archives that `torch.save` writes: where each stored record lies, and nothing compressed.
//!
//! The layout is that of PKWARE's APPNOTE.TXT 6.3 (sections 4.3 and 4.5.3). Everything is where
//! `torch.save` puts it, the directory at the very end with no comment after it, so a file has one
//! reading only.

use crate::error::{Error, Result};
use crate::formats::mapped::Mapped;
use crc32fast::Hasher;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

/// What an archive begins with: its first record's header.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";
/// The lengths of the fixed part of each structure.
const LOCAL: usize = 30;
const CENTRAL: usize = 46;
const END: usize = 22;
const END_64: usize = 56;
const LOCATOR_64: usize = 20;
/// A field that overflowed into the zip64 extra.
const IN_EXTRA: u64 = 0xffff_ffff;

/// Where a record's bytes lie, and what they must sum to.
#[derive(Debug)]
pub(super) struct Record {
    /// File and name, for the messages.
    thing: String,
    pub bytes: Range<usize>,
    /// CRC-32. PyTorch writes 0 where it is told to compute none
    /// (`torch.serialization.set_crc32_options`), and other programs hardly ever do.
    crc: u32,
    found: OnceLock<u32>,
}

impl Record {
    /// Bad data where the bytes are not those that were written. Reads them once, on all threads, and does
    /// not keep them in memory.
    pub fn check(&self, file: &Mapped) -> Result<()> {
        const PIECE: usize = 1 << 20;
        if self.crc == 0 {
            return Ok(());
        }
        let found = *self.found.get_or_init(|| {
            let sum = |piece: &[u8]| {
                let mut hasher = Hasher::new();
                hasher.update(piece);
                file.release(piece);
                hasher
            };
            let sums: Vec<_> = file[self.bytes.clone()].par_chunks(PIECE).map(sum).collect();
            let mut whole = Hasher::new();
            sums.iter().for_each(|piece| whole.combine(piece));
            whole.finalize()
        });
        match found == self.crc {
            true => Ok(()),
            false => {
                let expected = format!("the bytes that were written (CRC-32 {:08x})", self.crc);
                Err(Error::bad_data(&*self.thing, expected, format!("damaged ones ({found:08x})")))
            }
        }
    }
}

/// Every record by its name. Each lies in `bytes`, is stored as it is, and overlaps no other. Bad data
/// otherwise; `path` names the file.
pub(super) fn records(bytes: &[u8], path: &Path) -> Result<BTreeMap<String, Record>> {
    let wrong = |expected: &str, found: &str| {
        Error::bad_data(format!("{}: zip archive", path.display()), expected, found)
    };
    let (directory, count) = directory(bytes)
        .ok_or_else(|| wrong("its directory at the end", "none there (truncated?)"))?;
    let mut rest = &bytes[directory.clone()];
    let mut records = BTreeMap::new();
    let mut places = Vec::new();
    for _ in 0..count {
        let (record, after) = central(rest).ok_or_else(|| {
            wrong(&format!("{count} records in its directory"), &format!("{}", places.len()))
        })?;
        rest = after;
        let name = str::from_utf8(record.name)
            .map_err(|error| wrong("names in UTF-8", &error.to_string()).because(error))?;
        let thing = format!("{}: record {name:?}", path.display());
        if record.encrypted || record.method != 0 || record.packed != record.size {
            let found = if record.encrypted { "encrypted" } else { "compressed" };
            return Err(Error::bad_data(thing, "stored as it is, as torch.save does", found));
        }
        let data = data(&bytes[..directory.start], &record).ok_or_else(|| {
            let found = format!("{} bytes from {} on", record.size, record.header);
            Error::bad_data(&*thing, "a header of the same name and its bytes in the file", found)
        })?;
        places.push((record.header, data.end as u64));
        let (crc, found) = (record.crc, OnceLock::new());
        let record = Record { thing: thing.clone(), bytes: data, crc, found };
        if records.insert(name.to_string(), record).is_some() {
            return Err(Error::bad_data(thing, "each name once", "it twice"));
        }
    }
    if !rest.is_empty() {
        let found = format!("{} bytes after them", rest.len());
        return Err(wrong(&format!("{count} records in its directory"), &found));
    }
    places.sort_unstable();
    match places.is_sorted_by(|(_, end), (next, _)| end <= next) {
        true => Ok(records),
        false => Err(wrong("records beside each other", "two that overlap")),
    }
}

/// Where the central directory lies, and how many records it is said to have.
fn directory(bytes: &[u8]) -> Option<(Range<usize>, u64)> {
    let end_at = bytes.len().checked_sub(END)?;
    let end = fixed(bytes, end_at, END, b"PK\x05\x06")?;
    if number(end, 20, 2) != 0 {
        return None;
    }
    let locator = end_at.checked_sub(LOCATOR_64).map(|at| (at, &bytes[at..end_at]));
    let (limit, count, size, start) = match locator {
        Some((at, locator)) if locator.starts_with(b"PK\x06\x07") => {
            let end_64_at = at.checked_sub(END_64)?;
            let end = fixed(bytes, end_64_at, END_64, b"PK\x06\x06")?;
            if number(locator, 8, 8) != end_64_at as u64 {
                return None;
            }
            (end_64_at, number(end, 32, 8), number(end, 40, 8), number(end, 48, 8))
        }
        _ => (end_at, number(end, 10, 2), number(end, 12, 4), number(end, 16, 4)),
    };
    let start = usize::try_from(start).ok()?;
    let found = limit.checked_sub(start)?;
    (found as u64 == size).then_some((start..limit, count))
}

/// A record as the central directory has it.
struct Listed<'a> {
    name: &'a [u8],
    encrypted: bool,
    method: u64,
    crc: u32,
    packed: u64,
    size: u64,
    /// Where its own header begins.
    header: u64,
}

/// The record that `rest` begins with, and what follows it.
fn central(rest: &[u8]) -> Option<(Listed<'_>, &[u8])> {
    let head = fixed(rest, 0, CENTRAL, b"PK\x01\x02")?;
    let length = |at| number(head, at, 2) as usize;
    let (name, after) = rest[CENTRAL..].split_at_checked(length(28))?;
    let (extra, after) = after.split_at_checked(length(30))?;
    let (_comment, after) = after.split_at_checked(length(32))?;
    let mut wide = zip64_extra(extra);
    // The extra holds just the fields that did not fit, in this order.
    let mut field = |at| match number(head, at, 4) {
        IN_EXTRA => {
            let (value, more) = wide.split_at_checked(8)?;
            wide = more;
            Some(number(value, 0, 8))
        }
        value => Some(value),
    };
    let (size, packed, header) = (field(24)?, field(20)?, field(42)?);
    let encrypted = number(head, 8, 2) & 1 != 0;
    let (method, crc) = (number(head, 10, 2), number(head, 16, 4) as u32);
    Some((Listed { name, encrypted, method, crc, packed, size, header }, after))
}

/// The zip64 part of a record's extra fields; empty where there is none.
fn zip64_extra(mut extra: &[u8]) -> &[u8] {
    while let Some((head, rest)) = extra.split_at_checked(4) {
        let Some((body, rest)) = rest.split_at_checked(number(head, 2, 2) as usize) else { break };
        if number(head, 0, 2) == 1 {
            return body;
        }
        extra = rest;
    }
    &[]
}

/// Where the record's bytes lie, by its own header, which must be of the same name.
fn data(bytes: &[u8], record: &Listed) -> Option<Range<usize>> {
    let at = usize::try_from(record.header).ok()?;
    let head = fixed(bytes, at, LOCAL, MAGIC)?;
    let name = at + LOCAL;
    let extra = name + number(head, 26, 2) as usize;
    let start = extra + number(head, 28, 2) as usize;
    let end = start.checked_add(usize::try_from(record.size).ok()?)?;
    let same = number(head, 8, 2) == record.method && bytes.get(name..extra)? == record.name;
    (same && end <= bytes.len()).then_some(start..end)
}

/// The `length` bytes at `at`, if they are there and begin with `signature`.
fn fixed<'a>(bytes: &'a [u8], at: usize, length: usize, signature: &[u8]) -> Option<&'a [u8]> {
    let found = bytes.get(at..)?.get(..length)?;
    found.starts_with(signature).then_some(found)
}

/// The little-endian number of `width` bytes, at most 8, at `at` of a structure that was checked to be
/// that long.
fn number(structure: &[u8], at: usize, width: usize) -> u64 {
    structure[at..at + width].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

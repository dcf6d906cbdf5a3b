//! Bytes become UTF-8: which encoding they are in is recognised by a look at all of them, or is told.

use super::input::{BUFFER, Input, Unpacked};
use crate::error::{Error, Result};
use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use std::io::{self, BufRead, Read};
use std::sync::Arc;

/// The encoding of that name (any label of the WHATWG's Encoding Standard). Usage error for others.
pub(super) fn named(label: &str) -> Result<&'static Encoding> {
    Encoding::for_label_no_replacement(label.as_bytes()).ok_or_else(|| {
        let expected = "utf-8, utf-16le, utf-16be, windows-1252 or another of the WHATWG's labels";
        Error::usage("encoding", expected, label)
    })
}

/// What the encoding was recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recognised {
    pub encoding: &'static Encoding,
    pub has_bom: bool,
}

impl Recognised {
    pub fn describe(&self) -> String {
        let bom = if self.has_bom { " with BOM" } else { "" };
        format!("{}{bom}", self.encoding.name())
    }
}

/// Enough for the pattern of zeros that UTF-16 has.
const HEAD: usize = 4096;

/// Reads a file through to find its encoding: a byte order mark decides, else the zeros that every
/// other byte of UTF-16 is, else UTF-8 if all of it is UTF-8, else Windows-1252 if that is plausible.
///
/// Plausible is: most bytes above ASCII are not UTF-8, nine of ten would be letters or the signs of
/// Spanish, and none is one of the five that Windows-1252 leaves undefined. A few broken bytes in UTF-8
/// do not make it so, nor do the code pages of DOS and of old Macs. Bad data where nothing fits, with
/// the byte.
pub(super) fn recognise(input: &Input) -> Result<Recognised> {
    let mut unpacked = input.open()?;
    let failed = |error| input.failed(error);
    let mut bytes = vec![0; BUFFER];
    let mut length = unpacked.fill(&mut bytes).map_err(failed)?;
    if let Some((encoding, _)) = Encoding::for_bom(&bytes[..length]) {
        return Ok(Recognised { encoding, has_bom: true });
    }
    if let Some(encoding) = utf16_by_zeros(&bytes[..length.min(HEAD)]) {
        return Ok(Recognised { encoding, has_bom: false });
    }

    let mut census = Census::default();
    while length > 0 {
        census.count(&bytes[..length], length < bytes.len());
        length = unpacked.fill(&mut bytes).map_err(failed)?;
    }
    match census.first_malformed {
        None => Ok(Recognised { encoding: UTF_8, has_bom: false }),
        Some(_) if census.is_windows_1252() => {
            Ok(Recognised { encoding: WINDOWS_1252, has_bom: false })
        }
        Some((at, byte)) => {
            let found = format!("0x{byte:02x} at byte {at} (encoding= names another)");
            Err(Error::bad_data(&*input.name, "UTF-8 text", found))
        }
    }
}

/// In Spanish nearly every second byte of UTF-16 is zero, and no other.
fn utf16_by_zeros(head: &[u8]) -> Option<&'static Encoding> {
    let pairs = head.len() / 2;
    let zeros = |offset: usize| head.iter().skip(offset).step_by(2).filter(|b| **b == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    match (even * 2 > pairs, odd * 2 > pairs) {
        (false, true) if even * 50 <= pairs => Some(UTF_16LE),
        (true, false) if odd * 50 <= pairs => Some(UTF_16BE),
        _ => None,
    }
}

/// How often each byte comes, and how many of them no UTF-8 has.
struct Census {
    decoder: Decoder,
    read: u64,
    counts: [u64; 256],
    malformed: u64,
    first_malformed: Option<(u64, u8)>,
    text: Vec<u8>,
}

impl Default for Census {
    fn default() -> Self {
        Census {
            decoder: UTF_8.new_decoder_without_bom_handling(),
            read: 0,
            counts: [0; 256],
            malformed: 0,
            first_malformed: None,
            text: vec![0; BUFFER],
        }
    }
}

impl Census {
    fn count(&mut self, bytes: &[u8], last: bool) {
        for &byte in bytes {
            self.counts[usize::from(byte)] += 1;
        }
        let mut at = 0;
        loop {
            let (result, read, _) =
                self.decoder.decode_to_utf8_without_replacement(&bytes[at..], &mut self.text, last);
            at += read;
            match result {
                DecoderResult::InputEmpty => break,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(length, after) => {
                    self.malformed += 1;
                    // Of a sequence that began in the last piece, the byte that breaks it off is told.
                    let begin = at.saturating_sub(usize::from(length) + usize::from(after));
                    let byte = bytes.get(begin).copied().unwrap_or_default();
                    self.first_malformed.get_or_insert((self.read + begin as u64, byte));
                }
            }
        }
        self.read += bytes.len() as u64;
    }

    fn is_windows_1252(&self) -> bool {
        let counts = &self.counts;
        let sum = |bytes: &[u8]| bytes.iter().map(|&byte| counts[usize::from(byte)]).sum::<u64>();
        let high: u64 = counts[0x80..].iter().sum();
        let leading: u64 = counts[0xc0..].iter().sum();
        // All from À to ÿ but × and ÷.
        let letters = leading - sum(b"\xd7\xf7");
        counts[0] == 0
            && sum(b"\x81\x8d\x8f\x90\x9d") == 0
            && 10 * (letters + sum(SIGNS)) >= 9 * high
            && 4 * letters >= high
            && 2 * self.malformed > leading
    }
}

/// € … ‘ ’ “ ” – — ¡ ª « ° · º » ¿ in Windows-1252.
const SIGNS: &[u8] = b"\x80\x85\x91\x92\x93\x94\x96\x97\xa1\xaa\xab\xb0\xb7\xba\xbb\xbf";

/// A file's text as UTF-8, with as much of it at a time as is allowed.
pub(super) struct Utf8 {
    from: Unpacked,
    name: Arc<str>,
    decoder: Decoder,
    bytes: Vec<u8>,
    /// What of `bytes` is not decoded yet.
    rest: std::ops::Range<usize>,
    /// Bytes before those in `bytes`.
    before: u64,
    /// Whether `bytes` are the last of the file.
    last: bool,
    /// Whether all of them are decoded.
    ended: bool,
    text: Vec<u8>,
    /// What of `text` is not read yet.
    ready: std::ops::Range<usize>,
    allowed: u64,
}

impl Utf8 {
    /// Decodes from the beginning; a byte order mark of the encoding is no text.
    pub fn new(from: Unpacked, name: Arc<str>, encoding: &'static Encoding) -> Self {
        Utf8 {
            from,
            name,
            decoder: encoding.new_decoder_with_bom_removal(),
            bytes: vec![0; BUFFER],
            rest: 0..0,
            before: 0,
            last: false,
            ended: false,
            text: vec![0; BUFFER],
            ready: 0..0,
            allowed: u64::MAX,
        }
    }

    /// Lets so many bytes more be read, to the end of a buffer; then reading fails with the kind
    /// `FileTooLarge`. So nothing that comes without end is ever held whole.
    pub fn allow(&mut self, bytes: u64) {
        self.allowed = bytes;
    }

    /// Makes text ready if there is any left.
    fn decode(&mut self) -> io::Result<()> {
        while self.ready.is_empty() && !self.ended {
            // Past its end nothing is asked of a file again: it may have grown since.
            if self.rest.is_empty() && !self.last {
                self.before += self.rest.end as u64;
                self.rest = 0..self.from.fill(&mut self.bytes)?;
                self.last = self.rest.end < self.bytes.len();
            }
            let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(
                &self.bytes[self.rest.clone()],
                &mut self.text,
                self.last,
            );
            self.rest.start += read;
            self.ready = 0..written;
            match result {
                DecoderResult::InputEmpty => self.ended = self.last,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(length, after) => {
                    let behind = u64::from(length) + u64::from(after);
                    let at = (self.before + self.rest.start as u64).saturating_sub(behind);
                    let expected = format!("{} text", self.decoder.encoding().name());
                    let found = format!("a byte at {at} that is none (encoding= names another)");
                    return Err(io::Error::other(Error::bad_data(&*self.name, expected, found)));
                }
            }
        }
        Ok(())
    }
}

impl BufRead for Utf8 {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.decode()?;
        match self.ready.is_empty() || self.allowed > 0 {
            true => Ok(&self.text[self.ready.clone()]),
            false => Err(io::ErrorKind::FileTooLarge.into()),
        }
    }

    fn consume(&mut self, length: usize) {
        self.ready.start += length;
        self.allowed = self.allowed.saturating_sub(length as u64);
    }
}

impl Read for Utf8 {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let text = self.fill_buf()?;
        let length = text.len().min(buffer.len());
        buffer[..length].copy_from_slice(&text[..length]);
        self.consume(length);
        Ok(length)
    }
}

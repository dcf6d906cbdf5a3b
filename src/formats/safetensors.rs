//! Weights in safetensors files: mapped, checked before they are believed, written whole or not at all.
//!
//! The format (<https://huggingface.co/docs/safetensors>): eight bytes that hold the header's length,
//! the header (JSON: a name, dtype, shape and byte range for each tensor), then the tensors' bytes
//! without gaps. Everything is little endian and row-major.

use crate::dtype::{DType, Element};
use crate::error::{Error, Kind, Result};
use crate::formats::stored::{self, StoredTensor};
use crate::formats::{
    atomic,
    mapped::{self, Mapped},
};
use ::safetensors::tensor::{Dtype, TensorInfo};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

// So that a file's bytes are a buffer's bytes.
const _: () = assert!(cfg!(target_endian = "little"), "safetensors files are little endian");

const EXPECTED_FILE: &str = "a safetensors file";
/// The bytes before the header: its length, a u64.
const LENGTH: usize = 8;
/// What the format allows a header to be; more is another kind of file.
const LONGEST_HEADER: u64 = 100_000_000;
const METADATA: &str = "__metadata__";

/// An open safetensors file. Its header was checked: every range lies in the file, has the length
/// that its shape and dtype ask for, and overlaps no other.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    map: Mapped,
    /// Where the tensors' bytes begin; the ranges count from here.
    data: usize,
    tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
}

impl Weights {
    /// Maps `path` and checks its header; the weights themselves are read from the disk when they are
    /// used. Every way in which the file can be wrong is bad data, one line.
    pub fn open(path: &Path) -> Result<Self> {
        let map = mapped::open(path, EXPECTED_FILE)?;
        let header = header(&map, path)?.to_vec();
        let (tensors, metadata) = parse_header(&header, path)?;
        let data = LENGTH + header.len();
        let expected = data.saturating_add(check_ranges(&tensors, path)?);
        if expected != map.len() {
            return Err(wrong_length(path, format!("{expected} bytes"), expected, map.len()));
        }
        Ok(Weights { path: path.to_path_buf(), map, data, tensors, metadata })
    }

    /// The file, as it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every name in the file, sorted. [`get`](Self::get) may still refuse one for its dtype (the masks
    /// that older GPT-2 files carry are boolean).
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// What the file says of itself, such as `format: pt`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The dtype and the shape of the weight of that name, if there is one.
    pub(super) fn about(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.tensors.get(name).map(|info| (info.dtype, &info.shape[..]))
    }

    /// The weight of that name. Bad data if there is none (the message has the nearest names), or if it
    /// is of a dtype that a [`DType`] cannot hold.
    pub fn get(&self, name: &str) -> Result<StoredTensor<'_>> {
        let (name, info) = self
            .tensors
            .get_key_value(name)
            .ok_or_else(|| stored::missing(&self.path, name, self.names()))?;
        let thing = stored::thing(&self.path, name);
        let dtype = stored::dtype(&thing, info.dtype)?;
        let (begin, end) = info.data_offsets;
        let bytes = &self.map[self.data + begin..self.data + end];
        Ok(StoredTensor { thing, dtype, shape: &info.shape, bytes: bytes.into(), file: &self.map })
    }
}

/// The header's bytes, which the file must be long enough to hold.
fn header<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a [u8]> {
    let wrong = |found| Error::bad_data(path.display().to_string(), EXPECTED_FILE, found);
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else {
        return Err(wrong(format!("{} bytes", bytes.len())));
    };
    let length = u64::from_le_bytes(*length);
    if length > LONGEST_HEADER {
        return Err(wrong(format!("another kind of file (its header would be {length} bytes)")));
    }
    let shortest = LENGTH + length as usize;
    rest.get(..length as usize).ok_or_else(|| {
        wrong_length(path, format!("at least {shortest} bytes"), shortest, bytes.len())
    })
}

fn wrong_length(path: &Path, said: String, expected: usize, found: usize) -> Error {
    let end = if found < expected { " (truncated)" } else { "" };
    let thing = path.display().to_string();
    Error::bad_data(thing, format!("{said} by its header"), format!("{found} bytes{end}"))
}

/// A JSON object as it is written, keys that come twice included.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct OfAMap;

        impl<'de> Visitor<'de> for OfAMap {
            type Value = Entries;

            fn expecting(&self, to: &mut fmt::Formatter) -> fmt::Result {
                to.write_str("a map")
            }

            fn visit_map<M: MapAccess<'de>>(
                self,
                mut map: M,
            ) -> std::result::Result<Entries, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        from.deserialize_map(OfAMap)
    }
}

type Header = (BTreeMap<String, TensorInfo>, BTreeMap<String, String>);

/// The tensors and the metadata that a header lists; where they lie is not checked yet.
fn parse_header(header: &[u8], path: &Path) -> Result<Header> {
    let file = path.display();
    let Entries(entries) = serde_json::from_slice(header).map_err(|error| {
        Error::bad_data(format!("{file}: header"), "a JSON object", error.to_string())
            .because(error)
    })?;
    let (mut metadata, mut infos) = (None, BTreeMap::new());
    for (name, entry) in entries {
        let twice = match name == METADATA {
            true => metadata.replace(entry).is_some(),
            false => infos.insert(name.clone(), entry).is_some(),
        };
        if twice {
            let thing = format!("{file}: header: `{name}`");
            return Err(Error::bad_data(thing, "each name once", "it twice"));
        }
    }
    let metadata = match metadata {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(value) => serde_json::from_value(value).map_err(|error| {
            let thing = format!("{file}: `{METADATA}`");
            Error::bad_data(thing, "an object of strings", error.to_string()).because(error)
        })?,
    };
    let mut tensors = BTreeMap::new();
    for (name, entry) in infos {
        let wrong = |expected: &str, error: serde_json::Error| {
            let thing = format!("{file}: weight `{name}`");
            Error::bad_data(thing, expected, error.to_string()).because(error)
        };
        // The dtype first: the library's message for an unknown one lists them all.
        if let Some(dtype) = entry.get("dtype").and_then(Value::as_str)
            && serde_json::from_value::<Dtype>(dtype.into()).is_err()
        {
            let thing = format!("{file}: weight `{name}`");
            return Err(Error::bad_data(thing, "a dtype such as F32, F16 or BF16", dtype));
        }
        let info = serde_json::from_value::<TensorInfo>(entry)
            .map_err(|error| wrong("a dtype, a shape and data_offsets", error))?;
        tensors.insert(name, info);
    }
    Ok((tensors, metadata))
}

/// The ranges must lie one after another, each as long as its shape and dtype say. Returns how many
/// bytes they fill. (The library checks the same, but its errors name neither tensor nor numbers.)
fn check_ranges(tensors: &BTreeMap<String, TensorInfo>, path: &Path) -> Result<usize> {
    let mut by_offset: Vec<_> = tensors.iter().collect();
    by_offset.sort_by_key(|(_, info)| info.data_offsets);
    let mut filled = 0;
    for (name, info) in by_offset {
        let (begin, end) = info.data_offsets;
        let wrong = |expected| {
            let thing = format!("{}: weight `{name}`", path.display());
            Err(Error::bad_data(thing, expected, format!("bytes {begin} to {end}")))
        };
        if begin != filled || end < begin {
            return wrong(format!("bytes from {filled} on (no gap, no overlap)"));
        }
        match byte_len(&info.shape, info.dtype.bitsize()) {
            Some(bytes) if bytes == end - begin => filled = end,
            Some(bytes) => {
                return wrong(format!("{bytes} bytes for {} {:?}", info.dtype, info.shape));
            }
            None => {
                return wrong(format!(
                    "a shape of whole bytes, not {} {:?}",
                    info.dtype, info.shape
                ));
            }
        }
    }
    Ok(filled)
}

/// `None` if the count overflows or ends within a byte.
fn byte_len(shape: &[usize], bits: usize) -> Option<usize> {
    let bits = shape.iter().try_fold(bits, |bits, &dim| bits.checked_mul(dim))?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

/// A tensor to be written.
pub struct Entry<'a> {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    write: Box<dyn Fn(Put) -> Result<()> + 'a>,
}

/// Takes the next bytes of a tensor.
pub type Put<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

impl<'a> Entry<'a> {
    /// Values that are in memory as the file wants them.
    pub fn new<T: Element>(name: impl Into<String>, shape: &[usize], values: &'a [T]) -> Self {
        Self::lazy(name, T::DTYPE, shape, || Ok(bytemuck::cast_slice(values).into()))
    }

    /// Bytes that are made when their turn comes, so that only one tensor's are in memory at a time.
    pub fn lazy(
        name: impl Into<String>,
        dtype: DType,
        shape: &[usize],
        bytes: impl Fn() -> Result<Cow<'a, [u8]>> + 'a,
    ) -> Self {
        Self::in_pieces(name, dtype, shape, move |put| put(&bytes()?))
    }

    /// Bytes that `write` makes when their turn comes (a transposed weight, one from a GPU), and hands over
    /// as it makes them, so that no tensor is in memory as a whole.
    pub fn in_pieces(
        name: impl Into<String>,
        dtype: DType,
        shape: &[usize],
        write: impl Fn(Put) -> Result<()> + 'a,
    ) -> Self {
        Entry { name: name.into(), dtype, shape: shape.to_vec(), write: Box::new(write) }
    }

    fn byte_len(&self) -> Option<usize> {
        byte_len(&self.shape, 8 * self.dtype.size())
    }
}

/// Writes a safetensors file, whole or not at all, with the metadata given and `format: pt`, without
/// which `transformers` refuses it. The same entries give the same bytes.
///
/// Fails for two entries of one name, for an entry whose bytes do not fit its shape, with an entry's
/// own error, and when the system refuses.
pub fn save(path: &Path, entries: &[Entry], metadata: &[(&str, &str)]) -> Result<()> {
    // The largest elements first: each tensor then lies aligned, as the format asks of a writer.
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.dtype.size()));
    let header = write_header(&entries, metadata, path)?;
    atomic::write_file(path, |file| {
        file.put(&(header.len() as u64).to_le_bytes())?;
        file.put(&header)?;
        for entry in entries {
            let mut written = 0;
            (entry.write)(&mut |bytes| {
                written += bytes.len();
                file.put(bytes)
            })?;
            if Some(written) != entry.byte_len() {
                let expected = format!("bytes for {} {:?}", entry.dtype, entry.shape);
                return Err(unwritable(path, entry, expected, format!("{written} bytes")));
            }
        }
        Ok(())
    })
}

fn write_header(entries: &[&Entry], metadata: &[(&str, &str)], path: &Path) -> Result<Vec<u8>> {
    let mut said = Map::from_iter([("format".to_string(), "pt".into())]);
    said.extend(metadata.iter().map(|&(key, value)| (key.to_string(), value.into())));
    let mut header = Map::from_iter([(METADATA.to_string(), Value::Object(said))]);
    let mut begin = 0usize;
    for entry in entries {
        let end = entry.byte_len().and_then(|bytes| begin.checked_add(bytes)).ok_or_else(|| {
            unwritable(path, entry, "fewer than 2^64 bits".into(), format!("{:?}", entry.shape))
        })?;
        let info = serde_json::json!({
            "dtype": entry.dtype.to_string().to_uppercase(),
            "shape": entry.shape,
            "data_offsets": [begin, end],
        });
        if header.insert(entry.name.clone(), info).is_some() {
            return Err(unwritable(path, entry, "each name once".into(), "it twice".into()));
        }
        begin = end;
    }
    let mut bytes = Value::Object(header).to_string().into_bytes();
    // Spaces, so that the tensors begin at a multiple of eight.
    bytes.resize(bytes.len().next_multiple_of(LENGTH), b' ');
    Ok(bytes)
}

/// A mistake of the caller's, not of any file.
fn unwritable(path: &Path, entry: &Entry, expected: String, found: String) -> Error {
    let thing = format!("{}: weight `{}`", path.display(), entry.name);
    Error::new(Kind::Failure, thing, expected, found)
}

#[cfg(test)]
mod tests;

//! Weights in the files of `torch.save`: `pytorch_model.bin` as a zip archive, or as it was before
//! PyTorch 1.6. Nothing of what they ask to be called is called.
//!
//! Both hold a pickled state dict whose tensors say which elements of which storage are theirs
//! (`torch/serialization.py`). The archive has the pickle as `NAME/data.pkl` and each storage as
//! `NAME/data/KEY`; the older file is the magic number, the protocol's version, the writer's sizes, the
//! state dict and the list of keys, pickled one after another, then for each key a count and elements.

use crate::error::{Error, Result};
use crate::formats::mapped::{self, Mapped};
use crate::formats::pickle::{self, Global, Pickle, Value, short};
use crate::formats::stored::{self, StoredTensor};
use crate::formats::zip;
use crate::shape::Shape;
use ::safetensors::Dtype;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const EXPECTED_FILE: &str = "a file that torch.save wrote";
/// The older form's first two pickles, which never differ: 0x1950a86a20f9469cfc6c and 1001.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";

/// Under which name a training checkpoint keeps the state dict.
const NESTED: [&str; 4] = ["state_dict", "model_state_dict", "model", "module"];

/// An open file of `torch.save`. Its tensors were checked: each has its elements in the file, and none
/// twice. Several may share a storage, as tied weights do.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    map: Mapped,
    tensors: BTreeMap<String, View>,
}

/// Where the elements of a tensor lie.
#[derive(Debug)]
struct View {
    dtype: Dtype,
    shape: Shape,
    /// In elements, one for each axis.
    strides: Vec<usize>,
    /// The first element's place in the file, in bytes.
    begin: usize,
    /// From the first element to behind the last, in bytes.
    span: usize,
    /// What the archive says of its storage.
    record: Option<Arc<zip::Record>>,
}

impl Weights {
    /// Maps `path` and reads its state dict; the weights themselves are read from the disk when they
    /// are used. Every way in which the file can be wrong is bad data, one line.
    pub fn open(path: &Path) -> Result<Self> {
        let map = mapped::open(path, EXPECTED_FILE)?;
        let tensors = if map.starts_with(zip::MAGIC) {
            archive(&map, path)?
        } else if map.starts_with(MAGIC) {
            stream(&map, path)?
        } else {
            let found = match map.len() {
                short if short < MAGIC.len() => format!("{short} bytes (truncated)"),
                _ => "another kind of file".to_string(),
            };
            return Err(Error::bad_data(path.display().to_string(), EXPECTED_FILE, found));
        };
        Ok(Weights { path: path.to_path_buf(), map, tensors })
    }

    /// The file, as it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every name in the file, sorted. [`get`](Self::get) may still refuse one for its dtype (the masks
    /// that older GPT-2 files carry are bytes or booleans).
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The dtype and the shape of the weight of that name, if there is one.
    pub(super) fn about(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.tensors.get(name).map(|view| (view.dtype, &view.shape[..]))
    }

    /// The weight of that name; its bytes are the file's, or copied where they are not in row-major
    /// order there. Errors as those of [`safetensors`](crate::formats::safetensors::Weights::get), and
    /// where the archive's checksum says that the bytes have changed.
    pub fn get(&self, name: &str) -> Result<StoredTensor<'_>> {
        let view = self
            .tensors
            .get(name)
            .ok_or_else(|| stored::missing(&self.path, name, self.names()))?;
        let thing = stored::thing(&self.path, name);
        let dtype = stored::dtype(&thing, view.dtype)?;
        view.record.as_ref().map_or(Ok(()), |record| record.check(&self.map))?;
        let span = &self.map[view.begin..view.begin + view.span];
        let bytes = view.row_major(span);
        if let Cow::Owned(_) = bytes {
            self.map.release(span);
        }
        Ok(StoredTensor { thing, dtype, shape: &view.shape, bytes, file: &self.map })
    }
}

impl View {
    /// The elements in row-major order, from the bytes that hold them.
    fn row_major<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let size = self.dtype.bitsize() / 8;
        let mut contiguous = 1;
        let is_contiguous = self.shape.iter().zip(&self.strides).rev().all(|(&dim, &stride)| {
            let here = dim == 1 || stride == contiguous;
            contiguous *= dim;
            here
        });
        if is_contiguous || self.shape.numel() == 0 {
            return bytes.into();
        }
        let mut copy = Vec::with_capacity(self.shape.numel() * size);
        let (width, stride) = (self.shape.last_dim(), self.strides[self.strides.len() - 1]);
        for row in 0..self.shape.rows() {
            let (mut row, mut at) = (row, 0);
            for (&dim, &stride) in self.shape.iter().zip(&self.strides).rev().skip(1) {
                at += row % dim * stride;
                row /= dim;
            }
            for column in 0..width {
                let at = (at + column * stride) * size;
                copy.extend_from_slice(&bytes[at..at + size]);
            }
        }
        copy.into()
    }
}

/// The tensors of the zip form.
fn archive(bytes: &Mapped, path: &Path) -> Result<BTreeMap<String, View>> {
    let file = path.display();
    let records = zip::records(bytes, path)?;
    let records: BTreeMap<_, _> =
        records.into_iter().map(|(name, record)| (name, Arc::new(record))).collect();
    let mut pickles =
        records.iter().filter_map(|(name, record)| Some((name.strip_suffix("/data.pkl")?, record)));
    let (Some((root, record)), None) = (pickles.next(), pickles.next()) else {
        return Err(Error::bad_data(file.to_string(), "one record data.pkl", "none, or several"));
    };
    if let Some(order) = records.get(&format!("{root}/byteorder"))
        && &bytes[order.bytes.clone()] != b"little"
    {
        let thing = format!("{file}: byteorder");
        return Err(Error::bad_data(thing, "little", "another"));
    }
    let thing = format!("{file}: data.pkl");
    if record.bytes.len() > pickle::LONGEST {
        let expected = format!("at most {} bytes", pickle::LONGEST);
        return Err(Error::bad_data(thing, expected, format!("{}", record.bytes.len())));
    }
    record.check(bytes)?;
    let pickled = bytes[record.bytes.clone()].to_vec();
    let pickle = Pickle::read(&pickled, &thing)?;
    if pickle.length != pickled.len() {
        let found = format!("{} bytes after it", pickled.len() - pickle.length);
        return Err(Error::bad_data(thing, "one pickle", found));
    }
    views(&pickle, path, |storage| {
        let thing = format!("{file}: storage {}", short(storage.key));
        let wrong = |found| Error::bad_data(&*thing, storage.expected(), found);
        let record = records
            .get(&format!("{root}/data/{}", storage.key))
            .ok_or_else(|| wrong("no such record".to_string()))?;
        match storage.bytes() == Some(record.bytes.len()) {
            true => Ok((record.bytes.start, Some(record.clone()))),
            false => Err(wrong(format!("{} bytes", record.bytes.len()))),
        }
    })
}

/// The tensors of the older form.
fn stream(bytes: &[u8], path: &Path) -> Result<BTreeMap<String, View>> {
    let file = path.display();
    let head = bytes[..bytes.len().min(MAGIC.len() + pickle::LONGEST)].to_vec();
    let mut at = MAGIC.len();
    let mut next = |what: &str| {
        let pickle = Pickle::read(&head[at..], &format!("{file}: {what}"))?;
        at += pickle.length;
        Ok(pickle)
    };
    let system = next("system information")?;
    let little = (Value::Text("little_endian"), Value::Bool(true));
    if !system.pairs(system.root).is_some_and(|pairs| pairs.contains(&little)) {
        let thing = format!("{file}: system information");
        return Err(Error::bad_data(thing, "little_endian: True", "something else"));
    }
    let state = next("state dict")?;
    let keys = next("storage keys")?;
    let wrong = |expected: String, found: String| {
        Error::bad_data(format!("{file}: storage keys"), expected, found)
    };
    let Value::List(_) = keys.root else {
        return Err(wrong("a list".to_string(), keys.root.kind()));
    };

    // How long a storage is, only the pickle tells; a checkpoint has others than the state dict's.
    state_dict(&state, path)?;
    let mut known = HashMap::new();
    for value in state.storages() {
        let storage = storage(&state, value).ok_or_else(|| {
            let thing = format!("{file}: state dict");
            Error::bad_data(thing, "storages as torch.save writes them", "something else")
        })?;
        known.insert(storage.key, storage);
    }
    let mut places = HashMap::new();
    for &key in keys.items(keys.root).unwrap_or_default() {
        let Value::Text(key) = key else {
            return Err(wrong("texts".to_string(), key.kind()));
        };
        let storage = known
            .get(key)
            .ok_or_else(|| wrong("storages of the state dict's tensors".to_string(), short(key)))?;
        let thing = format!("{file}: storage {}", short(key));
        let wrong = |found| Error::bad_data(&*thing, storage.expected(), found);
        let (count, rest) = bytes[at..]
            .split_first_chunk()
            .ok_or_else(|| wrong("the file's end (truncated)".to_string()))?;
        if u64::from_le_bytes(*count) != storage.numel as u64 {
            return Err(wrong(format!("{} elements", u64::from_le_bytes(*count))));
        }
        at += count.len();
        match storage.bytes() {
            Some(length) if length <= rest.len() => {
                places.insert(key, (storage.dtype, storage.numel, at));
                at += length;
            }
            _ => return Err(wrong(format!("{} bytes (truncated)", rest.len()))),
        }
    }
    if at != bytes.len() {
        let found = format!("{} bytes after it", bytes.len() - at);
        return Err(Error::bad_data(file.to_string(), "its end after the last storage", found));
    }
    views(&state, path, |storage| match places.get(storage.key) {
        Some(&(dtype, numel, at)) if (dtype, numel) == (storage.dtype, storage.numel) => {
            Ok((at, None))
        }
        found => {
            let thing = format!("{file}: storage {}", short(storage.key));
            let found = found.map_or("none", |_| "one of another length or dtype");
            Err(Error::bad_data(thing, storage.expected(), found))
        }
    })
}

/// What a persistent id says.
struct Storage<'a> {
    key: &'a str,
    dtype: Dtype,
    numel: usize,
}

impl Storage<'_> {
    /// `None` if they are too many to count.
    fn bytes(&self) -> Option<usize> {
        self.numel.checked_mul(self.dtype.bitsize() / 8)
    }

    fn expected(&self) -> String {
        format!("{} elements of {}", self.numel, self.dtype)
    }
}

/// A tensor of the state dict.
struct Entry<'a> {
    name: &'a str,
    storage: Storage<'a>,
    /// The first element in the storage.
    offset: usize,
    shape: Shape,
    strides: Vec<usize>,
}

/// The state dict: the root, or what a training checkpoint has under one of [`NESTED`] names.
fn state_dict<'a, 'b>(pickle: &'b Pickle<'a>, path: &Path) -> Result<&'b [(Value<'a>, Value<'a>)]> {
    let wrong =
        |expected: &str, found| Error::bad_data(path.display().to_string(), expected, found);
    let root = pickle.pairs(pickle.root);
    let root = root.ok_or_else(|| wrong("a state dict", pickle.root.kind()))?;
    let has_tensors =
        |pairs: &[(_, Value)]| pairs.iter().any(|(_, v)| matches!(v, Value::Tensor(_)));
    if root.is_empty() || has_tensors(root) {
        return Ok(root);
    }
    let nested = |&(name, value): &(Value, Value<'a>)| match name {
        Value::Text(name) if NESTED.contains(&name) => pickle.pairs(value),
        _ => None,
    };
    let nested: Vec<_> =
        root.iter().filter_map(nested).filter(|pairs| has_tensors(pairs)).collect();
    match nested[..] {
        [pairs] => Ok(pairs),
        _ => {
            let expected = format!("a state dict, alone or under one of {}", NESTED.join(", "));
            let found = match root[0].0 {
                _ if nested.len() > 1 => "several".to_string(),
                Value::Text(name) => format!("{} and no tensor", short(name)),
                other => format!("{} and no tensor", other.kind()),
            };
            Err(wrong(&expected, found))
        }
    }
}

/// Everything that the state dict holds: tensors, or it is refused.
fn entries<'a, 'b>(
    pickle: &'b Pickle<'a>,
    path: &'b Path,
) -> Result<impl Iterator<Item = Result<Entry<'a>>> + 'b> {
    let file = path.display();
    Ok(state_dict(pickle, path)?.iter().map(move |&(name, value)| {
        let Value::Text(name) = name else {
            let thing = format!("{file}: state dict");
            return Err(Error::bad_data(thing, "names as keys", name.kind()));
        };
        let thing = || format!("{file}: weight {}", short(name));
        let Value::Tensor(_) = value else {
            return Err(Error::bad_data(thing(), "a tensor", value.kind()));
        };
        entry(pickle, name, value).ok_or_else(|| {
            let expected = "a storage, an offset, a shape and strides, as torch.save writes";
            Error::bad_data(thing(), expected, "something else")
        })
    }))
}

/// `None` where an argument of `_rebuild_tensor_v2` is not what it should be.
fn entry<'a>(pickle: &Pickle<'a>, name: &'a str, tensor: Value<'a>) -> Option<Entry<'a>> {
    let &[stored, offset, sizes, strides, _grad, _hooks] = pickle.items(tensor)? else {
        return None;
    };
    let dims = whole_numbers(pickle, sizes)?;
    let strides = whole_numbers(pickle, strides)?;
    if dims.len() != strides.len() {
        return None;
    }
    let (storage, shape) = (storage(pickle, stored)?, Shape::new(&dims).ok()?);
    Some(Entry { name, storage, offset: whole_number(offset)?, shape, strides })
}

/// `None` where a persistent id is not that of a storage.
fn storage<'a>(pickle: &Pickle<'a>, value: Value<'a>) -> Option<Storage<'a>> {
    let Value::Storage(_) = value else { return None };
    let &[
        Value::Text("storage"),
        Value::Global(Global::Storage(dtype)),
        Value::Text(key),
        _,
        numel,
        ref view @ ..,
    ] = pickle.items(value)?
    else {
        return None;
    };
    // The older form may make a storage a part of another one; no state dict of a model does.
    match view {
        [] | [Value::None] => Some(Storage { key, dtype, numel: whole_number(numel)? }),
        _ => None,
    }
}

fn whole_number(value: Value) -> Option<usize> {
    match value {
        Value::Int(number) => number.try_into().ok(),
        _ => None,
    }
}

/// No more than a shape may have: a tuple may be long, and many tensors may refer to it.
fn whole_numbers(pickle: &Pickle, value: Value) -> Option<Vec<usize>> {
    match (value, pickle.items(value)?) {
        (Value::Tuple(_), items) if items.len() <= Shape::MAX_RANK => {
            items.iter().map(|&item| whole_number(item)).collect()
        }
        _ => None,
    }
}

/// The state dict's tensors in the file; `place` finds where a storage begins, and in which record of an
/// archive, and checks its length.
fn views(
    pickle: &Pickle,
    path: &Path,
    place: impl Fn(&Storage) -> Result<(usize, Option<Arc<zip::Record>>)>,
) -> Result<BTreeMap<String, View>> {
    let mut views = BTreeMap::new();
    for entry in entries(pickle, path)? {
        let Entry { name, storage, offset, shape, strides } = entry?;
        let thing = || format!("{}: weight {}", path.display(), short(name));
        let (start, record) = place(&storage)?;
        let elements = span(&shape, &strides).ok_or_else(|| {
            let found = format!("shape {shape} with strides {strides:?}");
            Error::bad_data(thing(), "a place of its own for every element", found)
        })?;
        if offset.checked_add(elements).is_none_or(|end| end > storage.numel) {
            let expected = format!("elements among the {} of its storage", storage.numel);
            return Err(Error::bad_data(thing(), expected, format!("{elements} from {offset} on")));
        }
        let size = storage.dtype.bitsize() / 8;
        let dtype = storage.dtype;
        let (begin, span) = (start + offset * size, elements * size);
        let view = View { dtype, shape, strides, begin, span, record };
        if views.insert(name.to_string(), view).is_some() {
            return Err(Error::bad_data(thing(), "each name once", "it twice"));
        }
    }
    Ok(views)
}

/// How many elements lie from the first of a view to its last, both included. `None` where two of them
/// share a place, by which a small file could ask for much memory, or where the count overflows.
fn span(shape: &Shape, strides: &[usize]) -> Option<usize> {
    if shape.numel() == 0 {
        return Some(0);
    }
    let mut axes: Vec<_> =
        strides.iter().zip(shape.iter()).filter(|&(_, &size)| size != 1).collect();
    axes.sort_unstable();
    // From the innermost axis out, each step must pass over all that lies within.
    axes.into_iter().try_fold(1usize, |within, (&stride, &size)| match stride >= within {
        true => stride.checked_mul(size - 1)?.checked_add(within),
        false => None,
    })
}

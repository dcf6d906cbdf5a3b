//! The weights of a model directory, in whichever of the known files they are: one, or several by an
//! index.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::formats::json::Object;
use crate::formats::stored::{self, StoredTensor};
use crate::formats::{safetensors, torch};
use ::safetensors::Dtype;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// The open weights of a model.
#[derive(Debug)]
pub struct Weights {
    /// The file, or the index of the files.
    path: PathBuf,
    shards: Vec<Shard>,
    /// Which shard holds the weight of a name.
    places: BTreeMap<String, usize>,
}

#[derive(Debug)]
enum Shard {
    Safetensors(safetensors::Weights),
    Torch(torch::Weights),
}

impl Weights {
    /// Opens the weights in the directory `dir`: the first that there is of `model.safetensors`, its
    /// index, `pytorch_model.bin` and its index. The weights are mapped, and read when they are used.
    ///
    /// Bad data where there is none (other frameworks' weights are named, with the remedy), where a
    /// file is not what it should be, and where an index names a weight that its file has not.
    pub fn open(dir: &Path) -> Result<Self> {
        let name = choose(&dir.display().to_string(), |name| dir.join(name).exists())?;
        match is_index(&name) {
            true => Self::sharded(dir, dir.join(name)),
            false => Self::whole(dir.join(name)),
        }
    }

    fn whole(path: PathBuf) -> Result<Self> {
        let shard = Shard::open(&path)?;
        let places = shard.names().into_iter().map(|name| (name.to_string(), 0)).collect();
        Ok(Weights { path, shards: vec![shard], places })
    }

    /// The files of an index: `weight_map` has for each weight the file that holds it.
    fn sharded(dir: &Path, path: PathBuf) -> Result<Self> {
        let mut shards = Vec::new();
        let mut numbers = BTreeMap::new();
        let mut places = BTreeMap::new();
        for (name, file) in weight_map(&path)? {
            let number = match numbers.get(&file) {
                Some(&number) => number,
                None if !dir.join(&file).is_file() => {
                    return Err(wrong_file(&path, &name, &file));
                }
                None => {
                    shards.push(Shard::open(&dir.join(&file))?);
                    numbers.insert(file.clone(), shards.len() - 1);
                    shards.len() - 1
                }
            };
            if shards[number].about(&name).is_none() {
                let expected = format!("`{name}` in {file}");
                return Err(wrong_map(&path, &expected, "a file without it"));
            }
            places.insert(name, number);
        }
        Ok(Weights { path, shards, places })
    }

    /// The file that was opened, or the index of the files.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that hold the weights, each once.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(|shard| match shard {
            Shard::Safetensors(weights) => weights.path(),
            Shard::Torch(weights) => weights.path(),
        })
    }

    /// Every name, sorted. [`get`](Self::get) may still refuse one for its dtype.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// The weight of that name. Bad data if there is none (the message has the nearest names), or if it
    /// is of a dtype that a [`DType`] cannot hold.
    pub fn get(&self, name: &str) -> Result<StoredTensor<'_>> {
        match self.places.get(name) {
            None => Err(stored::missing(&self.path, name, self.names())),
            Some(&number) => self.shards[number].get(name),
        }
    }

    /// The dtype of the weight of that name; reads none of it. Errors as those of [`get`](Self::get).
    pub fn dtype(&self, name: &str) -> Result<DType> {
        let (dtype, _) = self.about(name)?;
        stored::dtype(&stored::thing(&self.path, name), dtype)
    }

    /// Bad data unless there is a weight of that name and shape. Reads none of it.
    pub fn check_shape(&self, name: &str, shape: &[usize]) -> Result<()> {
        let (_, found) = self.about(name)?;
        if found == shape {
            return Ok(());
        }
        let thing = stored::thing(&self.path, name);
        Err(Error::bad_data(thing, format!("shape {shape:?}"), format!("{found:?}")))
    }

    fn about(&self, name: &str) -> Result<(Dtype, &[usize])> {
        let missing = || stored::missing(&self.path, name, self.names());
        let &number = self.places.get(name).ok_or_else(missing)?;
        self.shards[number].about(name).ok_or_else(missing)
    }
}

impl Shard {
    /// By its name's end: what else lies under it is refused by its reader.
    fn open(path: &Path) -> Result<Self> {
        match path.extension().is_some_and(|end| end == "safetensors") {
            true => Ok(Shard::Safetensors(safetensors::Weights::open(path)?)),
            false => Ok(Shard::Torch(torch::Weights::open(path)?)),
        }
    }

    fn names(&self) -> Vec<&str> {
        match self {
            Shard::Safetensors(weights) => weights.names().collect(),
            Shard::Torch(weights) => weights.names().collect(),
        }
    }

    fn about(&self, name: &str) -> Option<(Dtype, &[usize])> {
        match self {
            Shard::Safetensors(weights) => weights.about(name),
            Shard::Torch(weights) => weights.about(name),
        }
    }

    fn get(&self, name: &str) -> Result<StoredTensor<'_>> {
        match self {
            Shard::Safetensors(weights) => weights.get(name),
            Shard::Torch(weights) => weights.get(name),
        }
    }
}

/// Which file, or which index of several, has the weights of a model, by whether a file is `there`: the
/// first of `model.safetensors`, its index, `pytorch_model.bin` and its index.
///
/// Bad data of `thing` where there is none; other frameworks' weights are named, with the remedy.
pub(crate) fn choose(thing: &str, there: impl Fn(&str) -> bool) -> Result<String> {
    for name in ["model.safetensors", "pytorch_model.bin"] {
        let index = format!("{name}{INDEX_END}");
        if there(name) {
            return Ok(name.to_string());
        } else if there(&index) {
            return Ok(index);
        }
    }
    let foreign = ["flax_model.msgpack", "tf_model.h5", "model.ckpt.index", "rust_model.ot"];
    let found = match foreign.iter().find(|name| there(name)) {
        None => "no such file".to_string(),
        Some(other) => format!(
            "only {other} (transformers converts it: from_pretrained with from_flax or from_tf in a \
             version before 5, then save_pretrained)"
        ),
    };
    Err(Error::bad_data(thing, "model.safetensors or pytorch_model.bin", found))
}

const INDEX_END: &str = ".index.json";

/// Whether [`choose`] chose an index.
pub(crate) fn is_index(name: &str) -> bool {
    name.ends_with(INDEX_END)
}

/// The files that an index names, each once; they need not be there yet.
pub(crate) fn shards(index: &Path) -> Result<BTreeSet<String>> {
    Ok(weight_map(index)?.into_iter().map(|(_, file)| file).collect())
}

/// For each weight the file that holds it. Every file is one of the index's own directory.
fn weight_map(index: &Path) -> Result<Vec<(String, String)>> {
    let object = Object::read(index)?;
    let map = object.map().get("weight_map").and_then(|map| map.as_object());
    let map = map.ok_or_else(|| wrong_map(index, "an object of file names", "none"))?;
    let entries = map.iter().map(|(name, file)| match file.as_str() {
        Some(plain) if is_plain(plain) => Ok((name.clone(), plain.to_string())),
        _ => Err(wrong_file(index, name, &file.to_string())),
    });
    entries.collect()
}

fn wrong_file(index: &Path, name: &str, file: &str) -> Error {
    let expected = "names of files in the same directory";
    wrong_map(index, expected, &format!("{file} for `{name}`"))
}

fn wrong_map(index: &Path, expected: &str, found: &str) -> Error {
    Error::bad_data(format!("{}: `weight_map`", index.display()), expected, found)
}

/// Whether a stranger's `name` is that of a file, and of no other directory.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
}

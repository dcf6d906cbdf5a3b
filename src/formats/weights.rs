//! The weights of a model directory, in whichever of the known files they are: one, or several by an
//! index.

use crate::error::{Error, Result};
use crate::formats::json::Object;
use crate::formats::stored::{self, StoredTensor};
use crate::formats::{safetensors, torch};
use std::collections::BTreeMap;
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
        for name in ["model.safetensors", "pytorch_model.bin"] {
            let file = dir.join(name);
            if file.exists() {
                return Self::whole(file);
            }
            let index = dir.join(format!("{name}.index.json"));
            if index.exists() {
                return Self::sharded(dir, index);
            }
        }
        let foreign = ["flax_model.msgpack", "tf_model.h5", "model.ckpt.index", "rust_model.ot"];
        let found = match foreign.iter().find(|name| dir.join(name).exists()) {
            None => "no such file".to_string(),
            Some(other) => format!(
                "only {other} (transformers converts it: from_pretrained with from_flax or from_tf \
                 in a version before 5, then save_pretrained)"
            ),
        };
        let thing = dir.display().to_string();
        Err(Error::bad_data(thing, "model.safetensors or pytorch_model.bin", found))
    }

    fn whole(path: PathBuf) -> Result<Self> {
        let shard = Shard::open(&path)?;
        let places = shard.names().into_iter().map(|name| (name.to_string(), 0)).collect();
        Ok(Weights { path, shards: vec![shard], places })
    }

    /// The files of an index: `weight_map` has for each weight the file that holds it.
    fn sharded(dir: &Path, path: PathBuf) -> Result<Self> {
        let index = Object::read(&path)?;
        let map = index.map().get("weight_map").and_then(|map| map.as_object());
        let wrong = |expected: &str, found: &str| {
            Error::bad_data(format!("{}: `weight_map`", path.display()), expected, found)
        };
        let map = map.ok_or_else(|| wrong("an object of file names", "none"))?;
        let mut shards = Vec::new();
        let mut numbers = BTreeMap::new();
        let mut places = BTreeMap::new();
        for (name, file) in map {
            let file = file.as_str().filter(|file| is_in(dir, file)).ok_or_else(|| {
                wrong("names of files in the same directory", &format!("{file} for `{name}`"))
            })?;
            let number = match numbers.get(file) {
                Some(&number) => number,
                None => {
                    shards.push(Shard::open(&dir.join(file))?);
                    numbers.insert(file, shards.len() - 1);
                    shards.len() - 1
                }
            };
            if shards[number].shape(name).is_none() {
                return Err(wrong(&format!("`{name}` in {file}"), "a file without it"));
            }
            places.insert(name.clone(), number);
        }
        Ok(Weights { path, shards, places })
    }

    /// The file that was opened, or the index of the files.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every name, sorted. [`get`](Self::get) may still refuse one for its dtype.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// The weight of that name. Bad data if there is none (the message has the nearest names), or if it
    /// is of a dtype that a [`DType`](crate::DType) cannot hold.
    pub fn get(&self, name: &str) -> Result<StoredTensor<'_>> {
        self.shard(name)?.get(name)
    }

    /// Bad data unless there is a weight of that name and shape. Reads none of it.
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<()> {
        match self.shard(name)?.shape(name) {
            Some(found) if found == shape => Ok(()),
            found => {
                let thing = stored::thing(&self.path, name);
                let found = format!("{:?}", found.unwrap_or_default());
                Err(Error::bad_data(thing, format!("shape {shape:?}"), found))
            }
        }
    }

    fn shard(&self, name: &str) -> Result<&Shard> {
        match self.places.get(name) {
            None => Err(stored::missing(&self.path, name, self.names())),
            Some(&number) => Ok(&self.shards[number]),
        }
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

    fn shape(&self, name: &str) -> Option<&[usize]> {
        match self {
            Shard::Safetensors(weights) => weights.shape(name),
            Shard::Torch(weights) => weights.shape(name),
        }
    }

    fn get(&self, name: &str) -> Result<StoredTensor<'_>> {
        match self {
            Shard::Safetensors(weights) => weights.get(name),
            Shard::Torch(weights) => weights.get(name),
        }
    }
}

/// Whether a stranger's `name` is that of a file in `dir` itself.
fn is_in(dir: &Path, name: &str) -> bool {
    let mut components = Path::new(name).components();
    let plain =
        matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    plain && dir.join(name).is_file()
}

//! A data set of the hub: which of its files hold the documents of a part, and whether the cache has
//! them.
//!
//! A part is a configuration and a split, by the names of files and folders as `datasets` reads them
//! (`datasets/data_files.py`):
//!
//! ```text
//! train.csv  data/train-00000-of-00002.parquet  poemas.jsonl      default/train
//! es/validation.json.gz  es/dev/a.txt                             es/validation
//! es/gold/0000.parquet                                            es/gold
//! ```

use super::cache::Folder;
use super::{Hub, Observer, Repo, Snapshot};
use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The branch in which the hub keeps data sets that a program makes, as
/// `configuration/split/0000.parquet`.
const CONVERTED: &str = "refs/convert/parquet";
/// Ends of files with documents; where a part is there in several formats, the first of these is read.
const FORMATS: [&str; 9] =
    ["parquet", "jsonl", "ndjson", "json", "csv", "tsv", "tab", "txt", "text"];
/// What speaks of the data and holds none, in lower case.
const NO_DATA: [&str; 9] = [
    "config.json",
    "dataset_dict.json",
    "dataset_info.json",
    "dataset_infos.json",
    "license.txt",
    "metadata.json",
    "readme.txt",
    "requirements.txt",
    "state.json",
];
/// The usual splits, and the words by which they go in names.
const SPLITS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "val", "dev"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// A configuration of a data set and one of its splits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// `default` where the files are in no folder of their own.
    pub config: String,
    pub split: String,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.config, self.split)
    }
}

/// The files of a part: their paths, with slashes, in `dir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFiles {
    pub dir: PathBuf,
    pub files: Vec<String>,
}

/// The files of each part, by the place of their format in [`FORMATS`].
type Parts = BTreeMap<Part, BTreeMap<usize, Vec<String>>>;

impl Hub {
    /// The files of `part`, downloaded if the cache lacks any. Without a part it is the split `train` of
    /// the one configuration, or its only split; `observer` is told what else there is. A data set without
    /// a file of documents is had as the hub has converted it.
    ///
    /// As with [`model`](Hub::model), a revision of which the cache has the part whole is used as it is,
    /// and nobody is asked. Where another program has filled the cache nobody knows what is whole: what is
    /// there is used only if the hub does not answer, and `observer` is told.
    ///
    /// Bad data: no such data set, no access, no such part or several and none named (listing them), no
    /// file of documents, or offline without them in the cache. Failure: as of `model`.
    pub fn dataset(
        &self,
        repo: &Repo,
        part: Option<&Part>,
        observer: &mut dyn Observer,
    ) -> Result<DataFiles> {
        let converted = Repo { revision: CONVERTED.to_string(), ..repo.clone() };
        let has_documents = |files: &Vec<String>| !parts(files).is_empty();
        let repo = match self.listing(repo) {
            Some((_, files)) if !has_documents(&files) => &converted,
            _ => repo,
        };
        if let Some((dir, files)) = self.listing(repo)
            && let Ok(files) = choose(repo, parts(&files), part, &mut Silent)
            && files.iter().all(|file| dir.join(file).exists())
        {
            return Ok(DataFiles { dir, files });
        }
        let known = self.listing(repo).is_some();
        let filled_by_another = self.cached(repo).filter(|_| !known);
        let mut snapshot = match (self.list(repo, observer), filled_by_another) {
            (Ok(snapshot), _) => snapshot,
            (Err(error), Some(dir)) if self.offline || error.kind() == Kind::Failure => {
                let mut files = Vec::new();
                below(&dir, "", &mut files);
                if !has_documents(&files) {
                    return Err(error);
                }
                observer.note(&format!(
                    "{repo}: the hub gives no answer; using what is in {}, perhaps not all",
                    dir.display()
                ));
                let files = choose(repo, parts(&files), part, observer)?;
                return Ok(DataFiles { dir, files });
            }
            (Err(error), _) => return Err(error),
        };
        if !has_documents(&snapshot.files) {
            self.fetch(&snapshot, &[""; 0], observer)?;
            snapshot = match self.list(&converted, observer) {
                Ok(converted) if has_documents(&converted.files) => converted,
                Err(error) if error.kind() != Kind::BadData => return Err(error),
                _ => return Err(by_hand(repo, &self.endpoint)),
            };
        }
        let files = choose(repo, parts(&snapshot.files), part, observer)?;
        let dir = self.fetch(&snapshot, &files, observer)?;
        Ok(DataFiles { dir, files })
    }

    /// Asks for the files of a revision, and keeps the answer.
    fn list(&self, repo: &Repo, observer: &mut dyn Observer) -> Result<Snapshot> {
        let snapshot = self.ask(repo, observer)?;
        Folder::of(repo, &self.cache).set_listing(&snapshot.commit, &snapshot.files)?;
        Ok(snapshot)
    }

    /// The folder of the commit that the cache has for a revision, and all the files that it should have.
    fn listing(&self, repo: &Repo) -> Option<(PathBuf, Vec<String>)> {
        let folder = Folder::of(repo, &self.cache);
        let commit = folder.commit(&repo.revision)?;
        Some((folder.snapshot(&commit), folder.listing(&commit)?))
    }
}

/// Hears of nothing.
struct Silent;

impl Observer for Silent {
    fn note(&mut self, _: &str) {}
    fn received(&mut self, _: &str, _: u64, _: Option<u64>) {}
}

fn by_hand(repo: &Repo, endpoint: &str) -> Error {
    let expected = format!(
        "files of CSV, JSON, Parquet or text in it or in its branch {CONVERTED}; what \
         {endpoint}/datasets/{} offers can be downloaded by hand and named by its path",
        repo.id
    );
    Error::bad_data(repo.to_string(), expected, "none")
}

/// The files of the part that is wanted, in the order of their names.
fn choose(
    repo: &Repo,
    mut parts: Parts,
    wanted: Option<&Part>,
    observer: &mut dyn Observer,
) -> Result<Vec<String>> {
    let chosen = match wanted {
        Some(part) => Some(part.clone()),
        None => {
            let first = parts.keys().next();
            let is_single = parts.keys().all(|part| Some(&part.config) == first.map(|p| &p.config));
            let train = parts.keys().find(|part| is_single && part.split == "train");
            train.or(first.filter(|_| parts.len() == 1)).cloned()
        }
    };
    let names: Vec<String> = parts.keys().map(Part::to_string).collect();
    let found = chosen.as_ref().and_then(|part| parts.remove(part));
    let (Some(part), Some(formats)) = (&chosen, found) else {
        let expected = format!("one of the parts {}", some(&names));
        let found = wanted.map_or_else(
            || format!("none named (hf:{repo}:CONFIGURATION/SPLIT)"),
            |part| part.to_string(),
        );
        return Err(Error::bad_data(repo.to_string(), expected, found));
    };
    if wanted.is_none() && names.len() > 1 {
        observer.note(&format!("{repo}: {part} of the parts {}", some(&names)));
    }
    if formats.len() > 1 {
        let names: Vec<String> = formats.keys().map(|&at| FORMATS[at].to_string()).collect();
        observer.note(&format!("{repo}: {part} is there as {}; the first is read", some(&names)));
    }
    Ok(formats.into_values().next().unwrap_or_default())
}

/// As many names as a line can bear.
fn some(names: &[String]) -> String {
    const MOST: usize = 12;
    let told = names.iter().take(MOST).map(|name| name.escape_debug().to_string());
    let told = told.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

fn parts(files: &[String]) -> Parts {
    let mut parts = Parts::new();
    for file in files {
        if let Some((part, format)) = part(file) {
            parts.entry(part).or_default().entry(format).or_default().push(file.clone());
        }
    }
    for files in parts.values_mut().flat_map(BTreeMap::values_mut) {
        files.sort();
    }
    parts
}

/// Of which part a file holds documents, and in which format; `None` for another file.
fn part(file: &str) -> Option<(Part, usize)> {
    let mut folders: Vec<&str> = file.split('/').collect();
    let name = folders.pop()?.to_lowercase();
    let is_hidden = |name: &&str| name.starts_with('.') || name.starts_with("__");
    if NO_DATA.contains(&&*name) || folders.iter().chain([&&*name]).any(is_hidden) {
        return None;
    }
    let unpacked = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(&name);
    let (stem, end) = unpacked.rsplit_once('.')?;
    let format = FORMATS.iter().position(|format| *format == end)?;

    if folders.first() == Some(&"data") {
        folders.remove(0);
    }
    let is_number = stem.bytes().all(|byte| byte.is_ascii_digit());
    let split = match shard_of(stem) {
        Some(split) => Some(split),
        // As the hub converts; a part of a split that was too large is marked so.
        None if is_number && folders.len() > 1 => {
            folders.pop().map(|split| split.strip_prefix("partial-").unwrap_or(split))
        }
        None => usual_split(stem),
    };
    let of_folder = folders.iter().find_map(|folder| usual_split(folder));
    let split = split.or(of_folder).unwrap_or("train").to_string();
    folders.retain(|folder| usual_split(folder).is_none());
    let config = if folders.is_empty() { "default".to_string() } else { folders.join("/") };
    Some((Part { config, split }, format))
}

/// `NAME` of `NAME-00000-of-00001`, behind which a hash may stand.
fn shard_of(stem: &str) -> Option<&str> {
    let is_number = |text: &&str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (before, behind) = stem.split_once("-of-")?;
    let (name, number) = before.rsplit_once('-')?;
    let count = behind.split('-').next()?;
    (is_number(&number) && is_number(&count)).then_some(name)
}

/// The usual split that a name speaks of.
fn usual_split(name: &str) -> Option<&'static str> {
    let says = |word: &&str| name.split(|c: char| !c.is_ascii_alphabetic()).any(|it| it == *word);
    SPLITS.iter().find(|(_, words)| words.iter().any(says)).map(|(split, _)| *split)
}

/// The paths of all files below `dir`, each behind `prefix`; what cannot be read is not there.
fn below(dir: &Path, prefix: &str, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => below(&entry.path(), &format!("{path}/"), files),
            false => files.push(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::hub::RepoKind;

    fn part_of(file: &str) -> String {
        part(file).map_or("none".to_string(), |(part, _)| part.to_string())
    }

    #[test]
    fn a_file_says_its_part_by_its_name() {
        for (file, expected) in [
            ("train.csv", "default/train"),
            ("poemas.jsonl.gz", "default/train"),
            ("data/train-00000-of-00001.parquet", "default/train"),
            ("data/train_sft-00000-of-00003-a5f2e86d0b7c3d1e.parquet", "default/train_sft"),
            ("data/dev.json", "default/validation"),
            ("data/Test_es.tsv", "default/test"),
            ("es/train/a.parquet", "es/train"),
            ("es/valid/parte-1.txt.zst", "es/validation"),
            ("20231101.es/train-00003-of-00013.parquet", "20231101.es/train"),
            ("en/c4-validation.00000-of-00008.json.gz", "en/validation"),
            ("es/gold/0000.parquet", "es/gold"),
            ("default/partial-train/0000.parquet", "default/train"),
            ("data/es/0001.parquet", "es/train"),
            ("2023/es/a.csv", "2023/es/train"),
            ("train/train_es.csv", "default/train"),
            ("entrenamiento.csv", "default/train"),
            ("README.md", "none"),
            ("dataset_infos.json", "none"),
            (".cache/a.csv", "none"),
            ("__pycache__/a.json", "none"),
            ("set.py", "none"),
            ("data.zip", "none"),
        ] {
            assert_eq!(part_of(file), expected, "{file}");
        }
    }

    fn chosen(files: &[&str], wanted: Option<&str>) -> Result<Vec<String>> {
        let repo = Repo::parse(RepoKind::Dataset, "org/set")?;
        let wanted = wanted.and_then(|part| part.rsplit_once('/'));
        let wanted =
            wanted.map(|(config, split)| Part { config: config.into(), split: split.into() });
        let files: Vec<String> = files.iter().map(|file| file.to_string()).collect();
        choose(&repo, parts(&files), wanted.as_ref(), &mut Silent)
    }

    #[test]
    fn one_part_is_chosen_or_all_are_listed() {
        let one = ["b/train.csv", "b/test.csv", "README.md", "b/train-2.csv"];
        assert_eq!(chosen(&one, None).unwrap(), ["b/train-2.csv", "b/train.csv"]);
        assert_eq!(chosen(&one, Some("b/test")).unwrap(), ["b/test.csv"]);
        assert_eq!(chosen(&["test.csv"], None).unwrap(), ["test.csv"]);
        assert_eq!(chosen(&["a.json", "a.parquet", "a.csv"], None).unwrap(), ["a.parquet"]);
        for (files, wanted, words) in [
            (&one[..], Some("b/dev"), "one of the parts b/test, b/train, found b/dev"),
            (&one, Some("a/train"), "b/test, b/train, found a/train"),
            (
                &["a/train.csv", "b/train.csv"],
                None,
                "a/train, b/train, found none named (hf:org/set:",
            ),
            (&["test.csv", "dev.csv"], None, "default/test, default/validation, found none named"),
        ] {
            let error = chosen(files, wanted).unwrap_err();
            assert_eq!(error.kind(), Kind::BadData);
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}

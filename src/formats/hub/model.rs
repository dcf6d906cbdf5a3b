//! A model of the hub: which of its files copla needs, and whether the cache has them.

use super::{Hub, Observer, Repo};
use crate::error::{Error, Kind, Result};
use crate::formats::weights;
use std::path::{Path, PathBuf};

/// Beside the weights, as far as a repository has them.
const SMALL_FILES: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
];

impl Hub {
    /// The directory with the files of a model: `config.json`, the tokenizer's, and the weights that
    /// [`Weights::open`](weights::Weights::open) would take, no others.
    ///
    /// A revision that the cache has whole is used as it is, and nobody is asked: a branch is what it
    /// was when it was downloaded. For what it has become since, name the commit, `NAME@COMMIT`, or
    /// delete the branch in the folder `refs` of the cache. Where the cache lacks something and the hub
    /// does not answer, `observer` is told and what there is must do, if weights are among it.
    ///
    /// Bad data: no such model, no access, no weights that copla reads (known before anything large is
    /// downloaded), a wrong checksum, or offline without the model in the cache. Failure: the hub does
    /// not answer, a transfer breaks off again and again, the disk is full or cannot be written.
    pub fn model(&self, repo: &Repo, observer: &mut dyn Observer) -> Result<PathBuf> {
        let cached = self.cached(repo);
        if let Some(dir) = cached.as_ref().filter(|dir| has_tokenizer(dir) && has_model(dir)) {
            return Ok(dir.clone());
        }
        let snapshot = match (self.ask(repo, observer), cached.filter(|dir| has_model(dir))) {
            (Ok(snapshot), _) => snapshot,
            (Err(error), Some(dir)) if self.offline || error.kind() == Kind::Failure => {
                let from = dir.display();
                observer.note(&format!("{repo}: the hub gives no answer; using {from}"));
                return Ok(dir);
            }
            (Err(error), _) => return Err(error),
        };
        let there = |name: &str| snapshot.files.iter().any(|file| file == name);
        let thing = format!("{repo} at {}", self.endpoint);
        let file_of_weights = weights::choose(&thing, there)?;
        if !there("config.json") {
            return Err(Error::bad_data(thing, "config.json", "no such file"));
        }
        let mut files: Vec<&str> = SMALL_FILES.into_iter().filter(|name| there(name)).collect();
        files.push(&file_of_weights);
        let dir = self.fetch(&snapshot, &files, observer)?;
        if weights::is_index(&file_of_weights) {
            let shards = weights::shards(&dir.join(&file_of_weights))?;
            let shards: Vec<String> = shards.into_iter().collect();
            self.fetch(&snapshot, &shards, observer)?;
        }
        Ok(dir)
    }

    /// The directory with the files of a model's tokenizer, and its configs: no weights are downloaded.
    /// Those in the cache are used as they are. Errors as those of [`Hub::model`].
    pub fn tokenizer(&self, repo: &Repo, observer: &mut dyn Observer) -> Result<PathBuf> {
        if let Some(dir) = self.cached(repo).filter(|dir| has_tokenizer(dir)) {
            return Ok(dir);
        }
        let snapshot = self.ask(repo, observer)?;
        let there = |name: &&str| snapshot.files.iter().any(|file| file == name);
        let files: Vec<&str> = SMALL_FILES.into_iter().filter(there).collect();
        self.fetch(&snapshot, &files, observer)
    }
}

fn has_tokenizer(dir: &Path) -> bool {
    let there = |name: &str| dir.join(name).exists();
    there("tokenizer.json") || (there("vocab.json") && there("merges.txt"))
}

fn has_model(dir: &Path) -> bool {
    let there = |name: &str| dir.join(name).exists();
    there("config.json")
        && weights::choose("", there).is_ok_and(|name| {
            let shards = || weights::shards(&dir.join(&name));
            !weights::is_index(&name) || shards().is_ok_and(|all| all.iter().all(|one| there(one)))
        })
}

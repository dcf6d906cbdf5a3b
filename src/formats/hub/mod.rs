//! Models and data sets by their names on the Hugging Face hub, through the cache that copla shares
//! with `huggingface_hub`.

mod cache;
mod dataset;
mod download;
mod env;
mod http;
mod model;
mod name;

pub use dataset::{DataFiles, Part};
pub use http::Patience;
pub use name::{Repo, RepoKind};

use crate::error::{Error, Kind, Result};
use cache::Folder;
use download::Download;
use http::{Answer, Ask, Client};
use name::{encode, is_commit, is_id};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A listing of a hundred thousand files is about 10 MB.
const MOST_LISTING_BYTES: u64 = 1 << 26;

/// Where the hub is and what of it is here. [`Hub::from_env`] reads the environment.
pub struct Hub {
    /// Without a slash at its end: `https://huggingface.co`.
    pub endpoint: String,
    /// The directory of the cache, which need not exist yet.
    pub cache: PathBuf,
    /// Sent to the endpoint and to no other host.
    pub token: Option<String>,
    /// Nothing is asked of the network.
    pub offline: bool,
    pub proxy: Option<ureq::Proxy>,
    pub patience: Patience,
}

/// Who follows a download.
pub trait Observer {
    /// One line that a person should read: a repository's new name, a try that failed.
    fn note(&mut self, line: &str);
    /// So many bytes of the file are here, of so many (where the hub knows); at first those of an
    /// earlier download.
    fn received(&mut self, file: &str, bytes: u64, size: Option<u64>);
}

/// What a person means by the name of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    Directory(PathBuf),
    Repository(Repo),
}

/// A directory if there is one of that name; else `[org/]name[@revision]` on the hub. What begins with
/// `.` or `/` is never on the hub. Bad data where it can be neither.
pub fn locate(model: &str) -> Result<Location> {
    let path = Path::new(model);
    let wrong = |found| {
        let expected = "a model directory, or a name on the hub ([org/]name[@revision])";
        Err(Error::bad_data(if model.is_empty() { "\"\"" } else { model }, expected, found))
    };
    if path.is_dir() {
        Ok(Location::Directory(path.to_path_buf()))
    } else if path.exists() {
        wrong("a file")
    } else if path.is_absolute() || model.starts_with('.') {
        wrong("no such directory")
    } else {
        match Repo::parse(RepoKind::Model, model) {
            Ok(repo) => Ok(Location::Repository(repo)),
            Err(_) => wrong("no such directory, and no repository can have that name"),
        }
    }
}

/// A repository at one commit, as the server lists it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// As it was asked for, which is its name in the cache.
    repo: Repo,
    /// As it is called today.
    id: String,
    commit: String,
    files: Vec<String>,
}

impl Snapshot {
    /// 40 hexadecimal digits.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// The paths of all files, with slashes.
    pub fn files(&self) -> &[String] {
        &self.files
    }
}

impl Hub {
    /// The directory with those files of the revision that are in the cache: perhaps not all.
    pub fn cached(&self, repo: &Repo) -> Option<PathBuf> {
        let folder = Folder::of(repo, &self.cache);
        let dir = folder.snapshot(&folder.commit(&repo.revision)?);
        dir.is_dir().then_some(dir)
    }

    /// Asks the server what the revision is and holds. `observer` is told if the repository has another
    /// name today.
    ///
    /// Bad data: no such repository or revision, no access, or [`offline`](Hub::offline). Failure: no
    /// answer, or none that can be understood.
    pub fn ask(&self, repo: &Repo, observer: &mut dyn Observer) -> Result<Snapshot> {
        let thing = repo.to_string();
        let cache = self.cache.display();
        if self.offline {
            let expected = format!("all its files in {cache}, for HF_HUB_OFFLINE is set");
            let found = if self.cached(repo).is_some() { "not all" } else { "none" };
            return Err(Error::bad_data(thing, expected, found));
        }
        let client = Client::new(self);
        let api = format!("{}/api/{}/", self.endpoint, repo.kind.plural());
        let url = format!("{api}{}/revision/{}", repo.id, encode(&repo.revision, ""));
        let failed = |why| {
            let expected = format!("an answer of {}, or its files in {cache}", self.endpoint);
            Error::new(Kind::Failure, &thing, expected, why)
        };
        let (url, listing) = client.retry(&thing, observer, failed, |_| {
            let Answer { url, response, .. } = client.send(Ask::Get, &url, &thing)?;
            let mut body = response.into_body();
            let limited = body.with_config().limit(MOST_LISTING_BYTES);
            let bytes = limited.read_to_vec().map_err(http::trouble)?;
            Ok((url, bytes))
        })?;
        let (commit, files) = read_listing(&listing).ok_or_else(|| {
            let expected = format!("a listing of {} (is HF_ENDPOINT right?)", self.endpoint);
            Error::new(Kind::Failure, &thing, expected, "an answer of another kind")
        })?;
        let today = url.strip_prefix(&api).and_then(|rest| rest.split_once("/revision/"));
        let id = today.map_or(repo.id.as_str(), |(id, _)| id);
        let id = if is_id(id) { id } else { &repo.id };
        if id != repo.id {
            observer.note(&format!("{} is called {id} today", repo.id));
        }
        Ok(Snapshot { repo: repo.clone(), id: id.to_string(), commit, files })
    }

    /// Downloads what the cache lacks of these files; the directory that has them, by their paths.
    ///
    /// Bad data: no such file, a path that leads elsewhere, a wrong checksum. Failure: a transfer that
    /// breaks off again and again, a disk that is full or cannot be written.
    pub fn fetch(
        &self,
        snapshot: &Snapshot,
        files: &[impl AsRef<str>],
        observer: &mut dyn Observer,
    ) -> Result<PathBuf> {
        let client = Client::new(self);
        let folder = Folder::of(&snapshot.repo, &self.cache);
        for name in files {
            Download::new(&client, &folder, &self.endpoint, snapshot, name.as_ref())?
                .run(&snapshot.commit, observer)?;
        }
        // Last: a branch does not move to a commit that may never come.
        folder.set_commit(&snapshot.repo.revision, &snapshot.commit)?;
        Ok(folder.snapshot(&snapshot.commit))
    }
}

/// The commit and the files of the API's answer.
fn read_listing(bytes: &[u8]) -> Option<(String, Vec<String>)> {
    let listing: Value = serde_json::from_slice(bytes).ok()?;
    let commit = listing.get("sha")?.as_str().filter(|commit| is_commit(commit))?;
    let files = listing.get("siblings")?.as_array()?.iter();
    let files = files.map(|file| Some(file.get("rfilename")?.as_str()?.to_string()));
    Some((commit.to_string(), files.collect::<Option<_>>()?))
}

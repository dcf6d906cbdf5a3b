//! The cache of `huggingface_hub`, which copla shares:
//!
//! ```text
//! models--org--name/blobs/ETAG                  the bytes of a file, by its checksum
//! models--org--name/refs/REVISION               the commit that a branch or tag stood at
//! models--org--name/snapshots/COMMIT/FILE       a relative link to the blob
//! models--org--name/.listings/COMMIT.json        the names of all its files (copla's own: who has a
//!                                               part of a data set must know that it is whole)
//! .locks/models--org--name/ETAG.lock            held while the blob is downloaded
//! ```

use super::name::{Repo, is_commit};
use crate::error::{Error, Result};
use crate::formats::atomic;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read};
#[cfg(unix)]
use std::os::unix::fs::symlink;
#[cfg(windows)]
use std::os::windows::fs::symlink_file as symlink;
use std::path::{Path, PathBuf};

const TO_WRITE: &str = "a cache that can be written (HF_HUB_CACHE puts it elsewhere)";

/// The folder of one repository.
pub(super) struct Folder {
    root: PathBuf,
    locks: PathBuf,
}

impl Folder {
    pub fn of(repo: &Repo, cache: &Path) -> Self {
        let name = format!("{}--{}", repo.kind.plural(), repo.id.replace('/', "--"));
        Folder { root: cache.join(&name), locks: cache.join(".locks").join(&name) }
    }

    /// Where the bytes with this checksum are, or will be.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// The files of a commit.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// The commit that the cache knows for a revision.
    pub fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_string());
        }
        let text = fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        Some(text.trim().to_string()).filter(|commit| is_commit(commit))
    }

    /// Keeps the commit of a revision, as `huggingface_hub` reads it: with nothing after it.
    pub fn set_commit(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision);
        make_parent(&path)?;
        atomic::write_file(&path, |file| file.put(commit.as_bytes()))
    }

    /// The names of all files of a commit, if they were kept.
    pub fn listing(&self, commit: &str) -> Option<Vec<String>> {
        serde_json::from_slice(&fs::read(self.listing_path(commit)).ok()?).ok()
    }

    pub fn set_listing(&self, commit: &str, files: &[String]) -> Result<()> {
        let path = self.listing_path(commit);
        if path.exists() {
            return Ok(());
        }
        make_parent(&path)?;
        let listing = serde_json::json!(files).to_string();
        atomic::write_file(&path, |file| file.put(listing.as_bytes()))
    }

    fn listing_path(&self, commit: &str) -> PathBuf {
        self.root.join(".listings").join(commit).with_added_extension("json")
    }

    /// Holds the blob's lock until the file is dropped: one process downloads, the others wait, after
    /// `wait` has told so.
    pub fn lock(&self, etag: &str, wait: impl FnOnce()) -> Result<File> {
        let path = self.locks.join(format!("{etag}.lock"));
        make_parent(&path)?;
        let failed = |error| Error::io(&path, TO_WRITE, error);
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        let locked = match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                wait();
                file.lock()
            }
            Err(TryLockError::Error(error)) => Err(error),
        };
        match locked {
            // Some network file systems know no locks; the checksum still lets nothing wrong through.
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(file),
            locked => locked.map(|()| file).map_err(failed),
        }
    }

    /// Puts the blob under a file's name in the snapshot.
    pub fn link(&self, etag: &str, commit: &str, name: &str) -> Result<()> {
        let path = self.snapshot(commit).join(name);
        make_parent(&path)?;
        let depth = Path::new(name).components().count();
        let target = Path::new(&"../".repeat(depth + 1)).join("blobs").join(etag);
        match symlink(&target, &path) {
            Ok(()) => Ok(()),
            // Another process was as fast.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && path.exists() => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // A link to a blob that is gone.
                fs::remove_file(&path).map_err(|error| Error::io(&path, TO_WRITE, error))?;
                self.link(etag, commit, name)
            }
            Err(_) => copy(&self.blob(etag), &path),
        }
    }
}

/// For a file system without links.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = |error| Error::io(from, "a file to copy", error);
    let mut source = File::open(from).map_err(failed)?;
    let mut piece = vec![0; 1 << 20];
    atomic::write_file(to, |file| {
        loop {
            match source.read(&mut piece).map_err(failed)? {
                0 => return Ok(()),
                length => file.put(&piece[..length])?,
            }
        }
    })
}

pub(super) fn make_parent(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(|error| cannot_write(parent, error))
}

/// A failure of the cache's disk: no permission, no space.
pub(super) fn cannot_write(path: &Path, error: std::io::Error) -> Error {
    Error::io(path, TO_WRITE, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::hub::RepoKind;

    #[test]
    fn a_link_that_leads_nowhere_is_made_anew_and_a_copy_does_for_a_link() {
        let cache = tempfile::tempdir().unwrap();
        let repo = Repo::parse(RepoKind::Dataset, "org/set").unwrap();
        let folder = Folder::of(&repo, cache.path());
        assert!(folder.blob("e").starts_with(cache.path().join("datasets--org--set")));
        let commit = "c".repeat(40);
        folder.link("e", &commit, "data/a.csv").unwrap();
        let path = folder.snapshot(&commit).join("data/a.csv");
        assert!(!path.exists());
        make_parent(&folder.blob("f")).unwrap();
        fs::write(folder.blob("f"), "verso").unwrap();
        folder.link("f", &commit, "data/a.csv").unwrap();
        folder.link("f", &commit, "data/a.csv").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "verso");
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("../../../blobs/f"));

        let copied = folder.snapshot(&commit).join("b.csv");
        copy(&folder.blob("f"), &copied).unwrap();
        assert_eq!(fs::read_to_string(copied).unwrap(), "verso");
    }
}

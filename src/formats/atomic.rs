//! Nothing half written is ever under a final name: write beside it, sync, then rename.

use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const TO_WRITE: &str = "a place that can be written";

/// Writes the file `path` through `fill`, whole or not at all: an older file of that name stays as it
/// was until the new one is complete and on the disk. A symbolic link is followed.
///
/// Fails with `fill`'s error, when the system refuses, or at once as [`check_file`] does.
pub fn write_file(path: &Path, fill: impl FnOnce(&mut Writer) -> Result<()>) -> Result<()> {
    check_file(path)?;
    let failed = |error| Error::io(path, TO_WRITE, error);
    let path = &follow(path);
    let (temporary, file) =
        Temporary::make(path, "tmp", |name| File::create_new(name)).map_err(failed)?;
    let mut writer = Writer { file: BufWriter::with_capacity(1 << 20, file), path };
    fill(&mut writer)?;
    let file = writer.file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    fs::rename(&temporary.path, path).map_err(failed)?;
    sync_dir(parent(path)).map_err(failed)
}

/// Writes the directory `path` through `fill`, which is given an empty directory to fill: whole or not
/// at all. Missing parents are made. A model or tokenizer directory of that name is replaced, with all
/// that it holds: it is renamed aside, the new one renamed in, the old one deleted. (Only a crash between two
/// renames leaves neither under the name; both are then complete beside it, as `.NAME.*.old` and
/// `.NAME.*.tmp`.)
///
/// Fails with `fill`'s error, when the system refuses, or at once as [`check_dir`] does; what was
/// under the name before is then still there.
pub fn write_dir(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    check_dir(path)?;
    let failed = |error| Error::io(path, TO_WRITE, error);
    let path = &follow(path);
    fs::create_dir_all(parent(path)).map_err(failed)?;
    let (temporary, ()) =
        Temporary::make(path, "tmp", |name| fs::create_dir(name)).map_err(failed)?;
    fill(&temporary.path)?;
    sync_tree(&temporary.path).map_err(failed)?;

    // What lies under the name may have changed while `fill` ran.
    check_dir(path)?;
    swap_in(&temporary.path, path)
}

/// Renames the directory `new` to `path`, and deletes the one that was there.
fn swap_in(new: &Path, path: &Path) -> Result<()> {
    let failed = |error| Error::io(path, TO_WRITE, error);
    let old = match path.exists() {
        false => None,
        // The place is made first, so that its name is ours; `rename` then replaces it in one step.
        true => {
            let (place, ()) =
                Temporary::make(path, "old", |name| fs::create_dir(name)).map_err(failed)?;
            fs::rename(path, &place.path).map_err(failed)?;
            Some(place.keep())
        }
    };
    if let Err(error) = fs::rename(new, path) {
        if let Some(old) = &old {
            let lost =
                |error| Error::io(old, format!("to be renamed back to {}", path.display()), error);
            fs::rename(old, path).map_err(lost)?;
        }
        return Err(failed(error));
    }
    sync_dir(parent(path)).map_err(failed)?;
    match &old {
        None => Ok(()),
        Some(old) => {
            fs::remove_dir_all(old).map_err(|error| Error::io(old, "to be deleted", error))
        }
    }
}

/// Whether [`write_file`] may write here: a regular file, or a new name in a directory that is there.
/// Anything else (a directory, a device) is a usage error. A command asks this before its work.
pub fn check_file(path: &Path) -> Result<()> {
    let refuse = |found| Err(Error::usage(path.display().to_string(), "a file to write", found));
    match fs::metadata(path) {
        _ if path.file_name().is_none() => refuse("no file name"),
        _ if !parent(path).is_dir() => refuse("no directory to hold it"),
        Ok(found) if found.is_dir() => refuse("a directory"),
        Ok(found) if !found.is_file() => refuse("something that is not a regular file"),
        _ => Ok(()),
    }
}

/// What a tokenizer is saved as.
const OF_TOKENIZER: [&str; 3] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];

/// Whether [`write_dir`] may write here: a new name, an empty directory, or a model directory (one
/// with a `config.json`) or a tokenizer's (with nothing but its files), which it would replace. Anything
/// else is a usage error, for it would be deleted. A command asks this before its work.
pub fn check_dir(path: &Path) -> Result<()> {
    let refuse = |found| {
        Err(Error::usage(
            path.display().to_string(),
            "a new or empty directory, or one of a model or a tokenizer to replace",
            found,
        ))
    };
    let Ok(found) = fs::metadata(path) else {
        let above = path.ancestors().find(|above| above.exists());
        return match path.file_name() {
            None => refuse("no directory name"),
            Some(_) if above.is_some_and(|above| !above.is_dir()) => {
                refuse("a file on the way to it")
            }
            Some(_) => Ok(()),
        };
    };
    let path = &follow(path);
    if !found.is_dir() {
        refuse("a file")
    } else if path.file_name().is_none() {
        refuse("the root directory")
    } else if std::env::current_dir().is_ok_and(|current| current.starts_with(path)) {
        // It would be renamed away under the shell that stands in it.
        refuse("the current directory, or one above it")
    } else {
        let mut entries =
            fs::read_dir(path).map_err(|error| Error::io(path, "a directory to read", error))?;
        let is_of_tokenizer = |entry: io::Result<fs::DirEntry>| {
            entry.is_ok_and(|entry| OF_TOKENIZER.iter().any(|&name| entry.file_name() == name))
        };
        match path.join("config.json").is_file() || entries.all(is_of_tokenizer) {
            true => Ok(()),
            false => refuse("a directory with other files and no config.json"),
        }
    }
}

/// Where [`write_file`] puts a file's bytes.
pub struct Writer<'a> {
    file: BufWriter<File>,
    /// The final name: no message speaks of the temporary one.
    path: &'a Path,
}

impl Writer<'_> {
    /// Appends `bytes`.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::io(self.path, TO_WRITE, error))
    }
}

/// A file or directory beside the final one, gone when this is dropped: after an error, after a
/// panic, and (to no effect) after it has been renamed.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// Takes a name in `target`'s directory that nobody has: hidden, so that no listing of models
    /// shows it. `create` must fail where the name exists.
    fn make<T>(
        target: &Path,
        end: &str,
        create: impl Fn(&Path) -> io::Result<T>,
    ) -> io::Result<(Self, T)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = parent(target).join(format!(".{name}.{}-{count}.{end}", std::process::id()));
            match create(&path) {
                // Left by a process that was killed and had the same id.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                created => return created.map(|created| (Temporary { path }, created)),
            }
        }
    }

    fn keep(self) -> PathBuf {
        let mut this = std::mem::ManuallyDrop::new(self);
        std::mem::take(&mut this.path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing better can be done about a failure here: the error that led here is the one to report.
        let _ = match self.path.is_dir() {
            true => fs::remove_dir_all(&self.path),
            false => fs::remove_file(&self.path),
        };
    }
}

/// The file or directory that a symbolic link stands for, so that the link is kept.
fn follow(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A renaming is on the disk once its directory is. Some network file systems cannot sync a directory
/// and say so: then the rename alone must do.
fn sync_dir(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            Ok(())
        }
        done => done,
    }
}

fn sync_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => sync_tree(&entry.path())?,
            kind if kind.is_file() => File::open(entry.path())?.sync_all()?,
            _ => {}
        }
    }
    sync_dir(path)
}

#[cfg(test)]
mod tests;

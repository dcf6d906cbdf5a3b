//! A file as memory: mapped, so that only what is used is ever read.

use crate::error::{Error, Result};
use memmap2::Mmap;
use std::fs::File;
use std::path::Path;

/// Maps the regular file `path`; `expected` says what it should be. A Git LFS pointer in its place is
/// bad data, and named.
pub fn open(path: &Path, expected: &str) -> Result<Mmap> {
    let failed = |error| Error::io(path, expected, error);
    let wrong = |found| Error::bad_data(path.display().to_string(), expected, found);
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(wrong(if about.is_dir() { "a directory" } else { "no regular file" }));
    }
    // SAFETY: the mapping is read-only and lives as long as every slice of it (they borrow from the
    // owner of the `Mmap`). What is left is another process that changes the file meanwhile. copla
    // never does: `atomic` puts a new file in the place of the old, and a mapping keeps the old.
    // Against the rest: every reader keeps the places and lengths that it has checked in memory of
    // its own, and indexes the mapping with bounds checks. What is read is plain bytes, each
    // bit pattern of which is a value of its type. So a file overwritten in place gives
    // wrong numbers or a refusal, and one that is cut short ends the process with SIGBUS, as in any
    // program that maps its files; neither reaches memory that is not the file's.
    let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
    match map.starts_with(b"version https://git-lfs") {
        true => Err(wrong("a Git LFS pointer to one (git lfs pull fetches it)")),
        false => Ok(map),
    }
}

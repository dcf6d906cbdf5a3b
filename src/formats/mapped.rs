//! A file as memory: mapped, so that only what is used is ever read.

use crate::error::{Error, Result};
use memmap2::{Mmap, UncheckedAdvice};
use std::fs::File;
use std::ops::Deref;
use std::path::Path;

/// The most that Linux keeps of a file in one piece, on x86-64.
const LARGEST_FOLIO: usize = 2 << 20;

/// The bytes of a file.
#[derive(Debug)]
pub struct Mapped(Mmap);

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Mapped {
    /// Says that `bytes` were read: if they are a part of this file, their pages no longer count as this
    /// process's memory, and come back from the file if somebody reads them after all.
    pub fn release(&self, bytes: &[u8]) {
        let offset = (bytes.as_ptr() as usize).wrapping_sub(self.as_ptr() as usize);
        if offset < self.len() && bytes.len() <= self.len() - offset {
            // Whoever reads a byte may get all pages that the system keeps with it, released ones before
            // it too (Linux 6.18 maps large folios as a whole).
            let begin = offset.saturating_sub(LARGEST_FOLIO);
            let len = offset + bytes.len() - begin;
            // SAFETY: pages of a read-only, shared mapping hold what the file holds, before and after.
            let advised =
                unsafe { self.0.unchecked_advise_range(UncheckedAdvice::DontNeed, begin, len) };
            // It is an advice: a system that does not take it holds the pages as long as it likes.
            let _ = advised;
        }
    }
}

/// Maps the regular file `path`; `expected` says what it should be. A Git LFS pointer in its place is
/// bad data, and named.
pub fn open(path: &Path, expected: &str) -> Result<Mapped> {
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
    refuse_pointer(path, expected, &map)?;
    Ok(Mapped(map))
}

/// Bad data where the file `path`, which begins with `bytes`, only says where the true one is, as a clone
/// without Git LFS has it.
pub(crate) fn refuse_pointer(path: &Path, expected: &str, bytes: &[u8]) -> Result<()> {
    if !bytes.starts_with(b"version https://git-lfs") {
        return Ok(());
    }
    let found = "a Git LFS pointer to one (git lfs pull fetches it)";
    Err(Error::bad_data(path.display().to_string(), expected, found))
}

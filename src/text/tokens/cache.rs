//! The cache of tokenised documents: a file under the hash of all that they depend on, mapped when it is
//! wanted again.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Encoded, Ids, Progress, Tokens, encode, number};
use crate::error::{Error, Result};
use crate::formats::{atomic, mapped};
use crate::text::{Special, Tokenizer};

/// All that tokenised documents depend on, as one hash: data, options, tokenizer.
#[derive(Clone, Default)]
pub struct Key(Sha256);

impl Key {
    /// Adds something by its name, so that two things never hash as one.
    pub fn add(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        for part in [name.as_bytes(), value.as_ref()] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// Adds all that a tokenizer's ids depend on, the version of copla, whose library it is, included.
    pub fn add_tokenizer(self, tokenizer: &Tokenizer) -> Result<Self> {
        let special = [Special::Eos, Special::Unk].map(|special| tokenizer.special(special));
        Ok(self
            .add("copla", env!("CARGO_PKG_VERSION"))
            .add("tokenizer", tokenizer.to_json()?)
            .add("special", format!("{special:?}")))
    }

    /// Adds what a file holds.
    pub fn add_file(self, path: &Path) -> Result<Self> {
        let failed = |error| Error::io(path, "a file to read", error);
        let mut hash = Sha256::new();
        std::io::copy(&mut File::open(path).map_err(failed)?, &mut Hashing(&mut hash))
            .map_err(failed)?;
        Ok(self.add("file", hash.finalize()))
    }

    fn bytes(&self) -> [u8; 32] {
        self.0.clone().finalize().into()
    }
}

struct Hashing<'a>(&'a mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The tokens of `documents`, from the file in `folder` that an earlier run left under this `key`; else
/// they are encoded on all threads, a few megabytes at a time, and left there for the next. Of two
/// processes that want the same, one makes it and the other waits. Nothing old is ever deleted.
///
/// `documents` is asked for only where it is needed; its errors are returned.
pub fn cached<S, D>(
    folder: &Path,
    key: &Key,
    tokenizer: &Tokenizer,
    documents: impl FnOnce() -> Result<D>,
    told: &mut dyn FnMut(Progress),
) -> Result<Tokens>
where
    S: AsRef<str> + Send + Sync,
    D: Iterator<Item = Result<S>> + Send,
{
    let name: String = key.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(format!("{name}.tokens"));
    let failed = |error| Error::io(folder, "a folder to keep tokens in", error);
    std::fs::create_dir_all(folder).map_err(failed)?;
    let lock = File::create(path.with_extension("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    // What cannot be read as it should was damaged, and is made again.
    if let Some(tokens) = open(&path, key) {
        return Ok(tokens);
    }
    write(&path, key, tokenizer, documents()?, told)?;
    open(&path, key).ok_or_else(|| {
        let found = "a file that changed as it was written";
        Error::bad_data(path.display().to_string(), "the tokens just written", found)
    })
}

// The file: ids (u16 or u32) | padding to 8 | starts (u64) | the numbers of `Footer` (u64) | key.
// Little-endian. What is known only at the end stands at the end, so that writing is one pass.

const MAGIC: u64 = u64::from_le_bytes(*b"coplatk2");
const FOOTER: usize = 7 * 8 + 32;

#[derive(Default)]
struct Footer {
    width: usize,
    ids: usize,
    documents: usize,
    chars: usize,
    bytes: usize,
    unknown: usize,
}

impl Footer {
    /// Bytes before the starts.
    fn ids_bytes(&self) -> Option<usize> {
        self.ids.checked_mul(self.width)?.checked_next_multiple_of(8)
    }

    fn to_bytes(&self, key: &Key) -> Vec<u8> {
        let Footer { width, ids, documents, chars, bytes, unknown } = self;
        let numbers = [width, ids, documents, chars, bytes, unknown].map(|&n| n as u64);
        let numbers = [MAGIC].into_iter().chain(numbers).flat_map(u64::to_le_bytes);
        numbers.chain(key.bytes()).collect()
    }
}

fn write<S: AsRef<str> + Send + Sync>(
    path: &Path,
    key: &Key,
    tokenizer: &Tokenizer,
    documents: impl Iterator<Item = Result<S>> + Send,
    told: &mut dyn FnMut(Progress),
) -> Result<()> {
    let width = if tokenizer.vocab_size() <= 1 << 16 { 2 } else { 4 };
    atomic::write_file(path, |file| {
        let put = |ids: &[u32]| put_ids(file, width, ids);
        let Encoded { starts, chars, bytes, unknown } = encode(tokenizer, documents, told, put)?;
        let documents = starts.len() - 1;
        let footer = Footer { width, ids: starts[documents] + 1, documents, chars, bytes, unknown };
        let padding = footer.ids_bytes().map_or(0, |bytes| bytes - footer.ids * width);
        file.put(&[0; 8][..padding])?;
        for start in starts {
            file.put(&(start as u64).to_le_bytes())?;
        }
        file.put(&footer.to_bytes(key))
    })
}

fn put_ids(file: &mut atomic::Writer, width: usize, ids: &[u32]) -> Result<()> {
    let bytes: Vec<u8> =
        ids.iter().flat_map(|id| id.to_le_bytes().into_iter().take(width)).collect();
    file.put(&bytes)
}

/// The tokens in the file, if it is whole and has this key.
fn open(path: &Path, key: &Key) -> Option<Tokens> {
    let file = mapped::open(path, "tokenised documents").ok()?;
    let at = file.len().checked_sub(FOOTER)?;
    let n = |i: usize| usize::try_from(number(&file[at..], i, u64::from_le_bytes)).ok();
    let footer = Footer {
        width: n(1)?,
        ids: n(2)?,
        documents: n(3)?,
        chars: n(4)?,
        bytes: n(5)?,
        unknown: n(6)?,
    };
    let ids_bytes = footer.ids_bytes()?;
    let starts_bytes = footer.documents.checked_add(1)?.checked_mul(8)?;
    if file[at..] != footer.to_bytes(key)
        || !matches!(footer.width, 2 | 4)
        || ids_bytes.checked_add(starts_bytes)? != at
    {
        return None;
    }
    let starts: Arc<[usize]> = (0..=footer.documents)
        .map(|i| usize::try_from(number(&file[ids_bytes..at], i, u64::from_le_bytes)).ok())
        .collect::<Option<_>>()?;
    let rising = starts.windows(2).all(|pair| pair[0] < pair[1]);
    if !rising || starts.last()? + 1 != footer.ids {
        return None;
    }
    let Footer { width, chars, bytes, unknown, .. } = footer;
    Some(Tokens { ids: Arc::new(Ids::Mapped { file, width }), starts, chars, bytes, unknown })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::BpeOptions;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const TEXTS: [&str; 4] = ["la niña canta", "", "¡ay, la niña!", "canta, niña, canta"];

    fn tokenizer(vocab_size: usize) -> Tokenizer {
        Tokenizer::train_bpe(&TEXTS, &BpeOptions::new(vocab_size)).unwrap()
    }

    fn documents() -> Result<impl Iterator<Item = Result<&'static str>> + Send> {
        Ok(TEXTS.into_iter().map(Ok))
    }

    fn never() -> Result<std::iter::Empty<Result<&'static str>>> {
        Err(Error::usage("documents", "the cached ones", "a second reading"))
    }

    fn make(folder: &Path, tokenizer: &Tokenizer) -> Tokens {
        cached(folder, &key(), tokenizer, documents, &mut |_| {}).unwrap()
    }

    fn key() -> Key {
        Key::default().add("data", TEXTS.concat())
    }

    fn all(tokens: &Tokens) -> Vec<u32> {
        let mut ids = vec![0; tokens.targets() + 1];
        tokens.read(0..tokens.targets() + 1, &mut ids);
        ids
    }

    fn only_file(folder: &Path) -> PathBuf {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<_> =
            files.filter(|path| path.extension().is_some_and(|e| e == "tokens")).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }

    #[test]
    fn what_is_cached_is_what_was_encoded() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = tokenizer(260);
        let here = Tokens::new(&tokenizer, &TEXTS, &mut |_| {}).unwrap();
        let expected: Vec<u32> = TEXTS
            .iter()
            .flat_map(|text| [vec![0], tokenizer.encode(text).unwrap()].concat())
            .chain([0])
            .collect();
        for tokens in [here, make(folder.path(), &tokenizer), make(folder.path(), &tokenizer)] {
            assert_eq!(all(&tokens), expected);
            assert_eq!(
                (tokens.documents(), tokens.targets(), tokens.eos()),
                (4, expected.len() - 1, 0)
            );
            assert_eq!(tokens.largest(), expected.iter().copied().max().unwrap());
            assert_eq!(tokens.document(1).len(), 1, "an empty document is its end alone");
            assert_eq!(tokens.chars, TEXTS.concat().chars().count());
            assert_eq!(tokens.bytes, TEXTS.concat().len());
        }
        cached(folder.path(), &key(), &tokenizer, never, &mut |_| {}).unwrap();
    }

    #[test]
    fn what_cannot_be_spelt_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = Tokenizer::train_chars(&["la niña"]).unwrap();
        let here = Tokens::new(&tokenizer, &TEXTS, &mut |_| {}).unwrap();
        // c t, ¡ y , !, c t , , c t
        for tokens in [here, make(folder.path(), &tokenizer), make(folder.path(), &tokenizer)] {
            assert_eq!(tokens.unknown, 2 + 4 + 6);
        }
    }

    #[test]
    fn wide_ids_are_kept_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wide");
        let ids: Vec<u32> = vec![70_000, 1, 250_879];
        atomic::write_file(&path, |file| {
            put_ids(file, 4, &ids)?;
            let counts = Footer { chars: 5, bytes: 6, ..Footer::default() };
            let footer = Footer { width: 4, ids: 3, documents: 1, ..counts };
            file.put(&[0; 4])?;
            file.put(&[0_u64, 2].map(u64::to_le_bytes).concat())?;
            file.put(&footer.to_bytes(&key()))
        })
        .unwrap();
        assert_eq!(all(&open(&path, &key()).unwrap()), ids);
    }

    #[test]
    fn another_key_is_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = tokenizer(260);
        make(folder.path(), &tokenizer);
        let path = only_file(folder.path());
        for other in [key().add("block", "1"), Key::default().add("dat", "a"), Key::default()] {
            assert!(open(&path, &other).is_none());
            assert!(cached(folder.path(), &other, &tokenizer, never, &mut |_| {}).is_err());
        }
        assert_ne!(
            Key::default().add("a", "bc").bytes(),
            Key::default().add("ab", "c").bytes(),
            "a name ends where it ends"
        );
        assert_eq!(key().add_file(&path).unwrap().bytes(), key().add_file(&path).unwrap().bytes());
    }

    #[test]
    fn a_damaged_cache_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = tokenizer(260);
        let expected = all(&make(folder.path(), &tokenizer));
        let path = only_file(folder.path());
        let whole = std::fs::read(&path).unwrap();
        for end in (0..whole.len()).step_by(7) {
            std::fs::write(&path, &whole[..end]).unwrap();
            assert!(open(&path, &key()).is_none(), "cut at {end}");
        }
        // Numbers that lie: more documents, more ids, another width.
        for at in [8, 16, 24] {
            for lie in [0, 1, 3, u64::MAX] {
                let mut bytes = whole.clone();
                let at = whole.len() - FOOTER + at;
                bytes[at..at + 8].copy_from_slice(&lie.to_le_bytes());
                std::fs::write(&path, &bytes).unwrap();
                assert!(open(&path, &key()).is_none(), "{lie} at {at}");
            }
        }
        assert_eq!(all(&make(folder.path(), &tokenizer)), expected);
    }

    #[test]
    fn an_error_while_reading_leaves_no_cache() {
        let folder = tempfile::tempdir().unwrap();
        let broken = || {
            let error = Error::bad_data("row 3", "two columns", "one");
            Ok([Ok("la niña"), Err(error)].into_iter())
        };
        let made = cached(folder.path(), &key(), &tokenizer(260), broken, &mut |_| {});
        assert!(made.err().unwrap().to_string().starts_with("row 3"));
        let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        assert!(left.into_iter().all(|path| path.extension().is_some_and(|e| e == "lock")));
    }

    #[test]
    fn of_many_at_once_one_reads() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = tokenizer(260);
        let readings = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let counted = || {
                        readings.fetch_add(1, Ordering::Relaxed);
                        documents()
                    };
                    cached(folder.path(), &key(), &tokenizer, counted, &mut |_| {}).unwrap();
                });
            }
        });
        assert_eq!(readings.into_inner(), 1);
    }
}

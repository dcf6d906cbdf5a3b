//! One file of a commit into the cache: resumed where it broke off, and under its name only when its
//! checksum is right.

use super::cache::{Folder, cannot_write, make_parent};
use super::http::{Answer, Ask, Client, Tried, Trouble, header, trouble};
use super::name::{encode, is_hex, is_path_inside};
use super::{Observer, Snapshot};
use crate::error::{Error, Kind, Result};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// The file `name` of a snapshot, on its way from the server to the cache.
pub(super) struct Download<'a> {
    client: &'a Client<'a>,
    folder: &'a Folder,
    url: String,
    /// What the messages call it.
    thing: String,
    name: &'a str,
    endpoint: &'a str,
}

/// What the hub says that the file is.
struct Facts {
    etag: String,
    size: Option<u64>,
}

impl<'a> Download<'a> {
    pub fn new(
        client: &'a Client<'a>,
        folder: &'a Folder,
        endpoint: &'a str,
        snapshot: &Snapshot,
        name: &'a str,
    ) -> Result<Self> {
        let thing = format!("{}: {}", snapshot.repo, name.escape_debug());
        if !is_path_inside(name) {
            return Err(Error::bad_data(thing, "a path inside the repository", "another"));
        }
        let Snapshot { repo, id, commit, .. } = snapshot;
        let name_there = encode(name, "/");
        let url = format!("{endpoint}/{}{id}/resolve/{commit}/{name_there}", repo.kind.prefix());
        Ok(Download { client, folder, url, thing, name, endpoint })
    }

    /// Brings the file into the snapshot of `commit`.
    ///
    /// It is downloaded to `blobs/ETAG.incomplete`, which a later try goes on from: the name is the
    /// checksum, so it is the same file whatever the server did meanwhile.
    pub fn run(&self, commit: &str, observer: &mut dyn Observer) -> Result<()> {
        if self.folder.snapshot(commit).join(self.name).exists() {
            return Ok(());
        }
        let facts = self.facts(commit, observer)?;
        let blob = self.folder.blob(&facts.etag);
        if !blob.exists() {
            let wait = || observer.note(&format!("{}: another process downloads it", self.thing));
            let _lock = self.folder.lock(&facts.etag, wait)?;
            // Another process may just have brought it.
            if !blob.exists() {
                make_parent(&blob)?;
                let part = blob.with_added_extension("incomplete");
                self.transfer(&part, &facts, observer)?;
                self.check(&part, &facts)?;
                fs::rename(&part, &blob).map_err(|error| cannot_write(&blob, error))?;
            }
        }
        self.folder.link(&facts.etag, commit, self.name)
    }

    fn failed(&self, why: String) -> Error {
        let expected = format!("the file from {}", self.endpoint);
        Error::new(Kind::Failure, &self.thing, expected, why)
    }

    fn facts(&self, commit: &str, observer: &mut dyn Observer) -> Result<Facts> {
        let ask = |_: &mut dyn Observer| self.client.send(Ask::Head, &self.url, &self.thing);
        let failed = |why| self.failed(why);
        let Answer { file, .. } = self.client.retry(&self.thing, observer, failed, ask)?;
        match file.etag {
            // The name of a file in the cache, and the checksum.
            Some(etag) if matches!(etag.len(), 40 | 64) && is_hex(&etag) => {
                if let Some(other) = file.commit.filter(|other| other != commit) {
                    return Err(self.failed(format!("another commit, {}", other.escape_debug())));
                }
                Ok(Facts { etag, size: file.size })
            }
            etag => {
                let found = match etag {
                    None => "none".to_string(),
                    Some(other) => other.escape_debug().to_string(),
                };
                let expected = "a checksum of the hub in the header ETag (is HF_ENDPOINT right?)";
                Err(Error::new(Kind::Failure, &self.thing, expected, found))
            }
        }
    }

    /// Adds to `part` until all is there.
    fn transfer(&self, part: &Path, facts: &Facts, observer: &mut dyn Observer) -> Result<()> {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(part)
            .map_err(|error| cannot_write(part, error))?;
        let failed = |why| {
            let kept =
                format!("{why} (what has come is kept: the next download goes on from there)");
            self.failed(kept)
        };
        let mut furthest = 0;
        self.client.retry(&self.thing, observer, failed, |observer| {
            let tried = self.attempt(&mut file, part, facts, observer);
            let length = file.metadata().map_or(0, |data| data.len());
            let further = length > furthest;
            furthest = furthest.max(length);
            tried.map_err(|trouble| match trouble {
                Trouble::Passing { why, after, .. } => {
                    Trouble::Passing { why, after, progress: further }
                }
                other => other,
            })
        })?;
        file.sync_all().map_err(|error| cannot_write(part, error))
    }

    fn attempt(
        &self,
        file: &mut File,
        part: &Path,
        facts: &Facts,
        observer: &mut dyn Observer,
    ) -> Tried<()> {
        let disk = |error: io::Error| Trouble::Refused(cannot_write(part, error));
        let mut length = file.metadata().map_err(disk)?.len();
        if facts.size == Some(length) {
            return Ok(());
        }
        // Without a size nobody can say whether the part is not already more than the whole.
        if facts.size.is_none_or(|size| length > size) {
            file.set_len(0).map_err(disk)?;
            length = 0;
        }
        let ask = if length > 0 { Ask::GetFrom(length) } else { Ask::Get };
        let answer = self.client.send(ask, &self.url, &self.thing)?;
        let begin = begin(&answer);
        if begin == Some(0) && length > 0 {
            file.set_len(0).map_err(disk)?;
            length = 0;
        }
        if begin != Some(length) {
            return Err(self.failed("another range than the one asked for".to_string()).into());
        }
        let mut body = answer.response.into_body().into_reader();
        let mut piece = vec![0; 1 << 17];
        loop {
            observer.received(self.name, length, facts.size);
            let count = match body.read(&mut piece) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(trouble(error.into())),
            };
            match facts.size {
                None if count == 0 => return Ok(()),
                Some(size) if count == 0 && length == size => return Ok(()),
                Some(size) if count == 0 => {
                    let why = format!("the answer ended after {length} of {size} bytes");
                    return Err(Trouble::Passing { why, after: None, progress: false });
                }
                Some(size) if length + count as u64 > size => {
                    file.set_len(0).map_err(disk)?;
                    return Err(self.failed(format!("more than its {size} bytes")).into());
                }
                _ => {}
            }
            file.write_all(&piece[..count]).map_err(disk)?;
            length += count as u64;
        }
    }

    /// Compares the bytes with their checksum; wrong ones are deleted.
    fn check(&self, part: &Path, facts: &Facts) -> Result<()> {
        let found = checksum(part, &facts.etag).map_err(|error| cannot_write(part, error))?;
        if found == facts.etag {
            return Ok(());
        }
        fs::remove_file(part).map_err(|error| cannot_write(part, error))?;
        let expected = format!("bytes with the checksum {}", facts.etag);
        Err(Error::bad_data(&self.thing, expected, format!("{found} (deleted; download it again)")))
    }
}

/// The first byte that the answer has; `None` where it is not what it says.
fn begin(answer: &Answer) -> Option<u64> {
    match answer.response.status().as_u16() {
        200 => Some(0),
        206 => {
            let range = header(answer.response.headers(), "Content-Range")?;
            range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
        }
        _ => None,
    }
}

/// The checksum of a file, of the kind that `like` is: SHA-256 (64 digits), or the SHA-1 that git gives
/// a blob (40 digits), which counts its length in.
fn checksum(path: &Path, like: &str) -> io::Result<String> {
    let mut file = File::open(path)?;
    let digits = match like.len() {
        64 => digest(&mut file, Sha256::new())?,
        _ => {
            let header = format!("blob {}\0", file.metadata()?.len());
            digest(&mut file, Sha1::new_with_prefix(header))?
        }
    };
    Ok(digits.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn digest<D: Digest>(file: &mut File, mut state: D) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(state.finalize().to_vec()),
            count => state.update(&piece[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_git_and_sha256sum() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let of = |text: &str, length| {
            fs::write(file.path(), text).unwrap();
            checksum(file.path(), &"0".repeat(length)).unwrap()
        };
        // `printf 'verso\n' | git hash-object --stdin`, the same of nothing, and `sha256sum`.
        assert_eq!(of("verso\n", 40), "1611cdc785c3f98d996bfda7e1240043a309902c");
        assert_eq!(of("", 40), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(
            of("verso\n", 64),
            "0eb46b4033ca15d695a934266975a374a8bbc6725543f3f2873ec03353361017"
        );
    }
}

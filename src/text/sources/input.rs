//! A file's bytes, unpacked, and the certainty that it stayed the same from the first read to the last.

use crate::error::{Error, Result};
use flate2::bufread::MultiGzDecoder;
use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Bytes read from the disk at once.
pub(super) const BUFFER: usize = 1 << 16;

/// A regular file as it was when it was first looked at, or a text in the binary.
pub(super) struct Input {
    /// The path, for messages.
    pub name: Arc<str>,
    /// The size as it lies there, packed.
    pub bytes: u64,
    pub packing: Packing,
    place: Place,
}

enum Place {
    File { path: PathBuf, modified: Option<SystemTime> },
    Memory(&'static [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    /// By the end of a file's name.
    pub fn of_extension(extension: &str) -> Self {
        match extension {
            "gz" => Packing::Gzip,
            "zst" => Packing::Zstd,
            _ => Packing::None,
        }
    }

    /// By a file's first bytes, which no text has.
    fn of_magic(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Packing::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
            _ => Packing::None,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Packing::None => "a file that can be read",
            Packing::Gzip => "a whole gzip file",
            Packing::Zstd => "a whole zstd file",
        }
    }
}

const EXPECTED: &str = "a readable file of text";

impl Input {
    /// Looks at `path`. Bad data: no such file, no regular file, a name that promises a packed file
    /// whose bytes are none.
    pub fn find(path: &Path) -> Result<Self> {
        let failed = |error| Error::io(path, EXPECTED, error);
        let name: Arc<str> = path.display().to_string().into();
        // Before it is opened, for to open a pipe is to wait for its writer.
        let about = std::fs::metadata(path).map_err(failed)?;
        if !about.is_file() {
            return Err(Error::bad_data(&*name, EXPECTED, "no regular file"));
        }
        let mut head = Vec::new();
        File::open(path).map_err(failed)?.take(4).read_to_end(&mut head).map_err(failed)?;
        let packing = Packing::of_magic(&head);
        let extension = path.extension().map_or_else(Default::default, |end| end.to_string_lossy());
        let promised = Packing::of_extension(&extension.to_lowercase());
        if promised != Packing::None && promised != packing {
            let found = match head.is_empty() {
                true => "an empty file",
                false => "other bytes",
            };
            return Err(Error::bad_data(&*name, promised.expected(), found));
        }
        let place = Place::File { path: path.to_path_buf(), modified: about.modified().ok() };
        Ok(Input { name, bytes: about.len(), packing, place })
    }

    /// By another name than its path.
    pub fn called(self, name: String) -> Self {
        Input { name: name.into(), ..self }
    }

    /// A text that the binary holds.
    pub fn memory(name: &str, text: &'static str) -> Self {
        let (bytes, place) = (text.len() as u64, Place::Memory(text.as_bytes()));
        Input { name: name.into(), bytes, packing: Packing::None, place }
    }

    /// Its bytes from the first, unpacked.
    pub fn open(&self) -> Result<Unpacked> {
        self.check()?;
        let reader: Box<dyn Read + Send> = match &self.place {
            Place::Memory(bytes) => Box::new(*bytes),
            Place::File { path, .. } => {
                let failed = |error| Error::io(path, EXPECTED, error);
                let file = File::open(path).map_err(failed)?;
                let file = BufReader::with_capacity(BUFFER, file);
                match self.packing {
                    Packing::None => Box::new(file),
                    Packing::Gzip => Box::new(MultiGzDecoder::new(file)),
                    Packing::Zstd => {
                        Box::new(zstd::stream::read::Decoder::with_buffer(file).map_err(failed)?)
                    }
                }
            }
        };
        Ok(Unpacked { reader, name: self.name.clone(), packing: self.packing })
    }

    /// A file of its bytes, unpacked, for a reader that goes to and fro in it: the file itself, or a
    /// temporary one that nobody else sees and that vanishes when it is closed.
    #[cfg(feature = "parquet")]
    pub fn file(&self) -> Result<File> {
        use std::io::Write;
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);

        if let (Packing::None, Place::File { path, .. }) = (self.packing, &self.place) {
            self.check()?;
            return File::open(path).map_err(|error| Error::io(path, EXPECTED, error));
        }
        let unique =
            format!("copla-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        let failed = |error| Error::io(&path, "a temporary file", error);
        let mut options = File::options();
        let mut file =
            options.read(true).write(true).create_new(true).open(&path).map_err(failed)?;
        std::fs::remove_file(&path).map_err(failed)?;
        let mut unpacked = self.open()?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = unpacked.fill(&mut buffer).map_err(|error| self.failed(error))?;
            if length == 0 {
                return Ok(file);
            }
            file.write_all(&buffer[..length]).map_err(failed)?;
        }
    }

    /// What stands behind a failed [`Unpacked::fill`].
    pub fn failed(&self, error: io::Error) -> Error {
        error.downcast::<Error>().unwrap_or_else(|error| {
            Error::bad_data(&*self.name, EXPECTED, error.to_string()).because(error)
        })
    }

    /// Bad data if the file is no longer what [`find`](Self::find) saw.
    pub fn check(&self) -> Result<()> {
        let Place::File { path, modified } = &self.place else { return Ok(()) };
        let same = |now: Metadata| now.len() == self.bytes && now.modified().ok() == *modified;
        match std::fs::metadata(path).is_ok_and(same) {
            true => Ok(()),
            false => Err(Error::bad_data(
                &*self.name,
                "a file that stays as it is while it is read",
                "another size or time of change",
            )),
        }
    }
}

/// Bytes behind the packing; its errors are ours, in an `io::Error`.
pub(super) struct Unpacked {
    reader: Box<dyn Read + Send>,
    name: Arc<str>,
    packing: Packing,
}

impl Unpacked {
    /// Fills `buffer`, or as much of it as there are bytes left; the length that was filled.
    pub fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let found = match error.kind() {
                        io::ErrorKind::UnexpectedEof => "its end too early (truncated)".into(),
                        _ => error.to_string(),
                    };
                    let expected = self.packing.expected();
                    return Err(io::Error::other(
                        Error::bad_data(&*self.name, expected, found).because(error),
                    ));
                }
            }
        }
        Ok(filled)
    }
}

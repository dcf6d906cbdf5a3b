//! The one error of the house: a thing, what was expected, what was found.

use std::fmt;
use std::path::Path;

pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, as the shell sees it: each kind has its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something failed that the caller could not have known (exit 1).
    Failure,
    /// An impossible option or argument (exit 2).
    Usage,
    /// The memory asked for is not there (exit 3).
    OutOfMemory,
    /// Training produced a loss or a gradient that is not finite (exit 4).
    Diverged,
    /// A file or a text is not what it should be (exit 5).
    BadData,
    /// Stopped from outside by this signal, after saving (exit 128 + signal: 130 or 143).
    Interrupted(u8),
}

impl Kind {
    /// The process exit code, from 1 up.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failure => 1,
            Kind::Usage => 2,
            Kind::OutOfMemory => 3,
            Kind::Diverged => 4,
            Kind::BadData => 5,
            Kind::Interrupted(signal) => 128 + signal,
        }
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// One line for a person: `thing: expected this, found that`.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    thing: String,
    expected: String,
    found: String,
    source: Option<Source>,
}

impl Error {
    /// `thing` names what is wrong (a file, a weight, an option, an operation).
    pub fn new(
        kind: Kind,
        thing: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Error(Box::new(Inner {
            kind,
            thing: thing.into(),
            expected: expected.into(),
            found: found.into(),
            source: None,
        }))
    }

    /// An option or an argument that cannot be: exit 2.
    pub fn usage(
        thing: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::new(Kind::Usage, thing, expected, found)
    }

    /// A file or a text that is not what it should be: exit 5.
    pub fn bad_data(
        thing: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::new(Kind::BadData, thing, expected, found)
    }

    /// Shapes, dtypes or devices that do not fit an operation, which `thing` names: exit 1.
    pub fn shape(
        thing: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::new(Kind::Failure, thing, expected, found)
    }

    /// The operating system refused `path`. A missing input is bad data, everything else a failure.
    pub fn io(path: &Path, expected: impl Into<String>, error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::IsADirectory => Kind::BadData,
            _ => Kind::Failure,
        };
        let found = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file or directory".to_string(),
            _ => error.to_string(),
        };
        Self::new(kind, path.display().to_string(), expected, found).because(error)
    }

    /// Keeps the error of a library beneath this one, for `std::error::Error::source`.
    pub fn because(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { thing, expected, found, .. } = &*self.0;
        // Whatever a library or a file put into the message, a person gets one line.
        let line = format!("{thing}: expected {expected}, found {found}");
        f.write_str(&line.replace(['\n', '\r'], " "))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:?})", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

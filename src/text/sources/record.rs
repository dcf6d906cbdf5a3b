//! What a format yields: a record with its text and whose it is, or what is wrong with it.

use crate::error::{Error, Result};
use crate::text::documents::Origin;
use std::io;
use std::sync::Arc;

/// A row of a table, a value of JSON, a part of a plain text: what may become a document.
pub(super) struct Record {
    pub author: String,
    pub title: String,
    pub text: String,
    pub row: u64,
    /// Where this text was read first, if the record says so: [`Document`](crate::text::Document)s
    /// that were cut from one, and then written, are still known for its pieces.
    pub origin: Option<Origin>,
}

/// Why there is no record.
pub(super) enum Fault {
    /// This record is broken; the next one can be read all the same.
    Row(Error),
    /// The file cannot be read further.
    File(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::File(error)
    }
}

pub(super) type Records = Box<dyn Iterator<Item = std::result::Result<Record, Fault>> + Send>;

/// The records of a file, and what was found on the way to them.
pub(super) struct Opened {
    pub records: Records,
    pub remarks: Remarks,
}

/// What was recognised in a file, as a report says it; `None` where the format has no such thing.
#[derive(Default)]
pub(super) struct Remarks {
    pub encoding: Option<String>,
    pub delimiter: Option<String>,
    pub column: Option<String>,
    pub cut: Option<String>,
}

/// The names that a column of texts goes by, in the order of preference.
const TEXT: &[&str] = &["content", "text", "texto", "contenido", "poem", "poema"];
const AUTHOR: &[&str] = &["author", "autor", "autora"];
const TITLE: &[&str] = &["title", "título", "titulo"];

/// The columns asked for; where a name is not given, the usual ones are tried.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wanted {
    pub text: Option<String>,
    pub author: Option<String>,
    pub title: Option<String>,
}

/// Places of the columns among those that are there.
pub(super) struct Chosen {
    pub text: usize,
    pub author: Option<usize>,
    pub title: Option<usize>,
}

impl Wanted {
    /// Chooses among the columns `there`, without regard to case and spaces around a name. Bad data
    /// where there is none for the text, or none of a name that was given; `file` names the place.
    pub fn choose(&self, file: &str, there: &[impl AsRef<str>]) -> Result<Chosen> {
        let find =
            |name: &str| there.iter().position(|column| lower(column.as_ref()).eq(lower(name)));
        let pick = |given: &Option<String>, usual: &[&str]| match given {
            Some(name) => find(name).map(Some).ok_or_else(|| missing(file, &[name], there)),
            None => Ok(usual.iter().find_map(|name| find(name))),
        };
        let text = pick(&self.text, TEXT)?.ok_or_else(|| missing(file, TEXT, there))?;
        let (author, title) = (pick(&self.author, AUTHOR)?, pick(&self.title, TITLE)?);
        Ok(Chosen { text, author, title })
    }
}

fn missing(file: &str, names: &[&str], there: &[impl AsRef<str>]) -> Error {
    const MOST: usize = 20;
    let names = names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" or ");
    let mut columns: Vec<String> =
        there.iter().take(MOST).map(|column| format!("{:?}", short(column.as_ref()))).collect();
    if there.len() > MOST {
        columns.push(format!("and {} more", there.len() - MOST));
    }
    let found = match columns.is_empty() {
        true => "no columns".to_string(),
        false => format!("the columns {}", columns.join(", ")),
    };
    Error::bad_data(file, format!("a column {names}"), found)
}

/// The letters of a name, whatever their case and the spaces around them.
fn lower(name: &str) -> impl Iterator<Item = char> {
    name.trim().chars().flat_map(char::to_lowercase)
}

/// As much of a name as a message can bear.
fn short(name: &str) -> &str {
    let name = name.trim();
    name.char_indices().nth(40).map_or(name, |(end, _)| &name[..end])
}

/// What stands behind a failed read of a [`Utf8`](super::encoding::Utf8), at `place` in its file.
pub(super) fn unreadable(name: &Arc<str>, place: &str, most: u64, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::FileTooLarge {
        let expected = format!("at most {most} bytes to a document (max-bytes)");
        return Error::bad_data(format!("{name}, {place}"), expected, "more");
    }
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => {
            Error::bad_data(&**name, "a file that can be read", error.to_string()).because(error)
        }
    }
}

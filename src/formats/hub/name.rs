//! Names on the hub, and what of a stranger's names may become a path.

use crate::error::{Error, Result};
use std::fmt;
use std::path::{Component, Path};

/// What a repository holds; the hub keeps each kind under its own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepoKind {
    Model,
    Dataset,
}

impl RepoKind {
    /// As the API's addresses and the cache's folders say it.
    pub(super) fn plural(self) -> &'static str {
        match self {
            RepoKind::Model => "models",
            RepoKind::Dataset => "datasets",
        }
    }

    /// What stands before the id in the address of a page or a file.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            RepoKind::Model => "",
            RepoKind::Dataset => "datasets/",
        }
    }
}

/// A repository at one revision: a branch, a tag or a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repo {
    pub(super) kind: RepoKind,
    pub(super) id: String,
    pub(super) revision: String,
}

impl Repo {
    /// Reads `[org/]name[@revision]`; the revision is `main` where none is given. A name that no
    /// repository can have (`huggingface_hub.utils.validate_repo_id`) is bad data.
    pub fn parse(kind: RepoKind, text: &str) -> Result<Self> {
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        if !is_id(id) || !is_path_inside(revision) {
            let expected = "[org/]name[@revision], of ASCII letters, digits, `-`, `_` and `.`";
            return Err(Error::bad_data(format!("{text:?}"), expected, "another form"));
        }
        Ok(Repo { kind, id: id.to_string(), revision: revision.to_string() })
    }
}

/// As it is asked for.
impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision.as_str() {
            "main" => f.write_str(&self.id),
            revision => write!(f, "{}@{revision}", self.id),
        }
    }
}

/// Whether a repository can have this id, `name` or `org/name`.
pub(super) fn is_id(id: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = |name: &str| {
        (1..=96).contains(&name.len())
            && name.chars().all(|c| is_word(c) || c == '-' || c == '.')
            && name.starts_with(is_word)
            && name.ends_with(is_word)
    };
    id.split('/').count() <= 2
        && id.split('/').all(is_name)
        && !id.contains("--")
        && !id.contains("..")
        && !id.ends_with(".git")
}

/// Whether this is a whole commit: 40 hexadecimal digits.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hex(text)
}

pub(super) fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether this path, joined to a directory, stays inside it. (That it has no control characters keeps
/// it fit for a message, too.)
pub(super) fn is_path_inside(name: &str) -> bool {
    !name.is_empty()
        && !name.chars().any(char::is_control)
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// A part of an address, percent-encoded. Slashes are kept where they are in `kept`.
pub(super) fn encode(text: &str, kept: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        match c.is_ascii_alphanumeric() || "-._~".contains(c) || kept.contains(c) {
            true => encoded.push(c),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (text, id, revision) in [
            ("gpt2", "gpt2", "main"),
            ("datificate/gpt2-small-spanish", "datificate/gpt2-small-spanish", "main"),
            ("org/a.b_c@v1.0", "org/a.b_c", "v1.0"),
            ("org/set@refs/convert/parquet", "org/set", "refs/convert/parquet"),
        ] {
            let repo = Repo::parse(RepoKind::Model, text).unwrap();
            assert_eq!((repo.id.as_str(), repo.revision.as_str()), (id, revision));
            assert_eq!(repo.to_string(), text);
        }
        assert_eq!(Repo::parse(RepoKind::Model, "gpt2@main").unwrap().to_string(), "gpt2");
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        let long = "a".repeat(97);
        for text in [
            "", "/", "a/", "/a", "a/b/c", "..", "../a", "a/..", ".a", "a-", "a--b", "a..b",
            "a.git", "a b", "ñ", "a\\b", "a@", "a@../b", "a@/b", "a@b\n", &long,
        ] {
            let error = Repo::parse(RepoKind::Model, text).unwrap_err();
            assert!(error.to_string().contains("[org/]name[@revision]"), "{error}");
        }
    }

    #[test]
    fn a_path_of_a_stranger_stays_inside() {
        for inside in ["a", "data/train.csv", "con espacio", "..a", "a\\b"] {
            assert!(is_path_inside(inside), "{inside}");
        }
        for outside in ["", "..", "../a", "a/../../b", "/etc/passwd", ".", "a\u{1b}[2J"] {
            assert!(!is_path_inside(outside), "{outside}");
        }
    }

    #[test]
    fn addresses_are_encoded() {
        assert_eq!(encode("refs/pr/1", ""), "refs%2Fpr%2F1");
        assert_eq!(encode("datos/año 1.csv", "/"), "datos/a%C3%B1o%201.csv");
        assert_eq!(encode("a?b#c%", "/"), "a%3Fb%23c%25");
    }
}

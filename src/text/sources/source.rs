//! What is asked for: a place with documents, and how to read it, as one argument says it.

use super::encoding;
use super::files::Format;
use super::plain::Cut;
use super::record::Wanted;
use crate::error::{Error, Result};
use crate::formats::hub::{DataFiles, Hub, Observer, Part, Repo, RepoKind};
use encoding_rs::Encoding;
use std::path::{Path, PathBuf};

/// One source of documents with its options.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// As it was given, for reports.
    pub given: String,
    pub place: Place,
    /// By the ends of the files' names where it is `None`.
    pub format: Option<Format>,
    /// Of a plain text.
    pub cut: Cut,
    /// Which of its documents are read; all where it is `None`.
    pub take: Option<Take>,
    /// How often this source is drawn from beside the others, by default 1. Reading does not heed it.
    pub weight: f64,
    pub(super) columns: Wanted,
    /// Recognised where they are `None`.
    pub(super) encoding: Option<&'static Encoding>,
    pub(super) delimiter: Option<u8>,
    /// Bytes of UTF-8 that a document, with its row, may have.
    pub(super) max_bytes: u64,
}

/// Where documents are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The corpus inside the binary.
    Embedded,
    /// A file, a directory or a pattern.
    Path(PathBuf),
    /// A data set of the Hugging Face hub: `hf:repository[@revision][:config/split]`.
    Hub { repo: Repo, part: Option<Part> },
    /// The same, downloaded.
    Downloaded { repo: Repo, files: DataFiles },
}

/// How many of a source's documents are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Take {
    /// So many, or all if they are fewer.
    Count(u64),
    /// This share in percent, rounded to whole documents, and one at least.
    Percent(f64),
}

const KEYS: &str =
    "column, author, title, format, split, encoding, delimiter, take, weight, max-bytes";
const DEFAULT_MAX_BYTES: u64 = 64 << 20;

impl Source {
    /// All of a place, with everything recognised.
    pub fn new(given: impl Into<String>, place: Place) -> Self {
        Source {
            given: given.into(),
            place,
            format: None,
            cut: Cut::default(),
            take: None,
            weight: 1.0,
            columns: Wanted::default(),
            encoding: None,
            delimiter: None,
            max_bytes: DEFAULT_MAX_BYTES,
        }
    }

    /// The corpus inside the binary, whole.
    pub fn embedded() -> Self {
        Source::new("copla's own corpus", Place::Embedded)
    }

    /// Reads `PLACE[:key=value,key=value...]`. Something that exists under the whole name is just that
    /// file or directory; else the options begin behind the last `:` that a `key=` follows, so a path
    /// may have colons and equal signs in it. A value may not have a comma.
    ///
    /// - `column=`, `author=`, `title=`: columns of a table or of JSON's objects. By default the text is
    ///   in the first there is of `content`, `text`, `texto`, `contenido`, `poem`, `poema`; author
    ///   and title are read if there is an `author`, `autor`, `autora`, a `title`, `título`, `titulo`.
    /// - `format=`: csv, tsv, json, jsonl, parquet, text. `split=`, of plain text: [`Cut`] by its name.
    /// - `encoding=`: a label of the WHATWG's Encoding Standard.
    /// - `delimiter=`: comma, semicolon, tab, pipe, or the sign itself.
    /// - `take=N` or `take=P%`: [`Take`]. `weight=`: a number above 0.
    /// - `max-bytes=`: what a document may have at most, 64 MiB by default.
    ///
    /// Usage error: an unknown key, a key twice, a value that cannot be.
    pub fn parse(given: &str) -> Result<Self> {
        let (place, options) = match Path::new(given).exists() {
            true => (given, None),
            false => split_options(given),
        };
        let place = match place.strip_prefix("hf:").filter(|_| !Path::new(place).exists()) {
            Some(rest) => hub(given, rest)?,
            None if place.is_empty() => {
                return Err(Error::usage("data", "a path, or hf: and a data set", "nothing"));
            }
            None => Place::Path(PathBuf::from(place)),
        };
        let mut source = Source::new(given, place);
        let mut seen = Vec::new();
        for option in options.into_iter().flat_map(|options| options.split(',')) {
            let wrong = |expected: &str| Error::usage(given, expected, format!("{option:?}"));
            let (key, value) = option.split_once('=').ok_or_else(|| wrong("key=value"))?;
            let key = key.trim().replace('_', "-");
            if value.is_empty() {
                return Err(wrong("a value behind the `=`"));
            }
            source.set(&key, value)?.ok_or_else(|| wrong(&format!("one of the keys {KEYS}")))?;
            if seen.contains(&key) {
                return Err(wrong("each key once"));
            }
            seen.push(key);
        }
        Ok(source)
    }

    /// Downloads a data set of the hub, as [`Hub::dataset`] does; other places stay as they are.
    pub fn download(&mut self, hub: &Hub, observer: &mut dyn Observer) -> Result<()> {
        if let Place::Hub { repo, part } = &self.place {
            let files = hub.dataset(repo, part.as_ref(), observer)?;
            self.place = Place::Downloaded { repo: repo.clone(), files };
        }
        Ok(())
    }

    /// `None` for an unknown key.
    fn set(&mut self, key: &str, value: &str) -> Result<Option<()>> {
        let text = || Some(value.to_string());
        let number = |expected: &str| {
            let wrong = |_| Error::usage(format!("{}: {key}", self.given), expected, value);
            value.parse::<f64>().map_err(wrong)
        };
        match key {
            "column" => self.columns.text = text(),
            "author" => self.columns.author = text(),
            "title" => self.columns.title = text(),
            "format" => self.format = Some(Format::parse(value)?),
            "split" => self.cut = Cut::parse(value)?,
            "encoding" => self.encoding = Some(encoding::named(value)?),
            "delimiter" => self.delimiter = Some(delimiter(value)?),
            "take" => self.take = Some(Take::parse(value)?),
            "weight" => {
                let expected = "a number above 0";
                let weight = number(expected)?;
                if !(weight > 0.0 && weight.is_finite()) {
                    let thing = format!("{}: weight", self.given);
                    return Err(Error::usage(thing, expected, value));
                }
                self.weight = weight;
            }
            "max-bytes" => {
                let bytes = value.parse().ok().filter(|bytes| *bytes > 0);
                self.max_bytes = bytes.ok_or_else(|| {
                    let thing = format!("{}: max-bytes", self.given);
                    Error::usage(thing, "a whole number above 0", value)
                })?;
            }
            _ => return Ok(None),
        }
        Ok(Some(()))
    }
}

/// The place and the options behind it.
fn split_options(given: &str) -> (&str, Option<&str>) {
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let begins_with_key = |rest: &str| {
        rest.split_once('=').is_some_and(|(key, _)| !key.is_empty() && key.chars().all(is_key))
    };
    let colons = given.rmatch_indices(':').map(|(at, _)| (&given[..at], &given[at + 1..]));
    match colons.into_iter().find(|(_, rest)| begins_with_key(rest)) {
        Some((place, options)) => (place, Some(options)),
        None => (given, None),
    }
}

fn hub(given: &str, rest: &str) -> Result<Place> {
    let wrong = || {
        let expected = "hf:organisation/name[@revision][:config/split]";
        Error::usage("data", expected, format!("{given:?}"))
    };
    let (name, part) = match rest.split_once(':') {
        Some((name, part)) => (name, Some(part.rsplit_once('/').ok_or_else(wrong)?)),
        None => (rest, None),
    };
    if part.is_some_and(|(config, split)| config.is_empty() || split.is_empty()) {
        return Err(wrong());
    }
    let repo = Repo::parse(RepoKind::Dataset, name).map_err(|_| wrong())?;
    let part = part.map(|(config, split)| Part { config: config.into(), split: split.into() });
    Ok(Place::Hub { repo, part })
}

fn delimiter(value: &str) -> Result<u8> {
    match value.as_bytes() {
        b"comma" => Ok(b','),
        b"semicolon" => Ok(b';'),
        b"tab" | b"\\t" => Ok(b'\t'),
        b"pipe" => Ok(b'|'),
        &[sign] if sign.is_ascii_punctuation() && sign != b'"' || sign == b'\t' => Ok(sign),
        _ => Err(Error::usage("delimiter", "comma, semicolon, tab, pipe or one sign", value)),
    }
}

impl Take {
    fn parse(value: &str) -> Result<Self> {
        let take = match value.strip_suffix('%') {
            Some(percent) => {
                percent.parse().ok().filter(|p| *p > 0.0 && *p <= 100.0).map(Take::Percent)
            }
            None => value.parse().ok().filter(|count| *count > 0).map(Take::Count),
        };
        let expected = "a count of documents (1000) or their share (1%, 0.5%)";
        take.ok_or_else(|| Error::usage("take", expected, value))
    }

    /// How many of `count` documents that is.
    pub fn of(self, count: u64) -> u64 {
        match self {
            Take::Count(taken) => taken.min(count),
            Take::Percent(percent) => {
                let rounded = (count as f64 * percent / 100.0).round() as u64;
                rounded.max(1).min(count)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn refused(given: &str) -> String {
        let error = Source::parse(given).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage, "{given}");
        error.to_string()
    }

    #[test]
    fn options_stand_behind_the_place() {
        let source = Source::parse("no/wiki.parquet:column=text,take=1%,weight=0.3").unwrap();
        assert_eq!(source.place, Place::Path("no/wiki.parquet".into()));
        assert_eq!(source.columns.text.as_deref(), Some("text"));
        assert_eq!((source.take, source.weight), (Some(Take::Percent(1.0)), 0.3));
        let source = Source::parse(
            "no/a.csv:format=TSV,encoding=latin1,delimiter=:,split=line,max_bytes=9,take=7,title=T",
        );
        let source = source.unwrap();
        assert_eq!(source.format, Some(Format::Tsv));
        assert_eq!(source.encoding.unwrap().name(), "windows-1252");
        assert_eq!((source.delimiter, source.cut, source.max_bytes), (Some(b':'), Cut::Line, 9));
        assert_eq!(
            (source.take, source.columns.title.as_deref()),
            (Some(Take::Count(7)), Some("T"))
        );
    }

    #[test]
    fn colons_and_equal_signs_of_a_path_are_its_own() {
        let place = |given: &str| match Source::parse(given).unwrap().place {
            Place::Path(path) => path.display().to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(place(r"C:\versos\a.csv"), r"C:\versos\a.csv");
        assert_eq!(place(r"C:\versos\a.csv:column=text"), r"C:\versos\a.csv");
        assert_eq!(place("a:b=c/d.csv:take=1"), "a:b=c/d.csv");
        assert_eq!(place("12:30.txt"), "12:30.txt");
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("a.csv:take=no");
        std::fs::write(&there, "content\nx\n").unwrap();
        let there = there.display().to_string();
        assert_eq!(place(&there), there);
        assert_eq!(place(&format!("{there}:take=2")), there);
    }

    #[test]
    fn a_data_set_of_the_hub_has_a_repository() {
        let hub = |given: &str| Source::parse(given).unwrap().place;
        let place = |repo: &str, part: Option<(&str, &str)>| Place::Hub {
            repo: Repo::parse(RepoKind::Dataset, repo).unwrap(),
            part: part.map(|(config, split)| Part { config: config.into(), split: split.into() }),
        };
        assert_eq!(hub("hf:a/b"), place("a/b", None));
        assert_eq!(hub("hf:squad:column=context"), place("squad", None));
        let given = "hf:org/my-set.v1@refs/pr/1:es/train:take=5";
        assert_eq!(hub(given), place("org/my-set.v1@refs/pr/1", Some(("es", "train"))));
        assert_eq!(hub("hf:a/b:2023/es/train"), place("a/b", Some(("2023/es", "train"))));
        for given in
            ["hf:", "hf:a/b/c", "hf:a/b@", "hf:a/b:train", "hf:a/b:/x", "hf:../b", "hf:a b"]
        {
            assert!(refused(given).contains("hf:organisation/name"), "{given}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(refused("a.csv:colum=text").contains("one of the keys column, author"));
        assert!(refused("a.csv:column=").contains("a value"));
        assert!(refused("a.csv:column=a,b").contains("key=value"));
        assert!(refused("a.csv:take=1,take=2").contains("once"));
        for take in ["0", "-1", "1.5", "0%", "101%", "x%", "nan%", "%"] {
            assert!(refused(&format!("a.csv:take={take}")).contains("take"), "{take}");
        }
        for weight in ["0", "-1", "nan", "inf", "x"] {
            assert!(refused(&format!("a.csv:weight={weight}")).contains("above 0"), "{weight}");
        }
        assert!(refused("a.csv:format=xls").contains("csv, tsv, json"));
        assert!(refused("a.csv:split=page").contains("widest, blank"));
        assert!(refused("a.csv:encoding=cp850").contains("windows-1252"));
        assert!(refused("a.csv:delimiter=ab").contains("semicolon"));
        assert!(refused("a.csv:max-bytes=0").contains("above 0"));
        assert!(refused("").contains("a path"));
    }

    #[test]
    fn a_share_is_of_whole_documents() {
        let shares = [(1.0, 1000, 10), (1.0, 49, 1), (50.0, 3, 2), (100.0, 7, 7), (0.1, 5, 1)];
        for (percent, count, expected) in shares {
            assert_eq!(Take::Percent(percent).of(count), expected, "{percent} % of {count}");
        }
        assert_eq!(
            (Take::Count(5).of(3), Take::Count(5).of(9), Take::Percent(1.0).of(0)),
            (3, 5, 0)
        );
    }
}

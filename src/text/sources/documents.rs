//! The documents of all sources, one after another: tidied, sampled, and counted.

use super::encoding::{self, Recognised, Utf8};
use super::files::{self, Format};
use super::input::Input;
use super::json::{self, Layout};
use super::plain::{self, Parts};
use super::record::{Fault, Opened, Record, Records, Remarks};
use super::report::{Report, SourceReport};
use super::source::{Place, Source};
use super::table::Table;
use super::tidy::tidy;
use crate::error::{Error, Result};
use crate::random::Rng;
use crate::text::documents::{Document, Origin};

/// How all sources are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Of the samples that `take` asks for.
    pub seed: u64,
    /// Whether a broken row is counted and passed over, and not an error.
    pub skip_bad_rows: bool,
}

/// The documents of `sources`, in their order, then by file, then by row. Nothing is read before it is
/// asked for. An error is the last item.
///
/// A source with `take` is read twice: first its documents are counted, then those are yielded whose
/// random number, a function of the seed and of their place among the source's documents, is among the
/// lowest. So the share is exact, and a smaller sample is a part of each larger one.
///
/// Bad data, with the place: what cannot be read as the format says, a missing column, a broken row
/// (unless skipped), a truncated file, one that changes meanwhile, a source without any document.
pub fn read(sources: &[Source], options: Options) -> Documents<'_> {
    Documents { sources, options, report: Report::default(), current: None, failed: false }
}

/// An iterator of documents; made by [`read`].
pub struct Documents<'a> {
    sources: &'a [Source],
    options: Options,
    report: Report,
    current: Option<Reader<'a>>,
    failed: bool,
}

impl Documents<'_> {
    /// What was found in the sources that have been read to their end.
    pub fn report(&self) -> &Report {
        &self.report
    }

    fn advance(&mut self) -> Result<Option<Document>> {
        loop {
            let Some(reader) = &mut self.current else {
                let index = self.report.sources.len();
                let Some(source) = self.sources.get(index) else { return Ok(None) };
                self.current = Some(Reader::new(source, index, self.options)?);
                continue;
            };
            if let Some(document) = reader.advance()? {
                return Ok(Some(document));
            }
            self.report.sources.push(std::mem::take(&mut reader.report));
            self.current = None;
        }
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

const CORPUS: &str = include_str!("../corpus/coplas.csv");

/// A file, and what one look through it has shown.
struct Listed {
    input: Input,
    format: Format,
    encoding: Option<Recognised>,
    /// Blank lines at which a plain text is cut.
    blanks: Option<usize>,
}

/// One source while it is read.
struct Reader<'a> {
    source: &'a Source,
    index: usize,
    options: Options,
    files: Vec<Listed>,
    /// The next file.
    next: usize,
    records: Option<Records>,
    /// The highest random number that is taken.
    highest: u64,
    report: SourceReport,
}

impl<'a> Reader<'a> {
    fn new(source: &'a Source, index: usize, options: Options) -> Result<Self> {
        let (inputs, ignored) = match &source.place {
            Place::Path(path) => files::find(path, source.format)?,
            Place::Embedded => (vec![(Input::memory(&source.given, CORPUS), Format::Csv)], 0),
            Place::Downloaded { repo, files } => {
                (files::downloaded(repo, files, source.format)?, 0)
            }
            Place::Hub { .. } => {
                let found = "a data set that is not downloaded";
                return Err(Error::usage(&*source.given, "Source::download before", found));
            }
        };
        let encoding = source.encoding.map(|encoding| Recognised { encoding, has_bom: false });
        let blanks = source.cut.blanks();
        let listed = |(input, format)| Listed { input, format, encoding, blanks };
        let files: Vec<Listed> = inputs.into_iter().map(listed).collect();
        let report = SourceReport {
            source: source.given.clone(),
            weight: source.weight,
            files: files.len() as u64,
            ignored_files: ignored,
            bytes: files.iter().map(|file| file.input.bytes).sum(),
            ..SourceReport::default()
        };
        let (next, records, highest) = (0, None, u64::MAX);
        let mut reader = Reader {
            source,
            index,
            options,
            files,
            next,
            records,
            highest,
            report: report.clone(),
        };
        if let Some(take) = source.take {
            while reader.advance()?.is_some() {}
            let count = reader.report.documents_found;
            reader.highest = reader.lowest(count, take.of(count));
            (reader.next, reader.report) = (0, report);
        }
        Ok(reader)
    }

    /// The random number of the document at `index` in this source; no two have the same.
    fn number(&self, index: u64) -> u64 {
        Rng::new(self.options.seed).key(index)
    }

    /// The highest of the `taken` lowest random numbers of `count` documents.
    fn lowest(&self, count: u64, taken: u64) -> u64 {
        let mut numbers: Vec<u64> = (0..count).map(|index| self.number(index)).collect();
        *numbers.select_nth_unstable(taken.saturating_sub(1) as usize).1
    }

    fn advance(&mut self) -> Result<Option<Document>> {
        loop {
            let Some(records) = &mut self.records else {
                if self.next == self.files.len() {
                    return self.end();
                }
                self.open()?;
                continue;
            };
            let Some(record) = records.next() else {
                self.files[self.next].input.check()?;
                self.records = None;
                self.next += 1;
                continue;
            };
            self.report.rows += 1;
            match record.and_then(|record| self.document(record)) {
                Ok(Some(document)) => return Ok(Some(document)),
                Ok(None) => {}
                Err(Fault::Row(error)) if self.options.skip_bad_rows => {
                    self.report.skipped_rows += 1;
                    self.report.first_skipped.get_or_insert_with(|| error.to_string());
                }
                Err(Fault::Row(error) | Fault::File(error)) => return Err(error),
            }
        }
    }

    /// Behind the last file. Bad data if there was no document.
    fn end(&self) -> Result<Option<Document>> {
        if self.report.documents_found > 0 {
            return Ok(None);
        }
        let found = match (self.report.rows, self.report.skipped_rows) {
            (0, _) if self.files.len() == 1 => "an empty or blank file".to_string(),
            (0, _) => format!("{} empty or blank files", self.files.len()),
            (rows, 0) => format!("{rows} blank rows"),
            (rows, skipped) => format!("{} blank and {skipped} broken rows", rows - skipped),
        };
        Err(Error::bad_data(&*self.source.given, "some text", found))
    }

    /// The document of a record; `None` if it is blank or not taken.
    fn document(&mut self, record: Record) -> std::result::Result<Option<Document>, Fault> {
        let name = &self.files[self.next].input.name;
        if record.text.contains('\0') {
            let place = format!("{name}, row {}", record.row);
            return Err(Fault::Row(Error::bad_data(place, "a text", "a NUL in it")));
        }
        let (text, changes) = tidy(&record.text);
        let report = &mut self.report;
        report.characters_read += changes.read;
        report.crlf += changes.crlf;
        report.lone_cr += changes.lone_cr;
        report.trimmed += changes.trimmed;
        let kept = changes.read - changes.crlf - changes.trimmed;
        if kept == 0 {
            report.blank += 1;
            return Ok(None);
        }
        let index = report.documents_found;
        report.documents_found += 1;
        if self.number(index) > self.highest {
            self.report.characters_not_taken += kept;
            return Ok(None);
        }
        self.report.documents += 1;
        self.report.characters += kept;
        let place = Origin { source: self.index, file: name.clone(), row: record.row };
        let origin = record.origin.map_or(place, |first| Origin { source: self.index, ..first });
        Ok(Some(Document { author: record.author, title: record.title, text, origin }))
    }

    /// Opens the next file.
    fn open(&mut self) -> Result<()> {
        let file = &mut self.files[self.next];
        let opened = file.open(self.source)?;
        self.report.remark(file.format.name(), opened.remarks);
        self.records = Some(opened.records);
        Ok(())
    }
}

impl Listed {
    /// The file from its beginning, after a look through it if there was none yet.
    fn open(&mut self, source: &Source) -> Result<Opened> {
        let Listed { input, format, encoding, blanks } = self;
        if *format == Format::Parquet {
            return parquet(input, source);
        }
        let recognised = match *encoding {
            Some(known) => known,
            None => *encoding.insert(encoding::recognise(input)?),
        };
        let (name, most) = (&input.name, source.max_bytes);
        let text = || Ok::<_, Error>(Utf8::new(input.open()?, name.clone(), recognised.encoding));
        let (wanted, delimiter) = (&source.columns, source.delimiter);
        let mut opened = match format {
            Format::Csv => Table { name, wanted, delimiter, usual: b',', most }.open(text()?)?,
            Format::Tsv => Table { name, wanted, delimiter, usual: b'\t', most }.open(text()?)?,
            Format::Json => json::open(text()?, name, Layout::Values, wanted, most)?,
            Format::Jsonl => json::open(text()?, name, Layout::Lines, wanted, most)?,
            Format::Text | Format::Parquet => {
                let blanks = match *blanks {
                    Some(known) => known,
                    None => *blanks.insert(plain::widest_break(text()?, name, most)?),
                };
                let cut = Some(plain::describe(blanks).to_string());
                let records = Box::new(Parts::new(text()?, name.clone(), most, blanks));
                Opened { records, remarks: Remarks { cut, ..Remarks::default() } }
            }
        };
        opened.remarks.encoding = Some(recognised.describe());
        Ok(opened)
    }
}

#[cfg(feature = "parquet")]
fn parquet(input: &Input, source: &Source) -> Result<Opened> {
    super::columnar::open(input, &source.columns, source.max_bytes)
}

#[cfg(not(feature = "parquet"))]
fn parquet(input: &Input, _: &Source) -> Result<Opened> {
    Err(Error::usage(&*input.name, "a copla built with the feature `parquet`", "one without it"))
}

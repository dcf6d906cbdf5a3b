//! What a model learns from and is validated on: read, cleaned, split, and told line by line.

use super::cleaning::Cleaning;
use super::data::Reading;
use copla::text::sources::{Report, SourceReport};
use copla::text::{Document, Split, SplitBy, SplitOptions, clean, hold_out};
use copla::{Error, Result};

#[derive(clap::Args)]
pub struct Texts {
    /// Texts to learn from, PATH[:column=C,take=1%,...]: CSV, JSON, Parquet or plain text, a directory,
    /// a pattern, or hf:org/name[@revision][:config/split]; may be given more than once
    /// [default: copla's own corpus]
    #[arg(long)]
    data: Vec<String>,
    #[command(flatten)]
    reading: Reading,
    /// Learn from the documents as they are read
    #[arg(long, conflicts_with = "Cleaning")]
    no_clean: bool,
    #[command(flatten)]
    cleaning: Cleaning,
    /// Share of the text, by documents, that is only validated on
    #[arg(long, default_value_t = 0.1)]
    validation_share: f64,
    /// What the split never parts, beside near-duplicates: a document, or all documents of an author
    #[arg(long, value_name = "document|author", default_value = "document")]
    split_by: SplitBy,
    /// Texts to validate on instead of a share, named as --data is, read and cleaned alike; may be given
    /// more than once. What repeats them, or nearly so, is not learnt from
    #[arg(long, value_name = "DATA", conflicts_with_all = ["validation_share", "split_by"])]
    validation_file: Vec<String>,
}

/// Both sides, and the sources that a validation document's origin counts.
pub struct Prepared {
    pub split: Split,
    /// What was found, removed and shared between the sides, in lines.
    pub told: String,
    pub validation_sources: Vec<SourceReport>,
}

impl Texts {
    /// Every number that has a range, before any work is done.
    pub fn check(&self) -> Result<()> {
        let share = self.validation_share;
        if share > 0.0 && share < 1.0 {
            return Ok(());
        }
        Err(Error::usage("--validation-share", "a number between 0 and 1", share.to_string()))
    }

    /// Reads, cleans and splits.
    pub fn prepare(&self, seed: u64) -> Result<Prepared> {
        let mut told = String::new();
        let (documents, report) = self.read(&self.data, seed, &mut told)?;
        if let Some(source) = report.sources.iter().find(|source| source.weight != 1.0) {
            let expected = "no weight: training draws every document once an epoch";
            return Err(Error::usage(&*source.source, expected, source.weight.to_string()));
        }
        let (split, report) = if self.validation_file.is_empty() {
            let &Texts { validation_share, split_by: by, .. } = self;
            (SplitOptions { validation_share, seed, by }.split(documents)?, report)
        } else {
            told += "to validate on: ";
            let (validation, report) = self.read(&self.validation_file, seed, &mut told)?;
            let (split, repeated) = hold_out(documents, validation)?;
            if repeated > 0 {
                told += &format!(
                    "{repeated} documents are not learnt from: they repeat the validation's\n"
                );
            }
            (split, report)
        };
        told += &format!("{}\n", split.leaks());
        Ok(Prepared { split, told, validation_sources: report.sources })
    }

    fn read(
        &self,
        data: &[String],
        seed: u64,
        told: &mut String,
    ) -> Result<(Vec<Document>, Report)> {
        let (documents, report) = self.reading.documents(data, seed)?;
        *told += &report.sources.iter().map(|source| format!("{source}\n")).collect::<String>();
        if self.no_clean {
            return Ok((documents, report));
        }
        let cleaned = clean(documents, &self.cleaning.steps())?;
        *told += &format!("{}\n", cleaned.report);
        Ok((cleaned.documents, report))
    }
}

//! How `--data` is read: the options that all subcommands with documents share.

use copla::Result;
use copla::formats::hub::Hub;
use copla::text::sources::{Format, Options, Place, Report, read};
use copla::text::{Document, Source};

#[derive(clap::Args)]
pub struct Reading {
    /// Format of the data: csv, tsv, json, jsonl, parquet, text [default: by the end of a file's name]
    #[arg(long)]
    format: Option<String>,
    /// Count and pass over broken rows
    #[arg(long)]
    skip_bad_rows: bool,
}

impl Reading {
    /// All documents of `data`, each as [`Source::parse`] reads it.
    pub fn documents(&self, data: &[String], seed: u64) -> Result<(Vec<Document>, Report)> {
        let format = self.format.as_deref().map(Format::parse).transpose()?;
        let mut sources =
            data.iter().map(|given| Source::parse(given)).collect::<Result<Vec<_>>>()?;
        for source in &mut sources {
            source.format = source.format.or(format);
        }
        if sources.is_empty() {
            sources.push(Source::embedded());
        }
        if sources.iter().any(|source| matches!(source.place, Place::Hub { .. })) {
            let hub = Hub::from_env()?;
            super::download::told(|teller| {
                sources.iter_mut().try_for_each(|source| source.download(&hub, teller))
            })?;
        }
        let mut documents = read(&sources, Options { seed, skip_bad_rows: self.skip_bad_rows });
        let all = documents.by_ref().collect::<Result<Vec<_>>>()?;
        Ok((all, documents.report().clone()))
    }
}

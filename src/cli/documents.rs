//! `copla data`: what a set of documents is made of, and the same set made fit to learn from.

use clap::Subcommand;
use copla::Result;
use copla::formats::atomic;
use copla::text::{Document, Statistics, Tokenizer, clean};
use serde_json::json;
use std::path::PathBuf;

use super::cleaning::Cleaning;
use super::data::Reading;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what documents are made of: lengths, duplicates, languages, alphabet, tokens
    Report(Report),
    /// Clean documents and write them as JSON lines
    Prepare(Prepare),
}

#[derive(clap::Args)]
struct Report {
    /// Files, directories, patterns or `hf:` data sets, with options behind a colon [default: copla's own corpus]
    data: Vec<String>,
    /// Seed of the samples that `take=` asks for
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    reading: Reading,
    /// Directory of a tokenizer, whose tokens are counted too
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// Tokens of a row: how many documents have more
    #[arg(long, value_name = "TOKENS", requires = "tokenizer")]
    context: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Prepare {
    /// Files, directories, patterns or `hf:` data sets, with options behind a colon [default: copla's own corpus]
    data: Vec<String>,
    /// Seed of the samples that `take=` asks for
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    reading: Reading,
    /// File of JSON lines to write: author, title, text
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    cleaning: Cleaning,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Report(args) => report(args),
        Command::Prepare(args) => prepare(args),
    }
}

fn report(args: Report) -> Result<()> {
    let tokenizer = args.tokenizer.map(Tokenizer::load).transpose()?;
    let (documents, read) = args.reading.documents(&args.data, args.seed)?;
    let found = Statistics::of(&documents, tokenizer.as_ref(), args.context)?;
    if args.json {
        let object = json!({ "sources": read.sources, "statistics": found });
        return super::print(format_args!("{object}\n"));
    }
    for source in &read.sources {
        super::print(format_args!("{source}\n"))?;
    }
    for table in found.tables() {
        super::print(format_args!("{table}\n"))?;
    }
    super::print(format_args!("{}\n", found.preview.join("\n")))
}

fn prepare(args: Prepare) -> Result<()> {
    atomic::check_file(&args.output)?;
    let (documents, read) = args.reading.documents(&args.data, args.seed)?;
    let cleaned = clean(documents, &args.cleaning.steps())?;
    atomic::write_file(&args.output, |file| {
        for Document { author, title, text, .. } in &cleaned.documents {
            let line = json!({ "author": author, "title": title, "text": text });
            file.put(format!("{line}\n").as_bytes())?;
        }
        Ok(())
    })?;
    if args.json {
        let object = json!({ "sources": read.sources, "cleaning": cleaned.report });
        return super::print(format_args!("{object}\n"));
    }
    for source in &read.sources {
        super::print(format_args!("{source}\n"))?;
    }
    super::print(cleaned.report.table())
}

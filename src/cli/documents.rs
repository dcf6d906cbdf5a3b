//! `copla data`: what a set of documents is made of, and the same set made fit to learn from.

use clap::Subcommand;
use copla::Result;
use copla::formats::atomic;
use copla::models::from_config;
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
    /// Describe the documents as cleaning leaves them; any option of cleaning does so too
    #[arg(long)]
    clean: bool,
    #[command(flatten)]
    cleaning: Option<Cleaning>,
    /// A model or the directory of a tokenizer, whose tokens are counted too
    #[arg(long, value_name = "MODEL")]
    tokenizer: Option<String>,
    /// Tokens of a row: how many documents have more [default: the context of the tokenizer's model]
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
    /// File of JSON lines to write: author, title, text, and the origin by which pieces of a document stay
    /// together
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
    let (mut tokenizer, mut context) = (None, args.context);
    if let Some(model) = args.tokenizer {
        let dir = super::model::tokenizer_directory(&model)?;
        tokenizer = Some(Tokenizer::load(&dir)?);
        if context.is_none() && dir.join("config.json").exists() {
            context = from_config(&dir)?.context();
        }
    }
    let (mut documents, read) = args.reading.documents(&args.data, args.seed)?;
    let steps = args.cleaning.map(|cleaning| cleaning.steps());
    let mut cleaning = None;
    if let Some(steps) = steps.or(args.clean.then(clean::Cleaning::default)) {
        let cleaned = clean(documents, &steps)?;
        documents = cleaned.documents;
        cleaning = Some(cleaned.report);
    }
    let found = Statistics::of(&documents, tokenizer.as_ref(), context)?;
    if args.json {
        let object = json!({ "sources": read.sources, "cleaning": cleaning, "statistics": found });
        return super::print(format_args!("{object}\n"));
    }
    for source in &read.sources {
        super::print(format_args!("{source}\n"))?;
    }
    if let Some(cleaning) = cleaning {
        super::print(format_args!("{cleaning}\n"))?;
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
        for Document { author, title, text, origin } in &cleaned.documents {
            // By its origin a later split keeps the pieces of a document together.
            let origin = origin.to_string();
            let line = json!({ "author": author, "title": title, "text": text, "origin": origin });
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
    super::print(cleaned.report.table())?;
    let remarks = cleaned.report.remarks().map(|remark| format!("{remark}\n"));
    super::print(remarks.collect::<String>())
}

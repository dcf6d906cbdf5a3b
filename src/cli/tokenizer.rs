//! `copla tokenizer`: learn one from texts, and see how well several fit a text.

use super::data::Reading;
use clap::Subcommand;
use copla::formats::atomic;
use copla::report::table::Table;
use copla::text::{BpeOptions, Document, Fertility, Tokenizer};
use copla::{Error, Kind, Result};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Learn a tokenizer from texts
    Train(Train),
    /// Compare tokenizers on a text
    Stats(Stats),
}

#[derive(clap::Args)]
struct Train {
    #[command(flatten)]
    texts: Texts,
    /// Directory for the tokenizer; one of a tokenizer alone is replaced
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// A token for each character that the texts have, instead of byte-level BPE
    #[arg(long, conflicts_with_all = ["vocab_size", "min_frequency", "special_token"])]
    characters: bool,
    /// Tokens to learn at most, the 256 bytes and the special tokens among them
    #[arg(long, value_name = "N", default_value_t = 16_000)]
    vocab_size: usize,
    /// How often two tokens must stand side by side to become one
    #[arg(long, value_name = "N", default_value_t = 2)]
    min_frequency: u64,
    /// A token that no text becomes, such as <pad>, besides <|endoftext|>; may be given more than once
    #[arg(long, value_name = "TOKEN")]
    special_token: Vec<String>,
}

#[derive(clap::Args)]
struct Stats {
    #[arg(
        required = true,
        value_name = "MODEL",
        help = "Directories of tokenizers or of models, or [org/]name[@revision] on the Hugging Face hub, \
            of which only the tokenizer is downloaded"
    )]
    tokenizers: Vec<String>,
    #[command(flatten)]
    texts: Texts,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Texts {
    /// Texts, PATH[:column=C,take=1%,...]: CSV, JSON, Parquet or plain text, a directory or a pattern; may
    /// be given more than once [default: copla's own corpus]
    #[arg(long)]
    data: Vec<String>,
    #[command(flatten)]
    reading: Reading,
    /// Seed of the samples that `take=` asks for
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Texts {
    /// All texts; a line on stderr for each source.
    fn read(&self) -> Result<Vec<String>> {
        let (documents, read) = self.reading.documents(&self.data, self.seed)?;
        for source in &read.sources {
            super::note(source);
        }
        Ok(documents.into_iter().map(|Document { text, .. }| text).collect())
    }
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Train(args) => train(args),
        Command::Stats(args) => stats(args),
    }
}

fn train(args: Train) -> Result<()> {
    check_output(&args.output)?;
    let options = BpeOptions {
        vocab_size: args.vocab_size,
        min_frequency: args.min_frequency,
        special_tokens: args.special_token,
    };
    options.check()?;
    let texts = args.texts.read()?;
    let tokenizer = match args.characters {
        true => Tokenizer::train_chars(&texts)?,
        false => Tokenizer::train_bpe(&texts, &options)?,
    };
    let found = Fertility::measure(&tokenizer, &texts)?;
    atomic::write_dir(&args.output, |dir| tokenizer.save(dir))?;
    super::print(format_args!(
        "{} tokens learnt from {} documents, {} characters: {:.2} characters a token, {:.2} tokens a word \
         on them\nwritten to {}\n",
        tokenizer.vocab_size(),
        texts.len(),
        found.chars,
        found.chars_per_token(),
        found.tokens_per_word,
        args.output.display(),
    ))
}

/// A model's directory may be replaced by a model, and by a tokenizer not.
fn check_output(dir: &Path) -> Result<()> {
    atomic::check_dir(dir)?;
    if dir.join("config.json").exists() {
        let expected = "a directory without a model, which would be deleted";
        return Err(Error::usage(dir.display().to_string(), expected, "config.json"));
    }
    Ok(())
}

fn stats(args: Stats) -> Result<()> {
    let tokenizers = args.tokenizers.iter().map(|name| super::model::tokenizer(name));
    let tokenizers = tokenizers.collect::<Result<Vec<_>>>()?;
    let texts = args.texts.read()?;
    let found = tokenizers.iter().map(|tokenizer| Fertility::measure(tokenizer, &texts));
    let found = found.collect::<Result<Vec<_>>>()?;
    let found: Vec<_> = args.tokenizers.iter().zip(&found).collect();
    match args.json {
        true => super::print(format_args!("{}\n", object(&found)?)),
        false => super::print(table(&found)),
    }
}

fn object(found: &[(&String, &Fertility)]) -> Result<serde_json::Value> {
    let row = |(name, found): &(&String, &Fertility)| {
        let mut row = serde_json::to_value(found)?;
        row["tokenizer"] = json!(name);
        row["chars_per_token"] = json!(found.chars_per_token());
        Ok(row)
    };
    let rows = found.iter().map(row).collect::<serde_json::Result<Vec<_>>>();
    let rows =
        rows.map_err(|error| Error::new(Kind::Failure, "--json", "a report", error.to_string()))?;
    Ok(json!({ "tokenizers": rows }))
}

fn table(found: &[(&String, &Fertility)]) -> Table {
    let headers = [
        "tokenizer",
        "tokens",
        "of them used",
        "characters/token",
        "tokens/word",
        "with á, ñ ...",
        "whole words",
        "letters in pieces",
    ];
    found.iter().fold(Table::new(headers), |table, (name, found)| {
        table.row([
            name.to_string(),
            found.vocab_size.to_string(),
            percent(found.vocabulary_used),
            format!("{:.2}", found.chars_per_token()),
            format!("{:.2}", found.tokens_per_word),
            format!("{:.2}", found.tokens_per_spanish_word),
            percent(found.whole_words),
            found.cut(),
        ])
    })
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

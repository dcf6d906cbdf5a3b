//! `copla evaluate`: how well a model foretells the documents of a file.

use super::machine::Machine;
use copla::Result;
use copla::evaluate::{BySource, Evaluation};
use copla::models::Use;
use copla::report::table::Table;
use serde_json::{Value, json};

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, value_name = "MODEL", help = super::model::help_with_default())]
    model: Option<String>,
    /// Documents, PATH[:column=C,take=1%,...]: CSV, JSON, Parquet or plain text, a directory, a pattern, or
    /// hf:org/name[@revision][:config/split]; may be given more than once
    #[arg(long, required = true)]
    data: Vec<String>,
    #[command(flatten)]
    reading: super::data::Reading,
    /// Seed of the samples that `take=` asks for
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

pub fn run(args: Args) -> Result<()> {
    let device = args.machine.device()?;
    let dir = super::model::directory(args.model)?;
    let (documents, report) = args.reading.documents(&args.data, args.seed)?;
    let loaded = super::model::load(&dir, Use::Inference, args.machine.dtype(), device)?;
    let sources = BySource::new(loaded.tokenizer()?, &documents)?;
    let found = sources.evaluate(&*loaded.model, &loaded.params)?;
    if args.json {
        let mut object = measures(&found.total);
        let mut sources = json!(report.sources);
        for (&source, found) in &found.sources {
            sources[source]["evaluation"] = measures(found);
        }
        object["sources"] = sources;
        return super::print(format_args!("{object}\n"));
    }
    for source in &report.sources {
        super::print(format_args!("{source}\n"))?;
    }
    let mut columns = vec![("value", &found.total)];
    if report.sources.len() > 1 {
        columns[0].0 = "all";
        let name = |source: usize| report.sources.get(source).map_or("?", |known| &known.source);
        columns.extend(found.sources.iter().map(|(&source, found)| (name(source), found)));
    }
    let header = columns.iter().map(|(name, _)| name.to_string());
    let table = Table::new(["measure".to_string()].into_iter().chain(header));
    super::print(MEASURES.iter().fold(table, |table, (name, cell)| {
        let cells = columns.iter().map(|(_, found)| cell(found));
        table.row([name.to_string()].into_iter().chain(cells))
    }))
}

type Cell = fn(&Evaluation) -> String;

/// The rows of the table.
const MEASURES: [(&str, Cell); 7] = [
    ("loss", |found| format!("{:.4}", found.loss)),
    ("perplexity", |found| format!("{:.4}", found.perplexity())),
    ("bits_per_char", |found| format!("{:.4}", found.bits_per_char())),
    ("bits_per_byte", |found| format!("{:.4}", found.bits_per_byte())),
    ("tokens", |found| found.tokens.to_string()),
    ("chars", |found| found.chars.to_string()),
    ("unknown_tokens", |found| found.unknown.to_string()),
];

fn measures(found: &Evaluation) -> Value {
    json!({
        "loss": found.loss,
        "perplexity": found.perplexity(),
        "bits_per_char": found.bits_per_char(),
        "bits_per_byte": found.bits_per_byte(),
        "tokens": found.tokens,
        "chars": found.chars,
        "unknown_tokens": found.unknown,
    })
}

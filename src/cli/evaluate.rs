//! `copla evaluate`: how well a model foretells the documents of a file.

use super::machine::Machine;
use copla::Result;
use copla::evaluate::evaluate;
use copla::models::Use;
use copla::report::table::Table;
use serde_json::json;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, value_name = "MODEL", help = super::model::help_with_default())]
    model: Option<String>,
    /// Documents, PATH[:column=C,take=1%,...]: CSV, JSON, Parquet or plain text, a directory or a pattern;
    /// may be given more than once
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
    let found = evaluate(&*loaded.model, &loaded.params, loaded.tokenizer()?, &documents)?;
    if args.json {
        let object = json!({
            "loss": found.loss,
            "perplexity": found.perplexity(),
            "bits_per_char": found.bits_per_char(),
            "bits_per_byte": found.bits_per_byte(),
            "tokens": found.tokens,
            "chars": found.chars,
            "unknown_tokens": found.unknown,
            "sources": report.sources,
        });
        return super::print(format_args!("{object}\n"));
    }
    for source in &report.sources {
        super::print(format_args!("{source}\n"))?;
    }
    let number = |x: f64| format!("{x:.4}");
    let table = Table::new(["measure", "value"])
        .row(["loss".to_string(), number(found.loss)])
        .row(["perplexity".to_string(), number(found.perplexity())])
        .row(["bits_per_char".to_string(), number(found.bits_per_char())])
        .row(["bits_per_byte".to_string(), number(found.bits_per_byte())])
        .row(["tokens".to_string(), found.tokens.to_string()])
        .row(["chars".to_string(), found.chars.to_string()])
        .row(["unknown_tokens".to_string(), found.unknown.to_string()]);
    super::print(table)
}

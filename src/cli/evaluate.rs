//! `copla evaluate`: how well a model foretells the documents of a file.

use super::machine::Machine;
use copla::Result;
use copla::evaluate::evaluate;
use copla::models::Use;
use copla::report::table::Table;
use copla::text::read_documents;
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, value_name = "MODEL", help = super::model::HELP)]
    model: Option<String>,
    /// Documents: a CSV with a column `content`, or a text with blank lines between them
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

pub fn run(args: Args) -> Result<()> {
    let device = args.machine.device()?;
    let dir = super::model::directory(args.model)?;
    let documents = read_documents(&args.data)?;
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
        });
        return super::print(format_args!("{object}\n"));
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

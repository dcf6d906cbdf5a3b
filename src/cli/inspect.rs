//! `copla inspect`: what a model holds while it reads a text, as a file or as a short table.

use super::machine::Machine;
use copla::Result;
use copla::formats::atomic;
use copla::inspect::{Depth, Inspection, inspect};
use copla::models::Use;
use copla::report::table::Table;
use copla::text::Tokenizer;
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("input").required(true))]
pub struct Args {
    #[arg(long, value_name = "MODEL", help = super::model::help_with_default())]
    model: Option<String>,
    /// Text to read, with the special tokens that it names and those that the tokenizer's files ask for
    #[arg(long, group = "input", allow_hyphen_values = true)]
    text: Option<String>,
    /// Token ids to read, with commas between them
    #[arg(long, group = "input", value_name = "IDS", value_delimiter = ',')]
    token_ids: Option<Vec<u32>>,
    /// Write logits, hidden.N and attention.N to this safetensors file; without it, print a table
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    /// Also write the loss and grad.<weight> of every weight
    #[arg(long, requires = "dump")]
    gradients: bool,
    #[command(flatten)]
    machine: Machine,
}

pub fn run(args: Args) -> Result<()> {
    if let Some(path) = &args.dump {
        atomic::check_file(path)?;
    }
    let device = args.machine.device()?;
    let dir = super::model::directory(args.model)?;
    let depth = match (&args.dump, args.gradients) {
        (Some(_), true) => Depth::Gradients,
        (Some(_), false) => Depth::Sites,
        (None, _) => Depth::Logits,
    };
    let wanted = if args.gradients { Use::Training } else { Use::Inference };
    let loaded = super::model::load(&dir, wanted, args.machine.dtype(), device)?;
    let ids = match args.text {
        Some(text) => loaded.tokenizer()?.encode_prompt(&text)?,
        None => args.token_ids.unwrap_or_default(),
    };
    let inspection = inspect(&*loaded.model, &loaded.params, &ids, depth)?;
    match args.dump {
        Some(path) => {
            let count = inspection.dump(&path)?;
            super::print(format_args!("{count} tensors written to {}\n", path.display()))
        }
        // Ids need no tokenizer; where the directory has one, the table shows what they stand for.
        None => super::print(table(&inspection, &ids, loaded.tokenizer().ok())?),
    }
}

fn table(inspection: &Inspection, ids: &[u32], tokenizer: Option<&Tokenizer>) -> Result<Table> {
    let shown = |id: u32| match tokenizer.map(|tokenizer| tokenizer.decode(&[id])) {
        Some(Ok(text)) => format!("{text:?}"),
        // A model may have more rows than its tokenizer has tokens.
        Some(Err(_)) | None => String::new(),
    };
    let predictions = inspection.predictions()?;
    let rows = ids.iter().zip(predictions).enumerate();
    Ok(rows.fold(
        Table::new(["place", "id", "token", "likeliest", "next", "probability"]),
        |table, (place, (&id, (next, probability)))| {
            let probability = format!("{probability:.4}");
            let (place, number) = (place.to_string(), id.to_string());
            table.row([place, number, shown(id), next.to_string(), shown(next), probability])
        },
    ))
}

//! `copla convert`: a model in other files, perhaps in another dtype.

use super::machine::float;
use copla::formats::atomic;
use copla::models::{Converted, convert};
use copla::{DType, Result};
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[arg(value_name = "MODEL", help = super::model::HELP)]
    model: String,
    /// Where the converted model goes; a model directory of that name is replaced
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// How to store the weights: f32, f16 or bf16 [default: as they are]
    #[arg(long, value_name = "DTYPE", value_parser = float)]
    dtype: Option<DType>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    // Before a model is downloaded in vain.
    atomic::check_dir(&args.output)?;
    let dir = super::model::directory(Some(args.model))?;
    let Converted { stored, dtype, parameters, has_tokenizer, notes } =
        convert(&dir, &args.output, args.dtype)?;
    let stored: Vec<String> = stored.iter().map(DType::to_string).collect();
    if args.json {
        let object = json!({
            "output": args.output,
            "stored": stored,
            "dtype": dtype.to_string(),
            "parameters": parameters,
            "tokenizer": has_tokenizer,
            "notes": notes,
        });
        return super::print(format_args!("{object}\n"));
    }
    for note in notes {
        super::note(note);
    }
    let from = match &stored[..] {
        [one] if *one == dtype.to_string() => String::new(),
        stored => format!(" (before: {})", stored.join(" and ")),
    };
    let tokenizer =
        if has_tokenizer { "with its tokenizer" } else { "without a tokenizer: it has none" };
    super::print(format_args!(
        "{}: {parameters} parameters in {dtype}{from}, {tokenizer}\nwritten to {}\n",
        dir.display(),
        args.output.display(),
    ))
}

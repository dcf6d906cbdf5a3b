//! `copla info`: what a model is, and what it takes to run and to train it.

use copla::Result;
use copla::info::{Info, Memory, Part, examine};
use copla::report::table::Table;
use serde_json::Value;

#[derive(clap::Args)]
pub struct Args {
    #[arg(value_name = "MODEL", help = super::model::help_with_default())]
    model: Option<String>,
    /// Print one JSON object, sizes in bytes
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    let info = examine(&super::model::directory(args.model)?)?;
    if args.json {
        let object = serde_json::to_string_pretty(&info).map_err(|error| {
            let found = error.to_string();
            copla::Error::new(copla::Kind::Failure, "--json", "a report", found)
        })?;
        return super::print(format_args!("{object}\n"));
    }
    super::print(format_args!("{}\n{}", facts(&info), memory(&info.memory)))
}

fn facts(info: &Info) -> Table {
    let class = info.architecture.as_ref().map_or(String::new(), |class| format!(" ({class})"));
    let mut rows = vec![("family", format!("{}{class}", info.family))];
    rows.extend(info.sizes.iter().map(|(name, size)| (name.as_str(), plain(size))));
    rows.push(("parameters", info.parameters.to_string()));
    match &info.weights {
        Part::Found(weights) => {
            let (files, bytes) = (&weights.files, weights.files.iter().map(|file| file.bytes));
            let name = files.first().map_or("", |file| &file.name);
            let more = match files.len() {
                0 | 1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            let (size, dtypes) = (mib(bytes.sum::<u64>() as usize), weights.dtypes.join(" and "));
            rows.push(("weights", format!("{name}{more}, {size} MiB, {dtypes}")));
        }
        Part::Missing { missing } => rows.push(("weights", missing.clone())),
    }
    match &info.tokenizer {
        Part::Found(tokenizer) => {
            let ids = tokenizer.vocab_size;
            rows.push((
                "tokenizer",
                format!("{}, {} tokens, ids below {ids}", tokenizer.kind, tokenizer.tokens),
            ));
            for special in &tokenizer.special {
                rows.push((special.name, format!("{} {:?}", special.id, special.token)));
            }
            rows.extend(tokenizer.notes.iter().map(|note| ("note", note.clone())));
        }
        Part::Missing { missing } => rows.push(("tokenizer", missing.clone())),
    }
    let origin = &info.origin;
    rows.push(("directory", info.directory.display().to_string()));
    let hub = origin.hub.as_ref().map(|hub| format!("{} at {}", hub.repository, hub.commit));
    rows.extend(hub.map(|hub| ("hub", hub)));
    rows.extend(origin.name_or_path.clone().map(|name| ("made from", name)));
    rows.extend(origin.trained_steps.map(|steps| ("trained", format!("{steps} steps"))));
    rows.extend(origin.transformers_version.clone().map(|version| ("transformers", version)));
    rows.into_iter()
        .fold(Table::new(["model", ""]), |table, (name, value)| table.row([name, &value]))
}

/// In MiB; a dash where a piece of work has nothing of a kind.
fn memory(memory: &[Memory]) -> Table {
    let headers = [
        "MiB to",
        "tokens",
        "dtype",
        "parameters",
        "gradients",
        "optimizer",
        "activations",
        "logits",
        "KV cache",
        "peak",
    ];
    memory.iter().fold(Table::new(headers), |table, row| {
        let plan = row.plan;
        let parts = [
            plan.parameters,
            plan.gradients,
            plan.optimizer,
            plan.activations,
            plan.logits,
            plan.kv_cache,
            plan.peak,
        ];
        let shape = format!("{} × {}", row.rows, row.time);
        let words = [row.work.to_string(), shape, row.dtypes.join(", ")];
        let bytes = parts.map(|bytes| if bytes == 0 { "-".into() } else { mib(bytes) });
        table.row(words.into_iter().chain(bytes))
    })
}

fn plain(value: &Value) -> String {
    value.as_str().map_or(value.to_string(), str::to_string)
}

fn mib(bytes: usize) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

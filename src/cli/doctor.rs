//! `copla doctor`: what this machine has; with `--check`, whether a device computes rightly.

use super::machine::Choice;
use copla::doctor::{self, cases, check};
use copla::report::table::Table;
use copla::{Device, Error, Kind, Result};
use serde_json::json;

#[derive(clap::Args)]
pub struct Args {
    /// Run every operation on the device, in every storage dtype, and compare with the CPU
    #[arg(long)]
    check: bool,
    /// What to check: cpu, cuda, cuda:N, emulated, or auto: a card if there is one
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: Choice,
    /// Another seed is another set of shapes and numbers
    #[arg(long, default_value_t = 1, requires = "check")]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    // The emulator has to be chosen before the first look at CUDA.
    let device = match (args.check, args.device) {
        (false, Choice::Auto) => None,
        (_, choice) => Some(choice.open()?),
    };
    let report = doctor::examine();
    let checked = device.filter(|_| args.check);
    let rows = checked.map(|device| (device, check_all(device, &args)));
    if args.json {
        let checks = rows.as_ref().map(|(_, rows)| rows);
        let text = serde_json::to_string_pretty(&json!({ "machine": report, "check": checks }))
            .map_err(|e| Error::new(Kind::Failure, "--json", "a report", e.to_string()))?;
        super::print(format_args!("{text}\n"))?;
    } else {
        super::print(&report)?;
        if let Some((device, rows)) = &rows {
            super::print(format_args!("\n{device} beside the CPU:\n{}", table(rows)))?;
        }
    }
    match rows {
        Some((device, rows)) => check::verdict(&rows, device),
        None => Ok(()),
    }
}

/// Small shapes, and where that does not take hours also large ones, which alone say something of
/// speed.
fn check_all(device: Device, args: &Args) -> Vec<check::Row> {
    let small = cases::all(args.seed).into_iter().map(|case| (case, false));
    let large = match args.device {
        Choice::Emulated => Vec::new(),
        Choice::Auto | Choice::Cpu | Choice::Cuda(_) => cases::large(args.seed),
    };
    let cases = small.chain(large.into_iter().map(|case| (case, true)));
    cases
        .flat_map(|(case, timed)| {
            check::DTYPES.map(|dtype| check::check(&case, device, dtype, timed))
        })
        .collect()
}

fn table(rows: &[check::Row]) -> Table {
    let headers = ["operation", "dtype", "shape", "largest error", "bound", "GB/s", ""];
    rows.iter().fold(Table::new(headers), |table, row| {
        let speed = row.gigabytes_per_second.map_or("-".into(), |speed| format!("{speed:.1}"));
        let outcome = row.failure.as_ref().map_or("ok".into(), |why| format!("FAILED: {why}"));
        let numbers = [format!("{:.1e}", row.error), format!("{:.1e}", row.bound), speed];
        let words = [row.operation.clone(), row.dtype.clone(), row.shape.clone()];
        table.row(words.into_iter().chain(numbers).chain([outcome]))
    })
}

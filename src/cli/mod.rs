//! The command line: one file per subcommand, which parses, calls the library and prints.

mod cleaning;
mod convert;
mod data;
mod doctor;
mod documents;
mod download;
mod evaluate;
mod generate;
mod info;
mod inspect;
mod machine;
mod model;
mod texts;
mod tokenizer;
mod train;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use copla::{Error, Kind, Result};
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// A deep-learning engine for small Spanish language models.
#[derive(Parser)]
#[command(name = "copla", version = VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a model from scratch
    Train(Box<train::Args>),
    /// Continue a prompt with the text of a model
    Generate(generate::Args),
    /// Measure how well a model foretells documents
    Evaluate(evaluate::Args),
    /// Describe and clean the documents that a model learns from
    Data(documents::Args),
    /// Learn a tokenizer, or compare several on a text
    Tokenizer(tokenizer::Args),
    /// Look inside a model while it reads a text
    Inspect(inspect::Args),
    /// Say what a model is and what memory it takes
    Info(info::Args),
    /// Write a model as safetensors and tokenizer.json, perhaps in another dtype
    Convert(convert::Args),
    /// Say what of this machine copla can use, and whether it computes rightly
    Doctor(doctor::Args),
}

impl Command {
    fn run(self) -> Result<()> {
        match self {
            Command::Train(args) => train::run(*args),
            Command::Generate(args) => generate::run(args),
            Command::Evaluate(args) => evaluate::run(args),
            Command::Data(args) => documents::run(args),
            Command::Tokenizer(args) => tokenizer::run(args),
            Command::Inspect(args) => inspect::run(args),
            Command::Info(args) => info::run(args),
            Command::Convert(args) => convert::run(args),
            Command::Doctor(args) => doctor::run(args),
        }
    }
}

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("COPLA_COMMIT"), ")");

/// What a process says that dies of writing to a pipe which nobody reads any more.
const SIGPIPE: u8 = 13;

pub fn main() -> ExitCode {
    let arguments = command().try_get_matches();
    match arguments.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => match cli.command.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                if error.kind() != Kind::Interrupted(SIGPIPE) {
                    note(format_args!("copla: {error}"));
                }
                ExitCode::from(error.kind().exit_code())
            }
        },
        Err(error) => misused(&error),
    }
}

/// The command with what all its options share: an underscore does for a hyphen in a name, as in
/// `transformers`' scripts, and a value may be a negative number, which is then refused by its range.
fn command() -> clap::Command {
    fn with_aliases(command: clap::Command) -> clap::Command {
        let command = command.mut_args(|arg| {
            let underscored = arg.get_long().map(|long| long.replace('-', "_"));
            let takes_value = arg.get_action().takes_values();
            match underscored {
                Some(alias) => arg.alias(alias).allow_negative_numbers(takes_value),
                None => arg,
            }
        });
        command.mut_subcommands(with_aliases)
    }
    Cli::command().mut_subcommands(with_aliases)
}

/// Help and version as asked for; a misuse as one line.
fn misused(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{
        DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion,
    };
    match error.kind() {
        DisplayHelp | DisplayVersion => {
            // Whether anybody reads it changes nothing.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(Kind::Usage.exit_code())
        }
        _ => {
            let text = error.to_string();
            let first = text.split("\n\n").next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            let words: Vec<&str> = first.split_whitespace().collect();
            note(format_args!("copla: {} (see copla --help)", words.join(" ")));
            ExitCode::from(Kind::Usage.exit_code())
        }
    }
}

/// Writes to stdout, at once. Where nobody reads it any more the command is to end as SIGPIPE would
/// end it, without a word: for [`main`] that is this error.
fn print(text: impl Display) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::BrokenPipe => Kind::Interrupted(SIGPIPE),
            _ => Kind::Failure,
        };
        Error::new(kind, "stdout", "a place to write to", error.to_string())
    })
}

/// A line on stderr; nothing depends on its being read.
fn note(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

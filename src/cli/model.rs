//! Which model a command means (a directory, or a name that is downloaded before the work begins), and
//! how it is opened: with a word on stderr about all that had to be mended.

use copla::formats::hub::{self, Hub, Location, Repo};
use copla::models::{Pretrained, Use};
use copla::text::Tokenizer;
use copla::{DType, Device, Error, Result};
use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where `copla train` saves what it trains, and where the other commands look for it.
pub const DEFAULT: &str = "runs/coplas";

/// What MODEL may be, for the help of every command that takes one.
pub const HELP: &str = "A model's directory, as `copla train` or `transformers` saves it, or \
    [org/]name[@revision] on the Hugging Face hub, downloaded once into its cache";

/// [`HELP`] where MODEL may be left out.
pub fn help_with_default() -> String {
    format!("{HELP} [default: {DEFAULT}]")
}

/// The directory of the model given (downloaded, where it is a name on the hub that the cache does not
/// have), or the default one if it has been trained.
pub fn directory(given: Option<String>) -> Result<PathBuf> {
    let Some(model) = given else {
        if Path::new(DEFAULT).is_dir() {
            return Ok(DEFAULT.into());
        }
        let expected = format!("a model in {DEFAULT} (run `copla train`) or --model MODEL");
        return Err(Error::usage("--model", expected, "neither"));
    };
    located(&model, Hub::model)
}

/// The tokenizer of a model, or one that was learnt alone; of a model on the hub nothing else is
/// downloaded.
pub fn tokenizer(model: &str) -> Result<Tokenizer> {
    Tokenizer::load(located(model, Hub::tokenizer)?)
}

fn located(
    model: &str,
    fetch: impl FnOnce(&Hub, &Repo, &mut dyn hub::Observer) -> Result<PathBuf>,
) -> Result<PathBuf> {
    match hub::locate(model)? {
        Location::Directory(directory) => Ok(directory),
        Location::Repository(repo) => {
            let mut teller = Teller::new();
            let directory = fetch(&Hub::from_env()?, &repo, &mut teller);
            teller.bar.finish_and_clear();
            directory
        }
    }
}

/// Tells a person how the download goes, on stderr: a bar on a terminal, plain lines elsewhere.
struct Teller {
    bar: ProgressBar,
    file: String,
    /// When the last plain line was printed.
    told: Instant,
}

/// Between plain lines.
const QUIET: Duration = Duration::from_secs(5);

impl Teller {
    fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() {
            let style = "{bar:24} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}";
            let style = ProgressStyle::with_template(style)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::no_length().with_style(style)
        } else {
            ProgressBar::hidden()
        };
        Teller { bar, file: String::new(), told: Instant::now() }
    }
}

impl hub::Observer for Teller {
    fn note(&mut self, line: &str) {
        self.bar.suspend(|| super::note(format_args!("copla: {line}")));
    }

    fn received(&mut self, file: &str, bytes: u64, size: Option<u64>) {
        let is_new = self.file != file;
        if is_new {
            self.file = file.to_string();
            self.bar.set_message(self.file.clone());
            // What an earlier download brought says nothing of this one's speed.
            self.bar.reset();
        }
        if let Some(size) = size {
            self.bar.set_length(size);
        }
        self.bar.set_position(bytes);
        if self.bar.is_hidden() && (is_new || self.told.elapsed() >= QUIET) {
            self.told = Instant::now();
            let size = size.map_or("?".to_string(), |size| DecimalBytes(size).to_string());
            super::note(format_args!("downloading {file}: {} of {size}", DecimalBytes(bytes)));
        }
    }
}

/// The model in `dir`; what its files disagree on, and what was decided, is told on stderr.
pub fn load(dir: &Path, wanted: Use, dtype: DType, device: Device) -> Result<Pretrained> {
    let loaded = Pretrained::load(dir, wanted, dtype, device)?;
    for line in &loaded.notes {
        super::note(format_args!("copla: {line}"));
    }
    Ok(loaded)
}

//! Which model a command means (a directory, or a name that is downloaded before the work begins), and
//! how it is opened: with a word on stderr about all that had to be mended.

use super::download;
use copla::formats::hub::{self, Hub, Location, Repo};
use copla::models::{Pretrained, Use};
use copla::text::Tokenizer;
use copla::{DType, Device, Error, Result};
use std::path::{Path, PathBuf};

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

/// The tokenizer of a model, or one that was learnt alone.
pub fn tokenizer(model: &str) -> Result<Tokenizer> {
    Tokenizer::load(tokenizer_directory(model)?)
}

/// The directory of a tokenizer; of a model on the hub its configs are downloaded too, and no more.
pub fn tokenizer_directory(model: &str) -> Result<PathBuf> {
    located(model, Hub::tokenizer)
}

fn located(
    model: &str,
    fetch: impl FnOnce(&Hub, &Repo, &mut dyn hub::Observer) -> Result<PathBuf>,
) -> Result<PathBuf> {
    match hub::locate(model)? {
        Location::Directory(directory) => Ok(directory),
        Location::Repository(repo) => {
            let hub = Hub::from_env()?;
            download::told(|teller| fetch(&hub, &repo, teller))
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

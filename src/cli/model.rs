//! Which model a command means, and how it is opened: with a word on stderr about all that had to be mended.

use copla::models::{Pretrained, Use};
use copla::{DType, Device, Error, Result};
use std::path::{Path, PathBuf};

/// Where `copla train` saves what it trains, and where the other commands look for it.
pub const DEFAULT: &str = "runs/coplas";

/// The directory given, or the default one if it has been trained.
pub fn directory(given: Option<PathBuf>) -> Result<PathBuf> {
    match given {
        Some(directory) => Ok(directory),
        None if PathBuf::from(DEFAULT).is_dir() => Ok(DEFAULT.into()),
        None => {
            let expected = format!("a model in {DEFAULT} (run `copla train`) or --model DIR");
            Err(Error::usage("--model", expected, "neither"))
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

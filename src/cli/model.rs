//! Which model a command means.

use copla::{Error, Result};
use std::path::PathBuf;

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

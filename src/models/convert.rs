//! Any model that copla reads as the files that everybody reads: `model.safetensors`, the configs and
//! `tokenizer.json`, in the dtype asked for.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::formats::atomic;
use crate::formats::weights::Weights;
use crate::models::{Pretrained, Use, stored_dtypes};
use crate::tensor::{Device, Parameters};
use half::{bf16, f16};
use std::fs::canonicalize;
use std::path::Path;

/// What [`convert`] did.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The dtypes that the weights had, the widest first.
    pub stored: Vec<DType>,
    /// The one that they have now.
    pub dtype: DType,
    pub parameters: usize,
    pub has_tokenizer: bool,
    /// What the files disagreed on, and what was decided.
    pub notes: Vec<String>,
}

/// Converts the model in `from` into the directory `to`, whole or not at all, as
/// [`atomic::write_dir`] writes it. Without a `dtype` the weights keep theirs, or become f32 where they
/// have several. Takes the memory of one copy.
///
/// Usage error: a `to` that cannot be written, or that holds `from`, which would be lost. Bad data: a model
/// that cannot be read, and a finite weight that `dtype` has only as infinity.
pub fn convert(from: &Path, to: &Path, dtype: Option<DType>) -> Result<Converted> {
    atomic::check_dir(to)?;
    expect_apart(from, to)?;
    let stored = stored_dtypes(&Weights::open(from)?)?;
    let dtype = dtype.unwrap_or(match stored[..] {
        [one] => one,
        _ => DType::F32,
    });
    let pretrained = Pretrained::load(from, Use::Inference, dtype, Device::Cpu)?;
    expect_no_overflow(from, &pretrained.params)?;
    atomic::write_dir(to, |dir| pretrained.save(dir))?;
    Ok(Converted {
        stored,
        dtype,
        parameters: pretrained.params.count(),
        has_tokenizer: pretrained.tokenizer().is_ok(),
        notes: pretrained.notes,
    })
}

/// A directory that is replaced is deleted, with the model in it or below it.
fn expect_apart(from: &Path, to: &Path) -> Result<()> {
    match (canonicalize(from), canonicalize(to)) {
        (Ok(from), Ok(to)) if from.starts_with(&to) => {
            let expected = "a directory without the model that is converted";
            Err(Error::usage(to.display().to_string(), expected, from.display().to_string()))
        }
        // What is not there yet holds nothing.
        _ => Ok(()),
    }
}

/// Refuses a model that has numbers beyond its dtype. Only where there is an infinity is it read once
/// more, to see whether it was one before.
fn expect_no_overflow(dir: &Path, params: &Parameters) -> Result<()> {
    if !has_infinity(params)? {
        return Ok(());
    }
    let is_beyond: fn(f32) -> bool = match params.dtype() {
        DType::F16 => |x| f16::from_f32(x).is_infinite(),
        DType::BF16 => |x| bf16::from_f32(x).is_infinite(),
        DType::F32 | DType::U32 => return Ok(()),
    };
    let wide = Pretrained::load(dir, Use::Inference, DType::F32, Device::Cpu)?.params;
    let (mut count, mut largest) = (0, (0.0, ""));
    for (param, segment) in wide.segments() {
        for &x in wide.get(param).slice::<f32>()?.iter().filter(|x| x.is_finite() && is_beyond(**x))
        {
            count += 1;
            if x.abs() > largest.0 {
                largest = (x.abs(), &segment.name);
            }
        }
    }
    match (count, largest) {
        (0, _) => Ok(()),
        (_, (size, name)) => {
            let dtype = params.dtype();
            let remedy = if dtype == DType::F16 { "bf16 or f32" } else { "f32" };
            let found = format!(
                "{count} beyond it, the largest {size:e} in `{name}` (--dtype {remedy} holds them)"
            );
            let thing = format!("{}: weights", dir.display());
            Err(Error::bad_data(thing, format!("numbers that {dtype} holds"), found))
        }
    }
}

fn has_infinity(params: &Parameters) -> Result<bool> {
    for (param, _) in params.segments() {
        let values = params.get(param);
        let found = match params.dtype() {
            DType::F16 => values.slice::<f16>()?.iter().any(|x| x.is_infinite()),
            DType::BF16 => values.slice::<bf16>()?.iter().any(|x| x.is_infinite()),
            DType::F32 | DType::U32 => false,
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

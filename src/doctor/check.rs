//! Whether a device computes rightly: every operation on it, forward and backward, beside the same on
//! the CPU, in every storage dtype; how far apart they are, and how fast the device was.

use super::cases::Case;
use super::computation::Computation;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};
use serde::Serialize;
use std::time::Instant;

pub const DTYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// The outcome of one case in one storage dtype.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub operation: String,
    pub dtype: String,
    /// Of the inputs.
    pub shape: String,
    /// The largest distance from a number of the CPU, in that result of the operation (its output or
    /// a gradient) which is furthest off.
    pub error: f64,
    pub bound: f64,
    /// What goes in and what comes out, each counted once, over the time of forward and backward.
    pub gigabytes_per_second: Option<f64>,
    /// Why the case is no success, if it is none.
    pub failure: Option<String>,
}

/// Computes a case on the device and on the CPU. What goes wrong on the way is in the row.
pub fn check(case: &Case, device: Device, dtype: DType, timed: bool) -> Row {
    let mut row = Row {
        operation: case.operation.clone(),
        dtype: dtype.to_string(),
        shape: case.shape.clone(),
        error: 0.0,
        bound: 0.0,
        gigabytes_per_second: None,
        failure: None,
    };
    if let Err(error) = compute(case, device, dtype, timed, &mut row) {
        row.failure = Some(error.to_string());
    }
    row
}

fn compute(case: &Case, device: Device, dtype: DType, timed: bool, row: &mut Row) -> Result<()> {
    let mut computation = case.prepare(device, dtype)?;
    let found = numbers(&mut *computation)?;
    let expected = numbers(&mut *case.prepare(Device::Cpu, dtype)?)?;
    let distance = furthest(&found, &expected, tolerance(case, dtype));
    (row.error, row.bound) = (distance.largest, distance.bound);
    if distance.largest > distance.bound {
        row.failure = Some("beyond its bound".into());
    } else if distance.mean > distance.mean_bound {
        let Distance { mean, mean_bound, .. } = distance;
        row.failure = Some(format!("in the mean {mean:.1e} off, bound {mean_bound:.1e}"));
    } else if bits(&found) != bits(&numbers(&mut *case.prepare(device, dtype)?)?) {
        row.failure = Some("not the same bits a second time".into());
    }
    if timed && computation.bytes() > 0 {
        let seconds = best_time(&mut *computation, device)?;
        row.gigabytes_per_second = Some(computation.bytes() as f64 / seconds / 1e9);
    }
    Ok(())
}

/// What a computation comes to: of each result the numbers, and whether they are ids.
type Numbers = Vec<(Vec<f64>, bool)>;

fn numbers(computation: &mut dyn Computation) -> Result<Numbers> {
    computation.run()?;
    let read = |tensor: &Tensor| -> Result<(Vec<f64>, bool)> {
        Ok(match tensor.dtype() {
            DType::U32 => (tensor.to_vec::<u32>()?.into_iter().map(f64::from).collect(), true),
            DType::F32 | DType::F16 | DType::BF16 => {
                (tensor.read()?.iter().map(|&x| f64::from(x)).collect(), false)
            }
        })
    };
    computation.results()?.iter().map(read).collect()
}

fn bits(numbers: &Numbers) -> Vec<u64> {
    numbers.iter().flat_map(|(numbers, _)| numbers).map(|x| x.to_bits()).collect()
}

/// Of the numbers of one result: the largest error is at most absolute + relative·max|expected|, as
/// those near zero are often sums of larger ones; and the same holds of the root mean squares, so
/// that what is wrong in many small numbers does not hide behind a large one.
#[derive(Clone, Copy)]
struct Tolerance {
    absolute: f64,
    relative: f64,
}

/// Ids are whole numbers.
const SAME: Tolerance = Tolerance { absolute: 0.5, relative: 0.0 };

/// How close two computations come that round at the same places but sum in another order. A run of
/// training carries its differences on.
fn tolerance(case: &Case, dtype: DType) -> Tolerance {
    let same = |at: f64| Tolerance { absolute: at, relative: at };
    match (case.family, dtype) {
        ("train", DType::F32 | DType::U32) => same(1e-4),
        ("train", DType::F16) => same(1e-2),
        ("train", DType::BF16) => same(5e-2),
        (_, DType::F32 | DType::U32) => Tolerance { absolute: 1e-5, relative: 1.3e-6 },
        (_, DType::F16) => same(1e-3),
        (_, DType::BF16) => same(1.6e-2),
    }
}

/// How far apart two results are, and what they are measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Distance {
    largest: f64,
    bound: f64,
    mean: f64,
    mean_bound: f64,
}

impl Distance {
    fn of(found: &[f64], expected: &[f64], at: Tolerance) -> Self {
        let bound = |size: f64| at.absolute + at.relative * size;
        let errors = || found.iter().zip(expected).map(|(&x, &y)| distance(x, y));
        let sizes = || expected.iter().filter(|y| y.is_finite()).map(|y| y.abs());
        let mean = |squares: f64| (squares / expected.len().max(1) as f64).sqrt();
        let complete = if found.len() == expected.len() { 0.0 } else { f64::INFINITY };
        Distance {
            largest: errors().fold(complete, f64::max),
            bound: bound(sizes().fold(0.0, f64::max)),
            mean: mean(errors().map(|error| error * error).sum()),
            mean_bound: bound(mean(sizes().map(|size| size * size).sum())),
        }
    }

    /// Above 1 where a bound does not hold.
    fn share(self) -> f64 {
        (self.largest / self.bound).max(self.mean / self.mean_bound)
    }
}

/// Of all results that which is the furthest off.
fn furthest(found: &Numbers, expected: &Numbers, at: Tolerance) -> Distance {
    let distances = found.iter().zip(expected).map(|((found, _), (expected, ids))| {
        let at = if *ids { SAME } else { at };
        Distance::of(found, expected, at)
    });
    distances.max_by(|a, b| a.share().total_cmp(&b.share())).unwrap_or_default()
}

/// Infinite where only one is a number, or infinite.
fn distance(x: f64, y: f64) -> f64 {
    let same = x == y || x.is_nan() && y.is_nan();
    match (x - y).abs() {
        _ if same => 0.0,
        distance if distance.is_nan() => f64::INFINITY,
        distance => distance,
    }
}

/// Seconds of the fastest of several runs, or of the one that took long.
fn best_time(computation: &mut dyn Computation, device: Device) -> Result<f64> {
    let mut best = f64::INFINITY;
    let began = Instant::now();
    for run in 1.. {
        best = best.min(device.timed(|| computation.run())?.as_secs_f64());
        let spent = began.elapsed().as_secs_f64();
        if spent > 1.0 || run >= 5 && spent > 0.05 {
            break;
        }
    }
    Ok(best)
}

/// An error where not every case was a success.
pub fn verdict(rows: &[Row], device: Device) -> Result<()> {
    let failed: Vec<&Row> = rows.iter().filter(|row| row.failure.is_some()).collect();
    let Some(first) = failed.first() else { return Ok(()) };
    let found = format!(
        "{} of {}, such as {} in {}",
        failed.len(),
        rows.len(),
        first.operation,
        first.dtype
    );
    let expected = "every operation to come to the CPU's numbers";
    Err(Error::shape(device.to_string(), expected, format!("failures: {found}")))
}

#[cfg(test)]
mod tests;

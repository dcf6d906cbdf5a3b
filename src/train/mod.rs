//! Training: data, schedule, steps, and the run that ties them together.

mod data;
mod schedule;
mod trainer;

pub use data::{BASELINE_ORDER, Data, DataOptions};
pub use schedule::{Decay, Schedule};
pub use trainer::{Step, Trainer};

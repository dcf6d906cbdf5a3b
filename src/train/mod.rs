//! Training: data, schedule, steps, and the run that ties them together.

mod data;
mod run;
mod schedule;
mod trainer;

pub use data::{BASELINE_ORDER, Data, DataOptions};
pub use run::{Observer, Options, Progress, Summary, Validation, run};
pub use schedule::{Decay, Schedule};
pub use trainer::{Step, Trainer};

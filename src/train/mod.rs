//! Training: data, schedule, steps, what they take of memory, and the run that ties them together.

mod data;
mod loss_scale;
pub mod plan;
mod recipe;
mod run;
mod samples;
mod schedule;
mod trainer;

pub use data::{BASELINE_ORDER, Batches, Data, DataOptions};
pub use loss_scale::LossScale;
pub use recipe::Recipe;
pub use run::{Observer, Options, Progress, Summary, run};
pub use samples::write_texts;
pub use schedule::{Decay, Schedule};
pub use trainer::{Step, Trainer};

//! copla: a deep-learning engine for small Spanish language models.
//!
//! The house, from the ground up (a floor imports only floors below it):
//!
//! - [`error`], [`dtype`], [`shape`], [`random`]: what everything speaks of
//! - [`formats`], [`report`]: the files that hold models, and how any file is written; tables
//! - [`text`]: documents, tokenizers, batches
//! - [`cpu`], [`cuda`]: the two machines: threads, SIMD, matrix products; cards, their kernels and memory
//! - [`tensor`]: tensors, the graph behind them, the arena of parameters
//! - [`ops`]: the operations, one room each
//! - [`nn`], [`models`]: thin layers; one decoder and its dialects
//! - [`evaluate`], [`inspect`]: what a model is worth, and what it holds inside
//! - [`generate`]: text from a model
//! - [`train`]: the trainer and its runs
//! - [`info`]: what a model's directory holds, and what it takes
//! - [`doctor`]: what this machine has, and whether it computes rightly

// Documentation writes shapes as [rows, width], and a [width] alone is no link.
#![allow(rustdoc::broken_intra_doc_links)]

pub mod cpu;
pub mod cuda;
pub mod doctor;
pub mod dtype;
pub mod error;
pub mod evaluate;
pub mod formats;
pub mod generate;
pub mod info;
pub mod inspect;
pub mod models;
pub mod nn;
pub mod ops;
pub mod random;
pub mod report;
pub mod shape;
pub mod tensor;
pub mod text;
pub mod train;

pub use dtype::{DType, Element};
pub use error::{Error, Kind, Result};
pub use shape::Shape;
pub use tensor::{Device, Gradients, Group, Layout, Param, Parameters, Tensor, backward, no_grad};

//! From a file to host batches: documents, split, tokenizer, batches; the n-gram baseline; verse.
//!
//! `text` knows no tensors: what it yields are vectors of ids, of which `train` makes tensors.

pub mod batches;
mod characters;
pub mod clean;
pub mod documents;
pub mod fertility;
pub mod ngram;
mod packing;
pub mod sources;
pub mod split;
pub mod statistics;
pub mod streams;
pub mod tokenizer;
pub mod tokens;
pub mod verse;

pub use batches::{Batch, BatchOptions, Batcher, IGNORE};
pub use clean::{Cleaned, Cleaning, CleaningReport, clean};
pub use documents::{Document, Origin, embedded};
pub use fertility::Fertility;
pub use ngram::KneserNey;
pub use packing::Packing;
pub use sources::Source;
pub use split::{LeakReport, Split, SplitBy, SplitOptions, hold_out, split};
pub use statistics::Statistics;
pub use streams::Streams;
pub use tokenizer::{BpeOptions, Special, Tokenizer};
pub use tokens::Tokens;

//! The files that hold models: read as strangers wrote them, written whole or not at all.

pub mod atomic;
mod cache;
pub mod hub;
pub mod json;
pub(crate) mod mapped;
mod pickle;
pub mod safetensors;
pub mod stored;
pub mod torch;
pub mod weights;
mod zip;

pub use cache::cache_dir;

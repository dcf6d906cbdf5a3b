//! The files that hold models: read as strangers wrote them, written whole or not at all.

pub mod atomic;
pub mod json;
pub mod safetensors;

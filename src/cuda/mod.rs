//! The machine that every operation's `cuda.rs` stands on: NVIDIA's libraries, opened at run time.

pub mod library;
pub mod nvrtc;
mod search;

//! (being written)

pub mod verse;

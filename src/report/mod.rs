//! What copla shows of its results.

pub mod table;

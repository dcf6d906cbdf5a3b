//! The machine that every operation's `cpu.rs` stands on: threads, vector instructions, `f32`
//! functions that vectorise, and the matrix product.
//!
//! Everything here returns the same bits for any number of threads: work is cut by shape alone,
//! and sums have a fixed order. Like indexing a slice, a bound that does not hold panics: shapes
//! have been checked by the operation, so it is a bug in the engine and not bad input.

pub mod gemm;
pub mod math;
pub mod simd;
pub mod threads;

pub use gemm::{Mat, MatMut, gemm, gemm_serial};
pub use simd::vectorized;
pub use threads::{Disjoint, for_each, for_rows, for_rows2, map_chunks, sum_chunks};

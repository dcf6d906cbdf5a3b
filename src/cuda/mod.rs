//! The CUDA machine: cards, the kernels of `kernels/` compiled for them, memory, cuBLAS.
//!
//! CUDA is loaded at run time (`library`), so that one binary works with CUDA 12, CUDA 13 and none.
//! A [`Gpu`] is one card with one stream: whatever is asked of it happens in the order of asking, on
//! whichever thread, which is what lets freed memory be used again at once. The emulator is nothing
//! special here: it is other libraries behind the same names.

mod blas;
mod blas_lt;
mod compile;
pub mod emulator;
mod gpu;
mod kernels;
mod launch;
pub mod library;
mod memory;
pub mod nvrtc;
mod search;
mod timer;

pub use blas::{Gemm, Matrix, allow_tf32, workspace_bytes};
pub use blas_lt::Epilogue;
pub use gpu::{Gpu, count, driver, gpu, use_libraries};
pub use kernels::{HEADERS, MODULES, Module};
pub use launch::{Argument, Launch, Ptr};
pub use memory::DeviceMemory;

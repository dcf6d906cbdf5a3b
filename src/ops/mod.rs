//! The operations, one room each: mathematics, shapes, forward, backward, CPU code and proof.
//!
//! In each folder `mod.rs` has the mathematics, the checks, the public function and the backward;
//! `cpu.rs` only fills views; `tests.rs` compares with PyTorch in float64 and with finite
//! differences. An operation dispatches in three moves: check, allocate, match on the device.

/// `body` with `T` the Rust type of a dtype: for operations that only move elements.
macro_rules! with_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F16 => {
                type $T = half::f16;
                $body
            }
            $crate::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            $crate::DType::U32 => {
                type $T = u32;
                $body
            }
        }
    };
}

pub mod adamw;
pub mod attention;
pub mod binary;
pub mod cast;
pub mod compare;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
pub mod extremum;
pub mod grad_norm;
pub mod index;
pub mod layer_norm;
pub mod layout;
pub mod linear;
pub mod lstm;
pub mod matmul;
pub mod reduce;
pub mod sample;
pub mod softmax;

mod gemm;
mod pointwise;
mod strides;
#[cfg(test)]
mod testing;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// Checks that `x` has exactly these dims, for operation `op` and its argument `name`.
fn expect_dims(op: &str, name: &str, x: &Tensor, dims: &[usize]) -> Result<()> {
    if x.dims() == dims {
        return Ok(());
    }
    Err(Error::shape(format!("{op}: {name}"), format!("shape {dims:?}"), format!("{}", x.shape())))
}

/// The shape of `x` seen from `axis`: how many elements there are before it, along it and after it.
fn around(op: &str, x: &Tensor, axis: usize) -> Result<[usize; 3]> {
    let dims = x.dims();
    let Some(&size) = dims.get(axis) else {
        return Err(Error::shape(op, format!("an axis of shape {}", x.shape()), format!("{axis}")));
    };
    Ok([dims[..axis].iter().product(), size, dims[axis + 1..].iter().product()])
}

/// Checks that all tensors of an operation are on one device, and gives it.
fn same_device(op: &str, tensors: &[&Tensor]) -> Result<Device> {
    let device = tensors[0].device();
    match tensors.iter().find(|tensor| tensor.device() != device) {
        None => Ok(device),
        Some(other) => Err(Error::shape(
            op,
            format!("all tensors on {device}"),
            format!("one on {}", other.device()),
        )),
    }
}

/// The dtype of what is computed from two float tensors: theirs, or f32, which holds both.
fn joint_dtype(a: &Tensor, b: &Tensor) -> DType {
    if a.dtype() == b.dtype() { a.dtype() } else { DType::F32 }
}

/// Checks that `x` holds f32, f16 or bf16 numbers.
fn expect_float(op: &str, name: &str, x: &Tensor) -> Result<()> {
    if x.dtype().is_float() {
        return Ok(());
    }
    Err(Error::shape(format!("{op}: {name}"), "a float dtype", format!("{}", x.dtype())))
}

/// Checks that `x` holds u32 ids.
fn expect_ids(op: &str, name: &str, x: &Tensor) -> Result<()> {
    if x.dtype() == DType::U32 {
        return Ok(());
    }
    Err(Error::shape(format!("{op}: {name}"), "dtype u32", format!("{}", x.dtype())))
}

//! The keys and values of the positions that one layer has seen: what decoding does not recompute.

use super::Dims;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Buffer, Device, Tensor};

/// Keys and values, each [rows, heads, capacity, head_dim], of which the first `len` positions are
/// filled: a head's keys lie together and are streamed.
pub struct KeyValues {
    pub(super) keys: Buffer,
    pub(super) values: Buffer,
    rows: usize,
    heads: usize,
    pub(super) capacity: usize,
    head_dim: usize,
    len: usize,
}

impl KeyValues {
    pub fn new(
        [rows, heads, capacity, head_dim]: [usize; 4],
        dtype: DType,
        device: Device,
    ) -> Result<Self> {
        let buffer = || Buffer::new(device, dtype, rows * heads * capacity * head_dim);
        let (keys, values) = (buffer()?, buffer()?);
        Ok(KeyValues { keys, values, rows, heads, capacity, head_dim, len: 0 })
    }

    /// Positions seen so far.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes note of the positions that `qkv` brings, and gives the number of those before.
    pub(super) fn reserve(&mut self, qkv: &Tensor, dims: Dims) -> Result<usize> {
        let past = self.len;
        let same =
            (dims.batch, dims.heads, dims.head_dim) == (self.rows, self.heads, self.head_dim);
        if !same || past + dims.time > self.capacity {
            let expected = format!(
                "[{}, at most {}, 3, {}, {}] for a cache of {} with {past} filled",
                self.rows,
                self.capacity - past,
                self.heads,
                self.head_dim,
                self.capacity
            );
            return Err(Error::shape("cached attention", expected, format!("{}", qkv.shape())));
        }
        self.len += dims.time;
        Ok(past)
    }
}

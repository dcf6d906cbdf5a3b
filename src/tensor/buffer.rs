//! A buffer: elements of one type on one device, and the views through which operations use it.

use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::tensor::Device;
use crate::tensor::memory::Allocation;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::borrow::Cow;

pub struct Buffer {
    allocation: Allocation,
    dtype: DType,
    len: usize,
}

impl Buffer {
    /// `len` elements whose values are unspecified: whoever asks for them writes them all.
    pub fn new(device: Device, dtype: DType, len: usize) -> Result<Self> {
        let bytes = len.saturating_mul(dtype.size());
        Ok(Buffer { allocation: Allocation::new(device, bytes)?, dtype, len })
    }

    pub fn zeroed(device: Device, dtype: DType, len: usize) -> Result<Self> {
        let mut buffer = Self::new(device, dtype, len)?;
        match &mut buffer.allocation {
            Allocation::Cpu(block) => block.bytes_mut().fill(0),
            Allocation::Meta(_) => {}
        }
        Ok(buffer)
    }

    pub fn device(&self) -> Device {
        match self.allocation {
            Allocation::Cpu(_) => Device::Cpu,
            Allocation::Meta(_) => Device::Meta,
        }
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements, where they are CPU memory of type `T`.
    pub fn slice<T: Element>(&self) -> Result<&[T]> {
        match &self.allocation {
            Allocation::Cpu(block) if T::DTYPE == self.dtype => {
                Ok(bytemuck::cast_slice(&block.bytes()[..self.len * self.dtype.size()]))
            }
            Allocation::Cpu(_) | Allocation::Meta(_) => {
                Err(mismatch(self.device(), self.dtype, T::DTYPE))
            }
        }
    }

    pub fn slice_mut<T: Element>(&mut self) -> Result<&mut [T]> {
        let (len, dtype, device) = (self.len, self.dtype, self.device());
        match &mut self.allocation {
            Allocation::Cpu(block) if T::DTYPE == dtype => {
                Ok(bytemuck::cast_slice_mut(&mut block.bytes_mut()[..len * dtype.size()]))
            }
            Allocation::Cpu(_) | Allocation::Meta(_) => Err(mismatch(device, dtype, T::DTYPE)),
        }
    }

    /// The elements as f32, from any float type; borrowed where they are f32.
    pub fn read(&self) -> Result<Cow<'_, [f32]>> {
        read_f32(self, 0, self.len)
    }

    /// A buffer of its own with `len` elements from `offset`.
    pub fn copy_range(&self, offset: usize, len: usize) -> Result<Self> {
        let mut copy = Self::new(self.device(), self.dtype, len)?;
        match (&mut copy.allocation, &self.allocation) {
            (Allocation::Cpu(to), Allocation::Cpu(from)) => {
                let (start, bytes) = (offset * self.dtype.size(), len * self.dtype.size());
                to.bytes_mut()[..bytes].copy_from_slice(&from.bytes()[start..start + bytes]);
            }
            (Allocation::Meta(_), _) | (_, Allocation::Meta(_)) => {}
        }
        Ok(copy)
    }

    /// The whole buffer, to be written.
    pub fn view_mut(&mut self) -> ViewMut<'_> {
        let len = self.len;
        ViewMut { buffer: self, offset: 0, len }
    }

    /// `len` elements from `offset`, to be written.
    pub fn range_mut(&mut self, offset: usize, len: usize) -> ViewMut<'_> {
        debug_assert!(offset + len <= self.len);
        ViewMut { buffer: self, offset, len }
    }
}

/// A range of a buffer that an operation fills.
pub struct ViewMut<'a> {
    buffer: &'a mut Buffer,
    offset: usize,
    len: usize,
}

impl ViewMut<'_> {
    pub fn device(&self) -> Device {
        self.buffer.device()
    }

    pub fn dtype(&self) -> DType {
        self.buffer.dtype
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `len` elements of this range, from `offset` on.
    pub fn range(&mut self, offset: usize, len: usize) -> ViewMut<'_> {
        debug_assert!(offset + len <= self.len);
        ViewMut { buffer: self.buffer, offset: self.offset + offset, len }
    }

    /// The elements, where they are CPU memory of type `T`.
    pub fn slice<T: Element>(&mut self) -> Result<&mut [T]> {
        let range = self.offset..self.offset + self.len;
        Ok(&mut self.buffer.slice_mut::<T>()?[range])
    }

    /// Lets `f` write the elements as f32, whatever float type stores them. `f` must write all:
    /// what it finds there is unspecified.
    pub fn write<R>(&mut self, f: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
        self.through_f32(false, f)
    }

    /// Lets `f` change the elements as f32, whatever float type stores them.
    pub fn update<R>(&mut self, f: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
        self.through_f32(true, f)
    }

    fn through_f32<R>(&mut self, load: bool, f: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
        if self.dtype() == DType::F32 {
            return Ok(f(self.slice::<f32>()?));
        }
        let mut wide = Buffer::new(Device::Cpu, DType::F32, self.len)?;
        let wide = wide.slice_mut::<f32>()?;
        match self.dtype() {
            DType::F16 => {
                let narrow = self.slice::<f16>()?;
                if load {
                    narrow.convert_to_f32_slice(wide);
                }
                let result = f(wide);
                narrow.convert_from_f32_slice(wide);
                Ok(result)
            }
            DType::BF16 => {
                let narrow = self.slice::<bf16>()?;
                if load {
                    narrow.convert_to_f32_slice(wide);
                }
                let result = f(wide);
                narrow.convert_from_f32_slice(wide);
                Ok(result)
            }
            DType::F32 | DType::U32 => Err(mismatch(self.device(), self.dtype(), DType::F32)),
        }
    }
}

/// Elements of `buffer` as f32: borrowed where they are f32, converted where they are 16-bit.
pub(super) fn read_f32(buffer: &Buffer, offset: usize, len: usize) -> Result<Cow<'_, [f32]>> {
    let range = offset..offset + len;
    match buffer.dtype {
        DType::F32 => Ok(Cow::Borrowed(&buffer.slice::<f32>()?[range])),
        DType::F16 => Ok(Cow::Owned(buffer.slice::<f16>()?[range].to_f32_vec())),
        DType::BF16 => Ok(Cow::Owned(buffer.slice::<bf16>()?[range].to_f32_vec())),
        DType::U32 => Err(mismatch(buffer.device(), buffer.dtype, DType::F32)),
    }
}

fn mismatch(device: Device, dtype: DType, asked: DType) -> Error {
    Error::shape("buffer", format!("{asked} on cpu"), format!("{dtype} on {device}"))
}

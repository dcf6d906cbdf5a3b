//! A buffer: elements of one type on one device, and the views through which operations use it.

use crate::cpu::threads::for_rows;
use crate::cuda::{Gpu, Ptr};
use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::tensor::Device;
use crate::tensor::memory::Allocation;
use half::slice::HalfFloatSliceExt;
use half::vec::HalfFloatVecExt;
use half::{bf16, f16};
use std::borrow::Cow;

/// Elements of which a card gets a copy at a time: enough to keep the way there busy.
const UPLOAD: usize = 1 << 20;

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
            Allocation::Cpu(block) => block.zero(len * dtype.size()),
            // SAFETY: the memory has `len` elements of this size.
            Allocation::Cuda(memory) => unsafe {
                memory.gpu().fill(memory.start(), 0, dtype.size(), len)?
            },
            Allocation::Meta(_) => {}
        }
        Ok(buffer)
    }

    pub fn device(&self) -> Device {
        match &self.allocation {
            Allocation::Cpu(_) => Device::Cpu,
            Allocation::Cuda(memory) => Device::Cuda(memory.gpu().ordinal()),
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
            Allocation::Cpu(_) | Allocation::Cuda(_) | Allocation::Meta(_) => {
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
            Allocation::Cpu(_) | Allocation::Cuda(_) | Allocation::Meta(_) => {
                Err(mismatch(device, dtype, T::DTYPE))
            }
        }
    }

    /// The card that holds the elements.
    pub fn gpu(&self) -> Result<&'static Gpu> {
        match &self.allocation {
            Allocation::Cuda(memory) => Ok(memory.gpu()),
            Allocation::Cpu(_) | Allocation::Meta(_) => {
                Err(Error::shape("buffer", "memory of a card", format!("{}", self.device())))
            }
        }
    }

    /// The address of the element at `offset` on the card.
    pub(super) fn ptr(&self, offset: usize) -> Result<Ptr> {
        match &self.allocation {
            Allocation::Cuda(memory) => Ok(memory.start().offset(offset * self.dtype.size())),
            Allocation::Cpu(_) | Allocation::Meta(_) => self.gpu().map(|_| Ptr::NULL),
        }
    }

    /// Writes `data` over the elements from `offset` on, wherever they are.
    pub(super) fn write_range<T: Element>(&mut self, offset: usize, data: &[T]) -> Result<()> {
        debug_assert!(offset + data.len() <= self.len);
        match &mut self.allocation {
            _ if T::DTYPE != self.dtype => Err(mismatch(self.device(), self.dtype, T::DTYPE)),
            Allocation::Cpu(_) => {
                self.slice_mut::<T>()?[offset..offset + data.len()].copy_from_slice(data);
                Ok(())
            }
            // SAFETY: the range is within the buffer.
            Allocation::Cuda(memory) => unsafe {
                let to = memory.start().offset(offset * self.dtype.size());
                memory.gpu().upload(to, bytemuck::cast_slice(data))
            },
            Allocation::Meta(_) => Ok(()),
        }
    }

    /// A host copy of `len` elements from `offset` on.
    pub(super) fn read_range<T: Element>(&self, offset: usize, len: usize) -> Result<Vec<T>> {
        debug_assert!(offset + len <= self.len);
        match &self.allocation {
            Allocation::Cuda(memory) if T::DTYPE == self.dtype => {
                let mut host = vec![T::default(); len];
                let from = memory.start().offset(offset * self.dtype.size());
                // SAFETY: the range is within the buffer.
                unsafe { memory.gpu().download(bytemuck::cast_slice_mut(&mut host), from)? };
                Ok(host)
            }
            Allocation::Cpu(_) | Allocation::Cuda(_) | Allocation::Meta(_) => {
                Ok(self.slice::<T>()?[offset..offset + len].to_vec())
            }
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
            (Allocation::Cuda(to), Allocation::Cuda(from)) => {
                let (start, bytes) = (offset * self.dtype.size(), len * self.dtype.size());
                // SAFETY: the copy has `bytes`, the range is within the buffer, and they are two.
                unsafe { to.gpu().copy(to.start(), from.start().offset(start), bytes)? }
            }
            // A copy is on the device of its source, which therefore has no bytes either.
            (Allocation::Cpu(_) | Allocation::Cuda(_) | Allocation::Meta(_), _) => {}
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

    /// The card that holds the elements.
    pub fn gpu(&self) -> Result<&'static Gpu> {
        self.buffer.gpu()
    }

    /// The address of the first element on the card.
    pub fn ptr(&self) -> Result<Ptr> {
        self.buffer.ptr(self.offset)
    }

    /// Writes these numbers, rounded to the float type that stores them, wherever they are.
    pub fn store(&mut self, values: &[f32]) -> Result<()> {
        debug_assert_eq!(values.len(), self.len);
        match self.dtype() {
            DType::F32 => self.buffer.write_range(self.offset, values),
            DType::F16 => self.buffer.write_range(self.offset, &Vec::<f16>::from_f32_slice(values)),
            DType::BF16 => {
                self.buffer.write_range(self.offset, &Vec::<bf16>::from_f32_slice(values))
            }
            DType::U32 => Err(mismatch(self.device(), self.dtype(), DType::F32)),
        }
    }

    /// Writes whole rows of `width`, piece by piece on all threads: `values(first, out)` fills `out` with
    /// the elements from `first` on, which are rounded to the float type that stores them.
    pub fn fill_rows(
        &mut self,
        width: usize,
        values: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<()> {
        match (self.device(), self.dtype()) {
            (_, DType::U32) => Err(mismatch(self.device(), self.dtype(), DType::F32)),
            (Device::Meta, _) => Ok(()),
            (Device::Cpu, DType::F32) => {
                for_rows(self.slice()?, width, width, |row, out| values(row * width, out));
                Ok(())
            }
            (Device::Cpu, DType::F16) => {
                let narrow = |out: &mut [f16], wide: &[f32]| out.convert_from_f32_slice(wide);
                narrow_rows(self.slice()?, width, values, narrow);
                Ok(())
            }
            (Device::Cpu, DType::BF16) => {
                let narrow = |out: &mut [bf16], wide: &[f32]| out.convert_from_f32_slice(wide);
                narrow_rows(self.slice()?, width, values, narrow);
                Ok(())
            }
            (Device::Cuda(_), _) => {
                let piece = (UPLOAD / width.max(1)).max(1) * width;
                for first in (0..self.len).step_by(piece.max(1)) {
                    let len = piece.min(self.len - first);
                    let mut host = vec![0.0; len];
                    for_rows(&mut host, width, width, |row, out| values(first + row * width, out));
                    self.range(first, len).store(&host)?;
                }
                Ok(())
            }
        }
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
        // Not the allocator's, as the copies that `read` makes are not: a card widens in registers, and
        // what is counted is what a tensor takes on every device.
        let wide = &mut *vec![0.0; self.len];
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

/// The rows of [`ViewMut::fill_rows`] in 16 bits.
fn narrow_rows<T: Element>(
    out: &mut [T],
    width: usize,
    values: impl Fn(usize, &mut [f32]) + Sync,
    narrow: impl Fn(&mut [T], &[f32]) + Sync,
) {
    for_rows(out, width, width, |row, out| {
        let mut wide = vec![0.0; out.len()];
        values(row * width, &mut wide);
        narrow(out, &wide);
    });
}

/// Elements of `buffer` as f32: borrowed where they are f32 on the CPU, otherwise a copy.
pub(super) fn read_f32(buffer: &Buffer, offset: usize, len: usize) -> Result<Cow<'_, [f32]>> {
    let range = offset..offset + len;
    if let Allocation::Cuda(_) = buffer.allocation {
        return Ok(Cow::Owned(match buffer.dtype {
            DType::F32 => buffer.read_range::<f32>(offset, len)?,
            DType::F16 => buffer.read_range::<f16>(offset, len)?.to_f32_vec(),
            DType::BF16 => buffer.read_range::<bf16>(offset, len)?.to_f32_vec(),
            DType::U32 => return Err(mismatch(buffer.device(), buffer.dtype, DType::F32)),
        }));
    }
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

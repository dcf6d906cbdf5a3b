//! The tensor: eager, contiguous, row-major, cheap to clone; and the graph behind it.
//!
//! A tensor is a shape over a shared buffer, and perhaps an edge of the autograd graph. There are no
//! strides: a reshape is free, a permutation copies. Operations are methods that stand in
//! [`ops`](crate::ops), one folder each.

mod arena;
mod buffer;
mod cuda;
mod device;
mod graph;
mod memory;

pub use arena::{Gradients, Group, Layout, Param, Parameters, Segment};
pub use buffer::{Buffer, ViewMut};
pub use device::Device;
pub use graph::{Edge, Op, Sink, backward, grad_enabled, no_grad, with_grad};
pub use memory::{ALIGNMENT, MemoryStats, memory_stats, reset_peak};

use crate::cuda::{Gpu, Ptr};
use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::shape::Shape;
use half::{bf16, f16};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

#[derive(Clone)]
pub struct Tensor {
    buffer: Arc<Buffer>,
    /// In elements.
    offset: usize,
    shape: Shape,
    edge: Option<Edge>,
}

impl Tensor {
    /// A tensor that owns `buffer` (at least `shape.numel()` elements) and has no history.
    pub fn new(buffer: Buffer, shape: Shape) -> Self {
        debug_assert!(buffer.len() >= shape.numel());
        Tensor { buffer: Arc::new(buffer), offset: 0, shape, edge: None }
    }

    /// `data` in row-major order. On the meta device only the shape is kept.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2], Device::Cpu)?;
    /// assert_eq!(x.to_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn from_slice<T: Element>(data: &[T], dims: &[usize], device: Device) -> Result<Self> {
        let shape = Shape::new(dims)?;
        if data.len() != shape.numel() {
            let found = format!("{} values", data.len());
            return Err(Error::shape("from_slice", format!("values for shape {shape}"), found));
        }
        let mut buffer = Buffer::new(device, T::DTYPE, data.len())?;
        buffer.write_range(0, data)?;
        Ok(Tensor::new(buffer, shape))
    }

    pub fn zeros(dims: &[usize], dtype: DType, device: Device) -> Result<Self> {
        let shape = Shape::new(dims)?;
        Ok(Tensor::new(Buffer::zeroed(device, dtype, shape.numel())?, shape))
    }

    /// Every element is `value`, stored as `dtype` (for u32, rounded toward zero).
    pub fn full(value: f32, dims: &[usize], dtype: DType, device: Device) -> Result<Self> {
        let shape = Shape::new(dims)?;
        let mut buffer = Buffer::new(device, dtype, shape.numel())?;
        match (device, dtype) {
            (Device::Cpu, DType::F32) => buffer.slice_mut::<f32>()?.fill(value),
            (Device::Cpu, DType::F16) => buffer.slice_mut::<f16>()?.fill(f16::from_f32(value)),
            (Device::Cpu, DType::BF16) => buffer.slice_mut::<bf16>()?.fill(bf16::from_f32(value)),
            (Device::Cpu, DType::U32) => buffer.slice_mut::<u32>()?.fill(value as u32),
            (Device::Cuda(_), _) => cuda::fill(buffer.view_mut(), value)?,
            (Device::Meta, _) => {}
        }
        Ok(Tensor::new(buffer, shape))
    }

    /// One f32 without axes.
    pub fn scalar(value: f32, device: Device) -> Result<Self> {
        Self::full(value, &[], DType::F32, device)
    }

    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The size of each axis.
    pub fn dims(&self) -> &[usize] {
        &self.shape
    }

    pub fn numel(&self) -> usize {
        self.shape.numel()
    }

    pub fn dtype(&self) -> DType {
        self.buffer.dtype()
    }

    pub fn device(&self) -> Device {
        self.buffer.device()
    }

    /// The elements, where they are CPU memory of type `T`.
    pub fn slice<T: Element>(&self) -> Result<&[T]> {
        Ok(&self.buffer.slice::<T>()?[self.offset..self.offset + self.numel()])
    }

    /// The elements as f32, from any float type; borrowed where they are f32.
    pub fn read(&self) -> Result<Cow<'_, [f32]>> {
        buffer::read_f32(&self.buffer, self.offset, self.numel())
    }

    /// A copy of the elements, which must be of type `T`.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.buffer.read_range(self.offset, self.numel())
    }

    /// The elements as they are stored, little-endian, where they are CPU memory.
    pub fn bytes(&self) -> Result<&[u8]> {
        Ok(match self.dtype() {
            DType::F32 => bytemuck::cast_slice(self.slice::<f32>()?),
            DType::F16 => bytemuck::cast_slice(self.slice::<f16>()?),
            DType::BF16 => bytemuck::cast_slice(self.slice::<bf16>()?),
            DType::U32 => bytemuck::cast_slice(self.slice::<u32>()?),
        })
    }

    /// The same elements on `device`, without history: itself where they are there already.
    pub fn to_device(&self, device: Device) -> Result<Tensor> {
        if device == self.device() {
            return Ok(self.detach());
        }
        let (dims, dtype) = (self.dims(), self.dtype());
        if device == Device::Meta {
            return Self::zeros(dims, dtype, device);
        }
        match dtype {
            DType::F32 => Self::from_slice(&self.to_vec::<f32>()?, dims, device),
            DType::F16 => Self::from_slice(&self.to_vec::<f16>()?, dims, device),
            DType::BF16 => Self::from_slice(&self.to_vec::<bf16>()?, dims, device),
            DType::U32 => Self::from_slice(&self.to_vec::<u32>()?, dims, device),
        }
    }

    /// The card that holds the elements.
    pub fn gpu(&self) -> Result<&'static Gpu> {
        self.buffer.gpu()
    }

    /// The address of the first element on the card.
    pub fn ptr(&self) -> Result<Ptr> {
        self.buffer.ptr(self.offset)
    }

    /// The one element of a float tensor that has one.
    pub fn item(&self) -> Result<f32> {
        if self.numel() != 1 {
            return Err(Error::shape("item", "one element", format!("shape {}", self.shape)));
        }
        Ok(self.read()?[0])
    }

    /// The same elements in the same order under another shape; copies nothing.
    ///
    /// ```
    /// use copla::{DType, Device, Tensor};
    /// let x = Tensor::zeros(&[2, 6], DType::F32, Device::Cpu)?;
    /// assert_eq!(x.reshape(&[3, 4])?.dims(), [3, 4]);
    /// assert!(x.reshape(&[5]).is_err());
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn reshape(&self, dims: &[usize]) -> Result<Self> {
        let shape = Shape::new(dims)?;
        if shape.numel() != self.numel() {
            let expected = format!("a shape of {} elements", self.numel());
            return Err(Error::shape("reshape", expected, format!("{shape}")));
        }
        let reshaped = Tensor { shape, edge: None, ..self.clone() };
        Ok(reshaped.with_history(&[self], || graph::Reshape { from: self.shape }))
    }

    /// The same tensor without its history.
    pub fn detach(&self) -> Self {
        Tensor { edge: None, ..self.clone() }
    }

    /// The elements in a buffer of their own: this tensor's, where nobody else holds it and it covers
    /// all of it, otherwise a copy. So an operation that takes its input by value overwrites it.
    pub fn into_buffer(self) -> Result<Buffer> {
        let (offset, len) = (self.offset, self.numel());
        match Arc::try_unwrap(self.buffer) {
            Ok(buffer) if buffer.len() == len => Ok(buffer),
            Ok(buffer) => buffer.copy_range(offset, len),
            Err(buffer) => buffer.copy_range(offset, len),
        }
    }

    /// The tensor without its history, and the edge to it: for operations that take their input by
    /// value.
    pub fn into_parts(mut self) -> (Tensor, Option<Edge>) {
        let edge = self.edge.take();
        (self, edge)
    }

    /// The edge that a gradient for this tensor travels; `None` where none is wanted.
    pub fn edge(&self) -> Option<&Edge> {
        self.edge.as_ref()
    }

    /// The outcome of an operation on `inputs`: when gradients are on and one of them has a
    /// history, the node that `op` makes is its own. `op` saves what backward reads, detached.
    pub fn record<O: Op + 'static>(
        buffer: Buffer,
        shape: Shape,
        inputs: &[&Tensor],
        op: impl FnOnce() -> O,
    ) -> Result<Self> {
        Ok(Tensor::new(buffer, shape).with_history(inputs, op))
    }

    /// Gives `self`, fresh from an operation, its history; see [`Tensor::record`].
    pub fn with_history<O: Op + 'static>(self, inputs: &[&Tensor], op: impl FnOnce() -> O) -> Self {
        self.with_edges(inputs.iter().map(|input| input.edge.clone()).collect(), op)
    }

    /// [`Tensor::with_history`] for inputs of which only the edges are left.
    pub fn with_edges<O: Op + 'static>(
        mut self,
        inputs: Vec<Option<Edge>>,
        op: impl FnOnce() -> O,
    ) -> Self {
        if grad_enabled() && inputs.iter().any(Option::is_some) {
            self.edge = Some(Edge::new(inputs, Box::new(op())));
        }
        self
    }

    /// This tensor's elements, to be overwritten in place; copied first where they are shared.
    fn make_mut(&mut self) -> Result<ViewMut<'_>> {
        let len = self.numel();
        if Arc::get_mut(&mut self.buffer).is_none() {
            self.buffer = Arc::new(self.buffer.copy_range(self.offset, len)?);
            self.offset = 0;
        }
        match Arc::get_mut(&mut self.buffer) {
            Some(buffer) => Ok(buffer.range_mut(self.offset, len)),
            None => Err(Error::shape("make_mut", "a buffer of its own", "a shared one")),
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {} on {})", self.dtype(), self.shape, self.device())
    }
}

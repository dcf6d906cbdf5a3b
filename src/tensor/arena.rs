//! The parameter arena: values, gradients and optimiser state as ranges over one segment table.
//!
//! Segments lie in the order decay | no decay | frozen, so AdamW, the gradient norm, a checkpoint
//! and an all-reduce are each one pass over one range. Padding between segments is zero and stays
//! zero. Gradients are f32 in every dtype and cover the trainable range only.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::graph::Edge;
use crate::tensor::{ALIGNMENT, Buffer, Device, Tensor, ViewMut};
use std::ops::Range;
use std::sync::Arc;

/// A parameter's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Param(usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Trained, with weight decay: matrices and embeddings.
    Decay,
    /// Trained without weight decay: biases and norms.
    NoDecay,
    /// Neither gradient nor optimiser state.
    Frozen,
}

/// One parameter: its name in the Hugging Face file, and where it lies.
#[derive(Clone, Debug)]
pub struct Segment {
    pub name: String,
    pub shape: Shape,
    pub group: Group,
    /// In elements; a multiple of 256 bytes in every dtype.
    pub offset: usize,
}

impl Segment {
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.shape.numel()
    }
}

/// The table under construction: built once freezing is known.
#[derive(Default)]
pub struct Layout {
    segments: Vec<Segment>,
}

struct Table {
    segments: Vec<Segment>,
    /// Where the decay range ends, then the trainable one, then all, in elements.
    ends: [usize; 3],
}

impl Layout {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&mut self, name: &str, dims: &[usize], group: Group) -> Result<Param> {
        let shape = Shape::new(dims)?;
        self.segments.push(Segment { name: name.into(), shape, group, offset: 0 });
        Ok(Param(self.segments.len() - 1))
    }

    /// No parameter is trained: inference has values only.
    pub fn frozen(mut self) -> Self {
        self.segments.iter_mut().for_each(|segment| segment.group = Group::Frozen);
        self
    }

    /// How many numbers there are in all parameters, padding aside.
    pub fn count(&self) -> usize {
        self.segments.iter().map(|segment| segment.shape.numel()).sum()
    }

    /// Values of zero, to be filled with [`Parameters::set`].
    pub fn build(mut self, dtype: DType, device: Device) -> Result<Parameters> {
        // The smallest element is two bytes.
        let step = ALIGNMENT / 2;
        let mut ends = [0; 3];
        let mut end = 0;
        for group in [Group::Decay, Group::NoDecay, Group::Frozen] {
            for segment in self.segments.iter_mut().filter(|segment| segment.group == group) {
                segment.offset = end;
                end = (end + segment.shape.numel()).next_multiple_of(step);
            }
            ends[group as usize] = end;
        }
        let values = Arc::new(Buffer::zeroed(device, dtype, end)?);
        Ok(Parameters { table: Arc::new(Table { segments: self.segments, ends }), values })
    }

    /// Parameters with these f32 values, and room for their gradients: for small graphs by hand.
    pub fn build_with(
        self,
        device: Device,
        values: &[(Param, &[f32])],
    ) -> Result<(Parameters, Gradients)> {
        let mut params = self.build(DType::F32, device)?;
        for (param, values) in values {
            params.set(*param, values)?;
        }
        let grads = Gradients::new(&params)?;
        Ok((params, grads))
    }
}

/// The values of all parameters, in one buffer.
pub struct Parameters {
    table: Arc<Table>,
    values: Arc<Buffer>,
}

impl Parameters {
    pub fn device(&self) -> Device {
        self.values.device()
    }

    pub fn dtype(&self) -> DType {
        self.values.dtype()
    }

    /// Every parameter with its segment, in the order in which they were added.
    pub fn segments(&self) -> impl Iterator<Item = (Param, &Segment)> {
        self.table.segments.iter().enumerate().map(|(i, segment)| (Param(i), segment))
    }

    pub fn segment(&self, param: Param) -> &Segment {
        &self.table.segments[param.0]
    }

    /// The elements that weight decay covers, and those that are trained without it.
    pub fn trainable(&self) -> [Range<usize>; 2] {
        let [decay, trainable, _] = self.table.ends;
        [0..decay, decay..trainable]
    }

    /// How many numbers there are in all parameters, padding aside.
    pub fn count(&self) -> usize {
        self.table.segments.iter().map(|segment| segment.shape.numel()).sum()
    }

    /// The parameter as a tensor whose gradient goes to the arena.
    pub fn get(&self, param: Param) -> Tensor {
        let segment = self.segment(param);
        let trained = segment.group != Group::Frozen;
        Tensor {
            buffer: self.values.clone(),
            offset: segment.offset,
            shape: segment.shape,
            edge: trained.then_some(Edge::Param(param)),
        }
    }

    /// All values, for the optimiser. Fails while a graph or a tensor of an earlier step is alive,
    /// whose saved values would change under it.
    pub fn values_mut(&mut self) -> Result<&mut Buffer> {
        Arc::get_mut(&mut self.values).ok_or_else(|| {
            let found = "a graph or a tensor that still holds them";
            Error::shape("parameters", "no reader while they change", found)
        })
    }

    /// Writes one parameter from f32, rounded to the arena's dtype.
    pub fn set(&mut self, param: Param, values: &[f32]) -> Result<()> {
        let Segment { name, shape, .. } = self.segment(param);
        if values.len() != shape.numel() {
            let found = format!("{} values", values.len());
            return Err(Error::shape(name, format!("shape {shape}"), found));
        }
        self.fill(param, 0..values.len(), 1, |first, out| {
            out.copy_from_slice(&values[first..first + out.len()]);
        })
    }

    /// Writes the elements `range` of one parameter, rounded to the arena's dtype, piece by piece on all
    /// threads: `values(first, out)` is to fill `out` with those from `first`, counted from the range's
    /// begin, on. A piece is small and of whole rows of `width`, of which the range is made up.
    pub fn fill(
        &mut self,
        param: Param,
        range: Range<usize>,
        width: usize,
        values: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<()> {
        let Segment { name, shape, offset, .. } = self.segment(param);
        if range.end > shape.numel() || !range.len().is_multiple_of(width.max(1)) {
            let expected = format!("rows of {width} in shape {shape}");
            return Err(Error::shape(name, expected, format!("{range:?}")));
        }
        let offset = offset + range.start;
        self.values_mut()?.range_mut(offset, range.len()).fill_rows(width, values)
    }
}

/// The gradients of all trainable parameters: f32, in the parameters' own layout.
pub struct Gradients {
    table: Arc<Table>,
    sums: Arc<Buffer>,
    /// Per parameter: something was written since [`Gradients::clear`].
    written: Vec<bool>,
}

impl Gradients {
    pub fn new(params: &Parameters) -> Result<Self> {
        let [.., trainable] = params.trainable();
        let sums = Arc::new(Buffer::zeroed(params.device(), DType::F32, trainable.end)?);
        let written = vec![false; params.table.segments.len()];
        Ok(Gradients { table: params.table.clone(), sums, written })
    }

    /// Forgets all gradients. Costs nothing: the first write after it overwrites.
    pub fn clear(&mut self) {
        self.written.fill(false);
    }

    /// All gradients, padding (zero) included.
    pub fn sums(&self) -> &Buffer {
        &self.sums
    }

    /// The gradient of one parameter.
    pub fn get(&self, param: Param) -> Result<Tensor> {
        let segment = &self.table.segments[param.0];
        if !self.written[param.0] {
            return Err(Error::shape(&segment.name, "a gradient", "none was written"));
        }
        let (buffer, offset, shape) = (self.sums.clone(), segment.offset, segment.shape);
        Ok(Tensor { buffer, offset, shape, edge: None })
    }

    /// Fails, by name, when a trainable parameter received nothing: a model with a weight that
    /// takes no part in its loss is a mistake.
    pub fn require_all(&self) -> Result<()> {
        let missing = |(segment, written): (&Segment, &bool)| {
            (segment.group != Group::Frozen && !written).then(|| segment.name.clone())
        };
        match self.table.segments.iter().zip(&self.written).find_map(missing) {
            Some(name) => Err(Error::shape(name, "a gradient after a step", "none was written")),
            None => Ok(()),
        }
    }

    pub(super) fn wants(&self, param: Param) -> bool {
        self.table.segments[param.0].group != Group::Frozen
    }

    /// Where the gradient of `param` is summed, and the beta of the next write; `None` where it is
    /// frozen. Fails while somebody holds a gradient of an earlier step, which would change.
    pub(super) fn slot(&mut self, param: Param) -> Result<Option<(ViewMut<'_>, f32)>> {
        let segment = &self.table.segments[param.0];
        if segment.group == Group::Frozen {
            return Ok(None);
        }
        let sums = Arc::get_mut(&mut self.sums).ok_or_else(|| {
            Error::shape(&segment.name, "no reader of its gradient", "a tensor that holds it")
        })?;
        let beta = if std::mem::replace(&mut self.written[param.0], true) { 1.0 } else { 0.0 };
        Ok(Some((sums.range_mut(segment.offset, segment.shape.numel()), beta)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_grouped_and_aligned() {
        let mut layout = Layout::new();
        let bias = layout.add("bias", &[3], Group::NoDecay).unwrap();
        let frozen = layout.add("frozen", &[5], Group::Frozen).unwrap();
        let weight = layout.add("weight", &[7, 20], Group::Decay).unwrap();
        let params = layout.build(DType::F16, Device::Cpu).unwrap();
        let offsets = [weight, bias, frozen].map(|param| params.segment(param).offset);
        assert_eq!(offsets, [0, 256, 384]);
        assert_eq!(params.trainable(), [0..256, 256..384]);
        assert_eq!(params.count(), 3 + 5 + 140);
        assert!(params.get(frozen).edge().is_none() && params.get(bias).edge().is_some());
    }

    #[test]
    fn values_are_not_changed_under_a_reader() {
        let mut layout = Layout::new();
        let w = layout.add("w", &[2], Group::Decay).unwrap();
        let mut params = layout.build(DType::F32, Device::Cpu).unwrap();
        let reader = params.get(w);
        assert!(params.values_mut().is_err());
        drop(reader);
        params.set(w, &[1.0, 2.0]).unwrap();
        assert_eq!(params.get(w).to_vec::<f32>().unwrap(), [1.0, 2.0]);
        assert!(params.set(w, &[1.0]).is_err());
    }

    #[test]
    fn a_parameter_without_gradient_is_named() {
        let mut layout = Layout::new();
        layout.add("lonely", &[2], Group::Decay).unwrap();
        layout.add("frozen", &[2], Group::Frozen).unwrap();
        let params = layout.build(DType::F32, Device::Cpu).unwrap();
        let grads = Gradients::new(&params).unwrap();
        let error = grads.require_all().unwrap_err().to_string();
        assert_eq!(error, "lonely: expected a gradient after a step, found none was written");
    }
}

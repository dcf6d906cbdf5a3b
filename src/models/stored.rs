//! How a Hugging Face file keeps a parameter: under which names, in which layout.

use crate::error::Result;
use crate::formats::safetensors::Put;
use crate::formats::stored::StoredTensor;
use crate::tensor::{Device, Param, Parameters, Tensor};
use std::ops::Range;

/// Kept in the file as the model has it in memory, or otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    AsHere,
    /// [in, out], as `transformers`' Conv1D; here it is [out, in].
    Transposed,
    /// Queries, keys and values in turn for every head: [heads, 3, head_dim, ...]; here it is
    /// [3, heads, head_dim, ...].
    ByHead {
        heads: usize,
    },
    /// In as many matrices, which lie here one after the other: `part` is what this parameter's name
    /// says in place of theirs.
    Apart {
        part: &'static str,
        names: [&'static str; 3],
    },
}

impl Stored {
    /// The tensors of the file that make up the parameter `name`.
    pub fn names(self, name: &str) -> Vec<String> {
        match self {
            Stored::Apart { part, names } => names.map(|one| name.replace(part, one)).to_vec(),
            _ => vec![name.to_string()],
        }
    }

    /// The shape of each of them, for a parameter of the shape `here`.
    pub fn shape(self, here: &[usize]) -> Vec<usize> {
        let mut shape = here.to_vec();
        match self {
            Stored::Transposed => shape.reverse(),
            Stored::Apart { names, .. } => shape[0] /= names.len(),
            Stored::AsHere | Stored::ByHead { .. } => {}
        }
        shape
    }

    /// In which order the file has the elements of one of its tensors, of the shape `file`.
    fn order(self, file: &[usize]) -> Order {
        let numel: usize = file.iter().product();
        let outer = file.first().copied().unwrap_or(1);
        let [a, b] = match self {
            Stored::AsHere | Stored::Apart { .. } => [outer, 1],
            Stored::Transposed => [outer, numel / outer.max(1)],
            Stored::ByHead { heads } => [heads, 3],
        };
        Order { a, b, rest: numel / (a * b).max(1) }
    }

    /// Fills the parameter from the file's tensors, which have the shapes of [`Stored::shape`], in small
    /// pieces: nothing is ever in memory twice. Bad data if they are integers.
    pub fn read(
        self,
        tensors: &[StoredTensor],
        param: Param,
        params: &mut Parameters,
    ) -> Result<()> {
        for (part, tensor) in tensors.iter().enumerate() {
            let order = self.order(tensor.shape);
            let (values, numel) = (tensor.floats()?, order.numel());
            params.fill(param, part * numel..(part + 1) * numel, order.rest, |first, out| {
                order.gather(first, out, &values);
                if order.is_same() {
                    tensor.release(first, out.len());
                }
            })?;
            tensor.release(0, numel);
        }
        Ok(())
    }

    /// A parameter, or a tensor like it, as the file's tensors.
    pub fn to_file(self, tensor: &Tensor) -> Result<Vec<Tensor>> {
        let names = self.names("").len();
        let shape = self.shape(tensor.dims());
        let order = self.order(&shape);
        (0..names).map(|part| order.rows(tensor, part, 0..order.a)?.reshape(&shape)).collect()
    }

    /// Hands `put` the bytes of the file's tensor number `part`, in order and in small pieces.
    pub fn write(self, tensor: &Tensor, part: usize, put: Put) -> Result<()> {
        let order = self.order(&self.shape(tensor.dims()));
        let rows = (PIECE / (order.b * order.rest).max(1)).max(1);
        for first in (0..order.a).step_by(rows) {
            let rows = order.rows(tensor, part, first..order.a.min(first + rows))?;
            put(rows.to_device(Device::Cpu)?.bytes()?)?;
        }
        Ok(())
    }
}

/// Elements that are written at a time.
const PIECE: usize = 1 << 18;

/// The file has [a, b, rest] where it is [b, a, rest] here.
#[derive(Clone, Copy)]
struct Order {
    a: usize,
    b: usize,
    rest: usize,
}

impl Order {
    fn numel(self) -> usize {
        self.a * self.b * self.rest
    }

    fn is_same(self) -> bool {
        self.a == 1 || self.b == 1
    }

    /// Fills `out`, whole rows of `rest`, with the elements here from `first` on; `file(first, out)` reads
    /// those that the file has from `first` on.
    fn gather(self, first: usize, out: &mut [f32], file: impl Fn(usize, &mut [f32])) {
        let Order { a, b, rest } = self;
        if self.is_same() {
            return file(first, out);
        }
        let (first, rows) = (first / rest, out.len() / rest);
        let mut column = vec![0.0; rows.div_ceil(a) * rest];
        // Here row j·a + i is row i·b + j there: every a-th row here is the next one there.
        for start in 0..rows.min(a) {
            let (i, j) = ((first + start) % a, (first + start) / a);
            let column = &mut column[..(rows - start).div_ceil(a) * rest];
            file((i * b + j) * rest, column);
            for (row, values) in column.chunks(rest).enumerate() {
                let at = (start + row * a) * rest;
                out[at..at + rest].copy_from_slice(values);
            }
        }
    }

    /// The places `rows` of the file's first axis, [rows, b, rest], of the file's tensor number `part`.
    fn rows(self, here: &Tensor, part: usize, rows: Range<usize>) -> Result<Tensor> {
        let Order { a, b, rest } = self;
        let parts = here.numel() / self.numel().max(1);
        // Where there are several, b is 1: they lie one after the other.
        let here = here.detach().reshape(&[b, parts * a, rest])?;
        let here = here.narrow(1, part * a + rows.start, rows.len())?;
        if b == 1 { Ok(here) } else { here.transpose(0, 1) }
    }
}

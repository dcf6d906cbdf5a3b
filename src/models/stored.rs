//! How a Hugging Face file keeps a parameter: under which names, in which layout.

use crate::error::Result;
use crate::tensor::Tensor;

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

    /// A parameter, or a tensor like it, as the file's tensors.
    pub fn to_file(self, tensor: &Tensor) -> Result<Vec<Tensor>> {
        let tensor = tensor.detach();
        match self {
            Stored::AsHere => Ok(vec![tensor]),
            Stored::Transposed => Ok(vec![tensor.transpose(0, 1)?]),
            Stored::ByHead { heads } => Ok(vec![swap_outer(&tensor, 3, heads)?]),
            Stored::Apart { names, .. } => tensor.split(0, &[tensor.dims()[0] / names.len(); 3]),
        }
    }

    /// The file's tensors as the parameter: the way back.
    pub fn from_file(self, tensors: &[Tensor]) -> Result<Tensor> {
        let whole = Tensor::concat(&tensors.iter().collect::<Vec<_>>(), 0)?;
        match self {
            Stored::AsHere | Stored::Apart { .. } => Ok(whole),
            Stored::Transposed => whole.transpose(0, 1),
            Stored::ByHead { heads } => swap_outer(&whole, heads, 3),
        }
    }
}

/// [a·b·rest, ...] → [b·a·rest, ...].
fn swap_outer(tensor: &Tensor, a: usize, b: usize) -> Result<Tensor> {
    let rest = tensor.numel() / (a * b).max(1);
    tensor.reshape(&[a, b, rest])?.transpose(0, 1)?.reshape(tensor.dims())
}

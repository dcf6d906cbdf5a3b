//! Token embedding, with learned positions added in the same pass.
//!
//! ```text
//! y[i] = tokens[ids[i]] + positions[position_ids[i]]
//! dtokens[id] = Σ over the i with ids[i] = id of dy[i], in order; dpositions likewise
//! ```
//!
//! Equals the sum of two `torch.nn.functional.embedding`. An id beyond its table is an error on the CPU;
//! on a card, which is not waited for, its row is NaN.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use super::{expect_dims, expect_ids, index, same_device};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Buffer, Device, Op, Sink, Tensor};

impl Tensor {
    /// Rows of `self` [vocab, width] at `ids` (u32, [...]) plus, where given, rows of a table
    /// [positions, width] at ids of the same shape: [..., width] in f32, the residual stream's dtype
    /// whatever stores the tables, which is the same in both.
    ///
    /// ```
    /// use copla::{Device, Tensor};
    /// let table = Tensor::from_slice(&[0.0f32, 1.0, 2.0, 3.0], &[2, 2], Device::Cpu)?;
    /// let ids = Tensor::from_slice(&[1u32, 0, 1], &[3], Device::Cpu)?;
    /// assert_eq!(table.embedding(&ids, None)?.to_vec::<f32>()?, [2.0, 3.0, 0.0, 1.0, 2.0, 3.0]);
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn embedding(&self, ids: &Tensor, positions: Option<(&Tensor, &Tensor)>) -> Result<Tensor> {
        let op = "embedding";
        let width = check(op, self, ids)?;
        let mut device = same_device(op, &[self, ids])?;
        if let Some((table, at)) = positions {
            expect_dims(op, "position ids", at, ids.dims())?;
            let found = check(op, table, at)?;
            if table.dtype() != self.dtype() {
                let (expected, found) = (format!("dtype {}", self.dtype()), table.dtype());
                return Err(Error::shape("embedding: positions", expected, format!("{found}")));
            }
            if found != width {
                let expected = format!("rows of {width} as the tokens have");
                return Err(Error::shape("embedding: positions", expected, format!("{found}")));
            }
            device = same_device(op, &[self, table, at])?;
        }
        let shape = Shape::new(&[ids.dims(), &[width]].concat())?;
        let mut y = Buffer::new(device, DType::F32, shape.numel())?;
        match device {
            Device::Cpu => cpu::forward(y.view_mut(), self, ids, positions)?,
            Device::Cuda(_) => cuda::forward(y.view_mut(), self, ids, positions)?,
            Device::Meta => {}
        }
        let inputs: Vec<&Tensor> =
            [self].into_iter().chain(positions.map(|(table, _)| table)).collect();
        Tensor::record(y, shape, &inputs, || Embedding {
            tables: [Some((self, ids)), positions]
                .map(|pair| pair.map(|(table, at)| (table.detach(), at.clone()))),
        })
    }
}

fn check(op: &str, table: &Tensor, ids: &Tensor) -> Result<usize> {
    expect_ids(op, "ids", ids)?;
    match table.dims() {
        &[_, width] => Ok(width),
        _ => Err(Error::shape("embedding: table", "[rows, width]", format!("{}", table.shape()))),
    }
}

struct Embedding {
    /// Tokens and positions: a table and the ids that were read from it.
    tables: [Option<(Tensor, Tensor)>; 2],
}

impl Op for Embedding {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        for (input, table) in self.tables.into_iter().enumerate() {
            if let Some((table, ids)) = table
                && let Some((dtable, beta)) = to.slot(input, &table)?
            {
                // Rows at ids are index_select's along axis 0, and so is their gradient.
                let parts = [1, table.dims()[0], table.dims()[1]];
                index::add_selected(dtable, beta, &dy, parts, &ids)?;
            }
        }
        Ok(())
    }
}

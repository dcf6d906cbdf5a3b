//! An LSTM layer over a sequence.
//!
//! ```text
//! aᵢ, a_f, a_g, a_o = x_t·W_ihᵀ + b_ih + h_{t−1}·W_hhᵀ + b_hh
//! i, f, o = σ(aᵢ), σ(a_f), σ(a_o)     g = tanh(a_g)
//! c_t = f·c_{t−1} + i·g               h_t = o·tanh(c_t)                    y = h_1, h_2, …
//!
//! dc_t += dh_t·o·(1 − tanh²c_t)       dc_{t−1} = dc_t·f                    dh_t = dy_t + da_{t+1}·W_hh
//! daᵢ = dc_t·g·i(1 − i)               da_f = dc_t·c_{t−1}·f(1 − f)
//! da_g = dc_t·i·(1 − g²)              da_o = dh_t·tanh(c_t)·o(1 − o)
//! dx = da·W_ih     dW_ih = daᵀ·x      dW_hh = Σ daₜᵀ·h_{t−1}               db_ih = db_hh = Σ da
//! ```
//!
//! Where a document starts, h_{t−1} and c_{t−1} are zero, and nothing flows back to what came before: so
//! documents lie packed in a row, follow one another from call to call, or stand behind padding.
//!
//! Hochreiter, Schmidhuber, "Long Short-Term Memory" (1997), with the forget gate of Gers,
//! Schmidhuber, Cummins (2000); equals `torch.nn.LSTM(batch_first=True)` with its gates in their
//! order. What x brings to the gates is one product for all steps, and so are the gradients of both
//! weights; a step is one product and one pass over its gates.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use super::{expect_dims, expect_float, expect_ids, linear, same_device};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Buffer, Device, Op, Sink, Tensor, no_grad};
use std::sync::{Arc, Mutex, PoisonError};

impl Tensor {
    /// `self` [batch, time, input] through a layer of weights `w_ih` [4·hidden, input] and `w_hh`
    /// [4·hidden, hidden] with biases [4·hidden], from the state (h0, c0), each [batch, hidden]: the
    /// outputs [batch, time, hidden] and the last state, (y, (h, c)). All are of one float dtype but
    /// the cell, which is f32 as every sum that grows over time.
    ///
    /// `positions` (u32, [batch, time]) are places in documents: one starts wherever they are 0. Without
    /// them a row goes on from its state to its end.
    ///
    /// ```
    /// use copla::{DType, Device, Tensor};
    /// let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, Device::Cpu);
    /// let (x, bias, state) = (zeros(&[1, 7, 3])?, zeros(&[20])?, zeros(&[1, 5])?);
    /// let (w_ih, w_hh) = (zeros(&[20, 3])?, zeros(&[20, 5])?);
    /// let (y, (h, c)) = x.lstm(&w_ih, &w_hh, &bias, &bias, (&state, &state), None)?;
    /// assert_eq!((y.dims(), h.dims(), c.dims()), (&[1, 7, 5][..], &[1, 5][..], &[1, 5][..]));
    /// # Ok::<(), copla::Error>(())
    /// ```
    pub fn lstm(
        &self,
        w_ih: &Tensor,
        w_hh: &Tensor,
        b_ih: &Tensor,
        b_hh: &Tensor,
        (h0, c0): (&Tensor, &Tensor),
        positions: Option<&Tensor>,
    ) -> Result<(Tensor, (Tensor, Tensor))> {
        let inputs = [self, w_ih, w_hh, b_ih, b_hh, h0, c0];
        let sizes = Sizes::check(inputs, positions)?;
        let Sizes { device, batch, time, hidden } = sizes;
        let dtype = self.dtype();
        let gates = no_grad(|| self.linear_f32(w_ih))?.into_buffer()?;
        let cells = Buffer::new(device, DType::F32, batch * time * hidden)?;
        let y = Buffer::new(device, dtype, batch * time * hidden)?;
        let c = c0.detach().into_buffer()?;
        let positions = positions.cloned();
        let mut run = Run { sizes, positions, y, c, gates, cells };
        let (mut h, biases) = (h0.detach(), [b_ih, b_hh]);
        for t in 0..time {
            let recurrent = no_grad(|| h.linear_f32(w_hh))?;
            let mut next = Buffer::new(device, dtype, batch * hidden)?;
            match device {
                Device::Cpu => cpu::step(&mut run, next.view_mut(), &recurrent, biases, t)?,
                Device::Cuda(_) => cuda::step(&mut run, next.view_mut(), &recurrent, biases, t)?,
                Device::Meta => {}
            }
            h = Tensor::new(next, *h0.shape());
        }
        let Run { positions, y, c, gates, cells, .. } = run;
        let last = Arc::new(Mutex::new([None, None]));
        let y = Tensor::new(y, Shape::new(&[batch, time, hidden])?);
        let outputs = y.clone();
        let y = y.with_history(&inputs, || Lstm {
            sizes,
            inputs: inputs.map(Tensor::detach),
            positions,
            y: outputs,
            gates,
            cells,
            last: last.clone(),
        });
        let state = |state: Tensor, which: usize| {
            let (y, last) = (y.clone(), last.clone());
            state.with_history(&[&y], || Last { y: y.detach(), which, last })
        };
        let (h, c) = (state(h, 0), state(Tensor::new(c, *c0.shape()), 1));
        Ok((y, (h, c)))
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    device: Device,
    batch: usize,
    time: usize,
    hidden: usize,
}

impl Sizes {
    fn check(tensors: [&Tensor; 7], positions: Option<&Tensor>) -> Result<Self> {
        let op = "lstm";
        let [x, w_ih, w_hh, b_ih, b_hh, h0, c0] = tensors;
        let all: Vec<&Tensor> = tensors.into_iter().chain(positions).collect();
        let device = same_device(op, &all)?;
        let (batch, time, input, hidden) = match (x.dims(), w_hh.dims()) {
            (&[batch, time, input], &[_, hidden]) if time > 0 => (batch, time, input, hidden),
            _ => {
                let expected =
                    "[batch, time, input] of a step or more, and w_hh [4·hidden, hidden]";
                let found = format!("{} and {}", x.shape(), w_hh.shape());
                return Err(Error::shape("lstm: input", expected, found));
            }
        };
        let gates = 4 * hidden;
        for (name, tensor, dims) in [
            ("w_ih", w_ih, &[gates, input][..]),
            ("w_hh", w_hh, &[gates, hidden]),
            ("b_ih", b_ih, &[gates]),
            ("b_hh", b_hh, &[gates]),
            ("h0", h0, &[batch, hidden]),
            ("c0", c0, &[batch, hidden]),
        ] {
            expect_dims(op, name, tensor, dims)?;
            let dtype = if name == "c0" { DType::F32 } else { x.dtype() };
            if tensor.dtype() != dtype {
                let (expected, found) = (format!("dtype {dtype}"), tensor.dtype().to_string());
                return Err(Error::shape(format!("lstm: {name}"), expected, found));
            }
        }
        expect_float(op, "input", x)?;
        if let Some(positions) = positions {
            expect_dims(op, "positions", positions, &[batch, time])?;
            expect_ids(op, "positions", positions)?;
        }
        Ok(Sizes { device, batch, time, hidden })
    }
}

/// A forward under way.
struct Run {
    sizes: Sizes,
    positions: Option<Tensor>,
    /// [batch, time, hidden], as far as it is known.
    y: Buffer,
    /// [batch, hidden] in f32, after the last step that was made.
    c: Buffer,
    /// [batch, time, 4·hidden] in f32: what x brings to the gates, and in steps that were made their
    /// values.
    gates: Buffer,
    /// c of all steps, [batch, time, hidden].
    cells: Buffer,
}

/// Gradients of the last h and c, which wait until that of y is there.
type LastGradients = Arc<Mutex<[Option<Tensor>; 2]>>;

struct Lstm {
    sizes: Sizes,
    inputs: [Tensor; 7],
    positions: Option<Tensor>,
    y: Tensor,
    gates: Buffer,
    cells: Buffer,
    last: LastGradients,
}

/// A backward under way.
struct RunBackward<'a> {
    forward: &'a Lstm,
    /// In f32.
    dy: Tensor,
    /// da, [batch, time, 4·hidden].
    dgates: Buffer,
    /// da_{t+1}·W_hh and dc_t, [batch, hidden] in f32.
    dh: Buffer,
    dc: Buffer,
}

impl Op for Lstm {
    fn backward(self: Box<Self>, dy: Tensor, to: &mut Sink) -> Result<()> {
        let Sizes { device, batch, time, hidden } = self.sizes;
        let [x, w_ih, w_hh, b_ih, b_hh, h0, c0] = &self.inputs;
        let dtype = x.dtype();
        let last = std::mem::take(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner));
        let [dh, dc] = last.map(|grad| match grad {
            Some(grad) => grad.cast(DType::F32)?.into_buffer(),
            None => Buffer::zeroed(device, DType::F32, batch * hidden),
        });
        let dgates = Buffer::new(device, dtype, batch * time * 4 * hidden)?;
        let dy = dy.cast(DType::F32)?;
        let mut run = RunBackward { forward: &self, dy, dgates, dh: dh?, dc: dc? };
        for t in (0..time).rev() {
            let mut da = Buffer::new(device, dtype, batch * 4 * hidden)?;
            match device {
                Device::Cpu => cpu::step_backward(&mut run, da.view_mut(), t)?,
                Device::Cuda(_) => cuda::step_backward(&mut run, da.view_mut(), t)?,
                Device::Meta => {}
            }
            let da = Tensor::new(da, Shape::new(&[batch, 4 * hidden])?);
            linear::add_dx(run.dh.view_mut(), 0.0, &da, w_hh)?;
        }
        let RunBackward { dgates, dh, dc, .. } = run;
        let da = Tensor::new(dgates, Shape::new(&[batch, time, 4 * hidden])?);
        if let Some((dx, beta)) = to.slot(0, x)? {
            linear::add_dx(dx, beta, &da, w_ih)?;
        }
        if let Some((dw_ih, beta)) = to.slot(1, w_ih)? {
            linear::add_dweight(dw_ih, beta, &da, x)?;
        }
        if let Some((dw_hh, beta)) = to.slot(2, w_hh)? {
            let earlier = self.y.narrow(1, 0, time - 1)?;
            let mut before = Tensor::concat(&[&h0.unsqueeze(1)?, &earlier], 1)?;
            if let Some(positions) = &self.positions {
                let goes_on = positions.ne(&Tensor::zeros(&[1], DType::U32, device)?)?;
                before = before.mul(&goes_on.cast(dtype)?.unsqueeze(2)?)?;
            }
            linear::add_dweight(dw_hh, beta, &da, &before)?;
        }
        for (input, bias) in [(3, b_ih), (4, b_hh)] {
            if let Some((dbias, beta)) = to.slot(input, bias)? {
                linear::add_column_sums(dbias, beta, &da)?;
            }
        }
        to.give(5, Tensor::new(dh, *h0.shape()).cast(dtype)?)?;
        to.give(6, Tensor::new(dc, *c0.shape()))
    }
}

/// The last h (0) or c (1): an output of the same operation as y, which has the one backward.
struct Last {
    y: Tensor,
    which: usize,
    last: LastGradients,
}

impl Op for Last {
    fn backward(self: Box<Self>, grad: Tensor, to: &mut Sink) -> Result<()> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)[self.which] = Some(grad);
        // So that the backward of y runs even where nothing else depends on y.
        to.give(0, Tensor::zeros(self.y.dims(), self.y.dtype(), self.y.device())?)
    }
}

//! One step of the LSTM on the CPU: all gates of a row in one pass.

use super::{Run, RunBackward, Sizes};
use crate::cpu::{math, vectorized};
use crate::error::Result;
use crate::tensor::{Tensor, ViewMut};

/// h and what `run` has of step t, from the products of both weights.
pub(super) fn step(
    run: &mut Run,
    mut h: ViewMut,
    recurrent: &Tensor,
    [b_ih, b_hh]: [&Tensor; 2],
    t: usize,
) -> Result<()> {
    let Sizes { time, hidden, .. } = run.sizes;
    let starts = starts(&run.positions)?;
    let (recurrent, b_ih, b_hh) = (recurrent.read()?, b_ih.read()?, b_hh.read()?);
    let all_gates = run.gates.slice_mut::<f32>()?;
    let (all_cells, all_c) = (run.cells.slice_mut::<f32>()?, run.c.slice_mut::<f32>()?);
    let y = &mut run.y;
    h.write(|h| {
        for (row, h) in h.chunks_exact_mut(hidden).enumerate() {
            let at = row * time + t;
            let gates = &mut all_gates[at * 4 * hidden..][..4 * hidden];
            let recurrent = &recurrent[row * 4 * hidden..];
            let cells = &mut all_cells[at * hidden..][..hidden];
            let c = &mut all_c[row * hidden..][..hidden];
            let carried = if starts(at) { 0.0 } else { 1.0 };
            vectorized(
                #[inline(always)]
                || {
                    let sums = gates.iter_mut().zip(recurrent).zip(b_ih.iter()).zip(b_hh.iter());
                    for (((gate, recurrent), b_ih), b_hh) in sums {
                        *gate += carried * recurrent + b_ih + b_hh;
                    }
                    let [input, forget, candidate, output] = quarters(gates);
                    for j in 0..hidden {
                        input[j] = math::sigmoid(input[j]);
                        forget[j] = math::sigmoid(forget[j]);
                        candidate[j] = math::tanh(candidate[j]);
                        output[j] = math::sigmoid(output[j]);
                        c[j] = forget[j] * (carried * c[j]) + input[j] * candidate[j];
                        h[j] = output[j] * math::tanh(c[j]);
                    }
                },
            );
            cells.copy_from_slice(c);
            y.range_mut(at * hidden, hidden).store(h)?;
        }
        Ok(())
    })?
}

/// da of step t among all, and for the step before what of it goes back, and dc.
pub(super) fn step_backward(run: &mut RunBackward, mut da: ViewMut, t: usize) -> Result<()> {
    let RunBackward { forward, dy, dgates, dh, dc } = run;
    let Sizes { time, hidden, .. } = forward.sizes;
    let [.., c0] = &forward.inputs;
    let starts = starts(&forward.positions)?;
    let (gates, cells) = (forward.gates.slice::<f32>()?, forward.cells.slice::<f32>()?);
    let (dy, c0) = (dy.slice::<f32>()?, c0.slice::<f32>()?);
    let (dh, dc) = (dh.slice::<f32>()?, dc.slice_mut::<f32>()?);
    da.write(|da| {
        for (row, da) in da.chunks_exact_mut(4 * hidden).enumerate() {
            let at = row * time + t;
            let [input, forget, candidate, output] =
                [0, 1, 2, 3].map(|gate| &gates[(4 * at + gate) * hidden..][..hidden]);
            let before = if t == 0 { &c0[row * hidden..] } else { &cells[(at - 1) * hidden..] };
            let (before, cells) = (&before[..hidden], &cells[at * hidden..][..hidden]);
            let (dy, dh) = (&dy[at * hidden..][..hidden], &dh[row * hidden..][..hidden]);
            let dc = &mut dc[row * hidden..][..hidden];
            let carried = if starts(at) { 0.0 } else { 1.0 };
            vectorized(
                #[inline(always)]
                || {
                    let [dinput, dforget, dcandidate, doutput] = quarters(da);
                    for j in 0..hidden {
                        let (i, f, g, o) = (input[j], forget[j], candidate[j], output[j]);
                        let squashed = math::tanh(cells[j]);
                        let dout = dy[j] + dh[j];
                        let dcell = dc[j] + dout * o * (1.0 - squashed * squashed);
                        dinput[j] = dcell * g * i * (1.0 - i);
                        dforget[j] = dcell * (carried * before[j]) * f * (1.0 - f);
                        dcandidate[j] = dcell * i * (1.0 - g * g);
                        doutput[j] = dout * squashed * o * (1.0 - o);
                        dc[j] = carried * dcell * f;
                    }
                },
            );
            dgates.range_mut(at * 4 * hidden, 4 * hidden).store(da)?;
            if starts(at) {
                da.fill(0.0);
            }
        }
        Ok(())
    })?
}

/// Whether a document starts at an index of [batch, time].
fn starts(positions: &Option<Tensor>) -> Result<impl Fn(usize) -> bool> {
    let positions = positions.as_ref().map(Tensor::slice::<u32>).transpose()?;
    Ok(move |at: usize| positions.is_some_and(|positions| positions[at] == 0))
}

/// The four gates of a row.
#[inline(always)]
fn quarters(row: &mut [f32]) -> [&mut [f32]; 4] {
    let (front, back) = row.split_at_mut(row.len() / 2);
    let (input, forget) = front.split_at_mut(front.len() / 2);
    let (candidate, output) = back.split_at_mut(back.len() / 2);
    [input, forget, candidate, output]
}

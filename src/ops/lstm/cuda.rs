//! One step of the LSTM on CUDA: all gates in one launch (`kernels/lstm.cu`).

use super::{Run, RunBackward, Sizes};
use crate::error::Result;
use crate::tensor::{Tensor, ViewMut};

const THREADS: usize = 256;

/// h and what `run` has of step t, from the products of both weights.
pub(super) fn step(
    run: &mut Run,
    h: ViewMut,
    recurrent: &Tensor,
    [b_ih, b_hh]: [&Tensor; 2],
    t: usize,
) -> Result<()> {
    let (gpu, Sizes { time, hidden, .. }) = (h.gpu()?, run.sizes);
    let launch = gpu
        .kernel("lstm", format!("lstm_step_{}", h.dtype()))
        .grid(gpu.blocks(h.len(), THREADS), 1, 1)
        .block(THREADS)
        .arg(&run.y)
        .arg(&h)
        .arg(&run.c)
        .arg(&run.gates)
        .arg(&run.cells)
        .arg(recurrent)
        .arg(b_ih)
        .arg(b_hh)
        .arg(run.positions.as_ref())
        .arg(h.len() as u64)
        .arg(time as u32)
        .arg(hidden as u32)
        .arg(t as u32);
    // SAFETY: h has batch·hidden elements, and everything else its sizes times as many, as mod.rs
    // allocated and `Sizes::check` compared; t is below `time`.
    unsafe { launch.run() }
}

/// da of step t among all, and for the step before what of it goes back, and dc.
pub(super) fn step_backward(run: &mut RunBackward, da: ViewMut, t: usize) -> Result<()> {
    let RunBackward { forward, dy, dgates, dh, dc } = run;
    let [.., c0] = &forward.inputs;
    let (gpu, Sizes { batch, time, hidden, .. }) = (da.gpu()?, forward.sizes);
    let launch = gpu
        .kernel("lstm", format!("lstm_step_backward_{}", da.dtype()))
        .grid(gpu.blocks(batch * hidden, THREADS), 1, 1)
        .block(THREADS)
        .arg(&*dgates)
        .arg(&da)
        .arg(&*dc)
        .arg(&*dh)
        .arg(&*dy)
        .arg(&forward.gates)
        .arg(&forward.cells)
        .arg(c0)
        .arg(forward.positions.as_ref())
        .arg((batch * hidden) as u64)
        .arg(time as u32)
        .arg(hidden as u32)
        .arg(t as u32);
    // SAFETY: as in `step`; da has four numbers for each of batch·hidden elements.
    unsafe { launch.run() }
}

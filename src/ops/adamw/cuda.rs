//! AdamW on CUDA: one launch over the trainable range (`kernels/adamw.cu`).

use super::{AdamW, Factors, Moments};
use crate::error::Result;
use crate::tensor::{Buffer, Parameters, Tensor};
use bytemuck::NoUninit;

const THREADS: usize = 256;

/// What stays the same over a run, as the kernel takes it.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Rule {
    beta1: f32,
    beta2: f32,
    eps: f32,
}

/// Values up to `decay_end` decay, the rest of the moments' range does not.
pub(super) fn step(
    &AdamW { beta1, beta2, eps, .. }: &AdamW,
    values: &mut Buffer,
    grads: &Buffer,
    moments: &mut Moments,
    decay_end: usize,
    norm: &Tensor,
    factors: Factors,
) -> Result<()> {
    let factors: [f32; Factors::COUNT] = bytemuck::cast(factors);
    moments.factors.view_mut().store(&factors)?;
    let (gpu, trainable) = (values.gpu()?, moments.m.len());
    let launch = gpu
        .kernel("adamw", format!("adamw_step_{}", values.dtype()))
        .grid(gpu.blocks(trainable / 4, THREADS), 1, 1)
        .block(THREADS)
        .arg(&*values)
        .arg(moments.master.as_ref().unwrap_or(values))
        .arg(&moments.m)
        .arg(&moments.v)
        .arg(grads)
        .arg(norm)
        .arg(&moments.factors)
        .arg_bytes(&Rule { beta1, beta2, eps })
        .arg(decay_end as u64)
        .arg(trainable as u64);
    // SAFETY: all five begin at a multiple of 256 bytes and have at least the trainable elements, of
    // which the arena makes whole packs of four, as it does of those that decay; f32 values are the
    // master themselves.
    unsafe { launch.run() }
}

/// The trainable values as f32.
pub(super) fn widen(master: &mut Buffer, params: &Parameters) -> Result<()> {
    let gpu = master.gpu()?;
    for (param, segment) in params.segments() {
        let (values, range) = (params.get(param), segment.range());
        if range.end > master.len() {
            continue;
        }
        let launch = gpu
            .kernel("adamw", format!("adamw_widen_{}", values.dtype()))
            .grid(gpu.blocks(range.len(), THREADS), 1, 1)
            .block(THREADS)
            .arg(master.range_mut(range.start, range.len()))
            .arg(&values)
            .arg(range.len() as u64);
        // SAFETY: both have the segment's elements, of the types in the name.
        unsafe { launch.run()? };
    }
    Ok(())
}

//! AdamW on the CPU: four streams, each number read and written once.

use super::{AdamW, Moments, StepState};
use crate::cpu::{Disjoint, for_each, vectorized};
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::{Buffer, Parameters};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::ops::Range;

/// Elements of one task.
const BLOCK: usize = 1 << 15;

pub(super) fn step(
    rule: AdamW,
    values: &mut Buffer,
    grads: &Buffer,
    moments: &mut Moments,
    range: Range<usize>,
    state: StepState,
) -> Result<()> {
    let grads = &grads.slice::<f32>()?[range.clone()];
    let m = &mut moments.m.slice_mut::<f32>()?[range.clone()];
    let v = &mut moments.v.slice_mut::<f32>()?[range.clone()];
    let Some(master) = &mut moments.master else {
        update(rule, &mut values.slice_mut::<f32>()?[range], grads, m, v, state);
        return Ok(());
    };
    let master = &mut master.slice_mut::<f32>()?[range.clone()];
    update(rule, master, grads, m, v, state);
    match values.dtype() {
        DType::F16 => values.slice_mut::<f16>()?[range].convert_from_f32_slice(master),
        DType::BF16 => values.slice_mut::<bf16>()?[range].convert_from_f32_slice(master),
        DType::F32 | DType::U32 => values.slice_mut::<f32>()?[range].copy_from_slice(master),
    }
    Ok(())
}

fn update(
    rule: AdamW,
    values: &mut [f32],
    grads: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    state: StepState,
) {
    let AdamW { beta1, beta2, eps, weight_decay } = rule;
    // The corrections in f64, as PyTorch has them: 1 − β₂ᵗ loses digits in f32 at the first steps.
    let t = state.step as i32;
    let correction1 = 1.0 - f64::from(beta1).powi(t);
    let correction2 = 1.0 - f64::from(beta2).powi(t);
    let rate = (f64::from(state.learning_rate) / correction1) as f32;
    let root = correction2.sqrt() as f32;
    let keep = (1.0 - f64::from(state.learning_rate) * f64::from(weight_decay)) as f32;
    let n = values.len();
    let (values, m, v) = (Disjoint::new(values), Disjoint::new(m), Disjoint::new(v));
    for_each(n.div_ceil(BLOCK), |block| {
        let at = block * BLOCK..n.min((block + 1) * BLOCK);
        // SAFETY (all three): blocks do not overlap, and each is handed out once.
        let (values, m, v) = unsafe {
            (values.slice_mut(at.clone()), m.slice_mut(at.clone()), v.slice_mut(at.clone()))
        };
        vectorized(
            #[inline(always)]
            || {
                for (((value, grad), m), v) in values.iter_mut().zip(&grads[at]).zip(m).zip(v) {
                    let g = grad * state.grad_scale;
                    *m = beta1 * *m + (1.0 - beta1) * g;
                    *v = beta2 * *v + (1.0 - beta2) * g * g;
                    *value = *value * keep - rate * *m / (v.sqrt() / root + eps);
                }
            },
        )
    });
}

/// The trainable values as f32.
pub(super) fn widen(master: &mut Buffer, params: &Parameters) -> Result<()> {
    let master = master.slice_mut::<f32>()?;
    for (param, segment) in params.segments() {
        if segment.range().end <= master.len() {
            master[segment.range()].copy_from_slice(&params.get(param).read()?);
        }
    }
    Ok(())
}

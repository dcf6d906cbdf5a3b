//! AdamW on the CPU: four streams, each number read and written once.

use super::{AdamW, Factors, Moments};
use crate::cpu::{Disjoint, for_each, vectorized};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::grad_norm::clip_factor;
use crate::tensor::{Buffer, Parameters, Tensor};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Elements of one task.
const BLOCK: usize = 1 << 15;

/// Values up to `decay_end` decay, the rest of the moments' range does not.
pub(super) fn step(
    rule: &AdamW,
    values: &mut Buffer,
    grads: &Buffer,
    moments: &mut Moments,
    decay_end: usize,
    norm: &Tensor,
    factors: Factors,
) -> Result<()> {
    let norm = norm.item()?;
    if !norm.is_finite() {
        return Ok(());
    }
    let Factors { keep, max_grad_norm, loss_scale, .. } = factors;
    let grad_scale = clip_factor(norm / loss_scale, max_grad_norm) / loss_scale;
    for (range, keep) in [(0..decay_end, keep), (decay_end..moments.m.len(), 1.0)] {
        let grads = &grads.slice::<f32>()?[range.clone()];
        let m = &mut moments.m.slice_mut::<f32>()?[range.clone()];
        let v = &mut moments.v.slice_mut::<f32>()?[range.clone()];
        let factors = Factors { keep, ..factors };
        let Some(master) = &mut moments.master else {
            let values = &mut values.slice_mut::<f32>()?[range];
            update(rule, values, grads, m, v, grad_scale, factors);
            continue;
        };
        let master = &mut master.slice_mut::<f32>()?[range.clone()];
        update(rule, master, grads, m, v, grad_scale, factors);
        match values.dtype() {
            DType::F16 => values.slice_mut::<f16>()?[range].convert_from_f32_slice(master),
            DType::BF16 => values.slice_mut::<bf16>()?[range].convert_from_f32_slice(master),
            DType::F32 | DType::U32 => values.slice_mut::<f32>()?[range].copy_from_slice(master),
        }
    }
    Ok(())
}

fn update(
    rule: &AdamW,
    values: &mut [f32],
    grads: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    grad_scale: f32,
    factors: Factors,
) {
    let &AdamW { beta1, beta2, eps, .. } = rule;
    let Factors { rate, root, keep, .. } = factors;
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
                    let g = grad * grad_scale;
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

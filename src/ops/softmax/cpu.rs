//! Softmax on the CPU: rows in parallel, three passes over each while it is in the cache.

use super::Form;
use crate::cpu::{for_rows, math, simd, vectorized};
use crate::error::Result;
use crate::tensor::{Tensor, ViewMut};

/// Rough cost of a number, for cutting the work.
const COST: usize = 24;
/// Numbers of a row that are summed in f32 before they join its f64 sum.
const BLOCK: usize = 1024;

pub(super) fn forward(mut y: ViewMut, form: Form, x: &Tensor) -> Result<()> {
    let width = x.shape().last_dim();
    let x = x.read()?;
    y.write(|y| {
        for_rows(y, width, width * COST, |first, y| {
            let x = &x[first * width..][..y.len()];
            vectorized(
                #[inline(always)]
                || {
                    for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        row(y, form, x);
                    }
                },
            )
        })
    })
}

#[inline(always)]
fn row(y: &mut [f32], form: Form, x: &[f32]) {
    let largest = simd::max(x);
    for (y, x) in y.iter_mut().zip(x) {
        *y = math::exp(x - largest);
    }
    let sum: f64 = y.chunks(BLOCK).map(|y| f64::from(simd::sum(y))).sum();
    match form {
        Form::Plain => simd::scale(y, (1.0 / sum) as f32),
        Form::Log => {
            let log_sum = sum.ln() as f32;
            for (y, x) in y.iter_mut().zip(x) {
                *y = (x - largest) - log_sum;
            }
        }
    }
}

/// dx = beta·dx + the gradient that comes through.
pub(super) fn add_dx(
    mut dx: ViewMut,
    beta: f32,
    form: Form,
    dy: &Tensor,
    y: &Tensor,
) -> Result<()> {
    let width = y.shape().last_dim();
    let (dy, y) = (dy.read()?, y.read()?);
    dx.update(|dx| {
        for_rows(dx, width, width * COST, |first, dx| {
            let at = first * width..first * width + dx.len();
            let (dy, y) = (&dy[at.clone()], &y[at]);
            vectorized(
                #[inline(always)]
                || {
                    let rows = dy.chunks_exact(width).zip(y.chunks_exact(width));
                    for (dx, (dy, y)) in dx.chunks_exact_mut(width).zip(rows) {
                        if beta == 0.0 {
                            dx.fill(0.0);
                        }
                        add_row(dx, form, dy, y);
                    }
                },
            )
        })
    })
}

#[inline(always)]
fn add_row(dx: &mut [f32], form: Form, dy: &[f32], y: &[f32]) {
    let blocks = dy.chunks(BLOCK).zip(y.chunks(BLOCK));
    let places = dx.iter_mut().zip(dy.iter().zip(y));
    match form {
        Form::Plain => {
            let sum: f64 = blocks.map(|(dy, y)| f64::from(simd::dot(dy, y))).sum();
            let sum = sum as f32;
            places.for_each(|(dx, (dy, y))| *dx += y * (dy - sum));
        }
        Form::Log => {
            let sum: f64 = blocks.map(|(dy, _)| f64::from(simd::sum(dy))).sum();
            let sum = sum as f32;
            places.for_each(|(dx, (dy, y))| *dx += dy - math::exp(*y) * sum);
        }
    }
}

//! Linear on the CPU: three matrix products, and passes over rows around them.

use super::Activation;
use crate::cpu::{Mat, MatMut, for_rows, gemm, math, simd, vectorized};
use crate::error::Result;
use crate::tensor::{Tensor, ViewMut};

/// Numbers that an elementwise chunk takes as one row.
const BLOCK: usize = 4096;
/// Rough cost of GELU for one number.
const GELU_COST: usize = 24;

/// A tensor [..., cols] seen as a matrix.
macro_rules! mat {
    ($values:expr, $tensor:expr) => {
        Mat::new($values, $tensor.shape().rows(), $tensor.shape().last_dim())
    };
}

/// u = x·Wᵀ + bias, and y = activation(u) where there is a y.
pub(super) fn affine(
    mut u: ViewMut,
    y: Option<ViewMut>,
    activation: Activation,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<()> {
    let outputs = weight.dims()[0];
    let (x_values, w_values) = (x.read()?, weight.read()?);
    let bias = bias.map(Tensor::read).transpose()?;
    u.write(|u| {
        let mut beta = 0.0;
        if let Some(bias) = bias {
            // The bias goes first and the product is added to it: no pass over u afterwards.
            beta = 1.0;
            for_rows(u, outputs, outputs, |_, rows| {
                rows.chunks_exact_mut(outputs).for_each(|row| row.copy_from_slice(&bias));
            });
        }
        let product = MatMut::new(&mut *u, x.shape().rows(), outputs);
        gemm(1.0, mat!(&x_values, x), mat!(&w_values, weight).t(), beta, product);
        y.map_or(Ok(()), |y| activate(y, u, activation))
    })?
}

fn activate(mut y: ViewMut, u: &[f32], activation: Activation) -> Result<()> {
    y.write(|y| match activation {
        Activation::Identity => y.copy_from_slice(u),
        Activation::GeluTanh => map(
            y,
            u,
            #[inline(always)]
            |_, u| math::gelu_tanh(u),
        ),
        Activation::GeluErf => map(
            y,
            u,
            #[inline(always)]
            |_, u| math::gelu_erf(u),
        ),
    })
}

/// du = du·activation'(u).
pub(super) fn times_gradient(mut du: ViewMut, u: &Tensor, activation: Activation) -> Result<()> {
    let u = u.read()?;
    du.update(|du| match activation {
        Activation::Identity => {}
        Activation::GeluTanh => map(
            du,
            &u,
            #[inline(always)]
            |d, u| d * math::gelu_tanh_grad(u),
        ),
        Activation::GeluErf => map(
            du,
            &u,
            #[inline(always)]
            |d, u| d * math::gelu_erf_grad(u),
        ),
    })
}

/// y = f(y, u), element by element.
#[inline(always)]
fn map(y: &mut [f32], u: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    let whole = y.len() - y.len() % BLOCK;
    let (blocks, rest) = y.split_at_mut(whole);
    let run = |first: usize, y: &mut [f32]| {
        vectorized(
            #[inline(always)]
            || {
                for (y, u) in y.iter_mut().zip(&u[first..]) {
                    *y = f(*y, *u);
                }
            },
        )
    };
    for_rows(blocks, BLOCK, BLOCK * GELU_COST, |first, y| run(first * BLOCK, y));
    run(whole, rest);
}

/// dx = beta·dx + du·W.
pub(super) fn add_dx(mut dx: ViewMut, beta: f32, du: &Tensor, weight: &Tensor) -> Result<()> {
    let (du_values, w_values) = (du.read()?, weight.read()?);
    dx.update(|dx| {
        let dx = MatMut::new(dx, du.shape().rows(), weight.dims()[1]);
        gemm(1.0, mat!(&du_values, du), mat!(&w_values, weight), beta, dx);
    })
}

/// dW = beta·dW + duᵀ·x.
pub(super) fn add_dweight(mut dweight: ViewMut, beta: f32, du: &Tensor, x: &Tensor) -> Result<()> {
    let (du_values, x_values) = (du.read()?, x.read()?);
    dweight.update(|dweight| {
        let dweight = MatMut::new(dweight, du.shape().last_dim(), x.shape().last_dim());
        gemm(1.0, mat!(&du_values, du).t(), mat!(&x_values, x), beta, dweight);
    })
}

/// sums = beta·sums + Σ_rows x: columns in parallel, rows in order.
pub(super) fn add_column_sums(mut sums: ViewMut, beta: f32, x: &Tensor) -> Result<()> {
    /// Columns that one task carries down all rows: two cache lines.
    const COLUMNS: usize = 32;
    let (rows, width) = (x.shape().rows(), x.shape().last_dim());
    let x = x.read()?;
    sums.update(|sums| {
        if beta == 0.0 {
            sums.fill(0.0);
        }
        let add = |first: usize, sums: &mut [f32]| {
            vectorized(
                #[inline(always)]
                || {
                    for row in x.chunks_exact(width) {
                        simd::add_into(sums, &row[first..first + sums.len()]);
                    }
                },
            )
        };
        let whole = width - width % COLUMNS;
        let (blocks, rest) = sums.split_at_mut(whole);
        for_rows(blocks, COLUMNS, COLUMNS * rows, |first, sums| add(first * COLUMNS, sums));
        add(whole, rest);
    })
}

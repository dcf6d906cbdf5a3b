//! Products on the CPU: matrices in parallel, and within each the parallel GEMM.

use super::Products;
use crate::cpu::{Mat, MatMut, for_rows, gemm};
use crate::error::Result;
use crate::tensor::{Tensor, ViewMut};

/// Matrix `index` of many [rows, cols] that lie one after the other.
fn matrix(values: &[f32], index: usize, [rows, cols]: [usize; 2]) -> Mat<'_> {
    Mat::new(&values[index * rows * cols..][..rows * cols], rows, cols)
}

pub(super) fn forward(mut y: ViewMut, products: &Products, a: &Tensor, b: &Tensor) -> Result<()> {
    let Products { m, k, n, operands } = products;
    let (m, k, n) = (*m, *k, *n);
    let (a, b) = (a.read()?, b.read()?);
    y.write(|y| {
        for_rows(y, m * n, m * n * k, |first, y| {
            for (y, [i, j]) in y.chunks_exact_mut(m * n).zip(&operands[first..]) {
                let (a, b) = (matrix(&a, *i, [m, k]), matrix(&b, *j, [k, n]));
                gemm(1.0, a, b, 0.0, MatMut::new(y, m, n));
            }
        })
    })
}

/// da = beta·da + Σ dy·bᵀ.
pub(super) fn add_da(
    da: ViewMut,
    beta: f32,
    products: &Products,
    dy: &Tensor,
    b: &Tensor,
) -> Result<()> {
    let Products { m, k, n, .. } = *products;
    let (dy, b) = (dy.read()?, b.read()?);
    add(da, beta, products, 0, [m, k], |y, other| {
        (matrix(&dy, y, [m, n]), matrix(&b, other, [k, n]).t())
    })
}

/// db = beta·db + Σ aᵀ·dy.
pub(super) fn add_db(
    db: ViewMut,
    beta: f32,
    products: &Products,
    dy: &Tensor,
    a: &Tensor,
) -> Result<()> {
    let Products { m, k, n, .. } = *products;
    let (dy, a) = (dy.read()?, a.read()?);
    add(db, beta, products, 1, [k, n], |y, other| {
        (matrix(&a, other, [m, k]).t(), matrix(&dy, y, [m, n]))
    })
}

/// For each matrix [rows, cols] of operand `which`: beta times itself, plus the `factors(y, other)`
/// of every product that it took part in, in order.
fn add<'a>(
    mut sum: ViewMut,
    beta: f32,
    products: &Products,
    which: usize,
    [rows, cols]: [usize; 2],
    factors: impl Fn(usize, usize) -> (Mat<'a>, Mat<'a>) + Sync,
) -> Result<()> {
    let size = rows * cols;
    let count = sum.len().checked_div(size).unwrap_or(0);
    let mut uses = vec![Vec::new(); count];
    if count > 0 {
        for (y, operands) in products.operands.iter().enumerate() {
            uses[operands[which]].push((y, operands[1 - which]));
        }
    }
    let cost = products.m * products.k * products.n;
    sum.update(|sum| {
        for_rows(sum, size, cost, |first, sums| {
            for (sum, uses) in sums.chunks_exact_mut(size).zip(&uses[first..]) {
                let mut beta = beta;
                for (y, other) in uses {
                    let (left, right) = factors(*y, *other);
                    gemm(1.0, left, right, beta, MatMut::new(sum, rows, cols));
                    beta = 1.0;
                }
                if beta == 0.0 {
                    // It took part in none.
                    sum.fill(0.0);
                }
            }
        })
    })
}

//! Linear on a card: products by cuBLAS, and the kernels of `linear.cu` around them.

use super::{Activation, rows_of_part};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::gemm::{Elements, Mat, MatMut, gemm, gemm_then};
use crate::tensor::{Tensor, ViewMut};

/// As in `linear.cu`.
const THREADS: usize = 256;
const WARPS: usize = THREADS / 32;
/// The most blocks that share the rows of a matrix.
const ROW_BLOCKS: usize = 1024;

/// The name by which kernels know an activation.
fn name(activation: Activation) -> &'static str {
    match activation {
        Activation::Identity => "identity",
        Activation::GeluTanh => "gelu_tanh",
        Activation::GeluErf => "gelu_erf",
    }
}

/// Blocks along the columns: a warp takes 512 bytes of a row.
fn tiles(width: usize, dtype: DType) -> usize {
    (width * dtype.size()).div_ceil(512)
}

/// u = x·Wᵀ + bias, and y = activation(u) where there is a y.
pub(super) fn affine(
    mut u: ViewMut,
    mut y: Option<ViewMut>,
    activation: Activation,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<()> {
    let (rows, outputs) = (x.shape().rows(), weight.dims()[0]);
    let (a, b, dims) = (Mat::of(x)?, Mat::of(weight)?.t(), [rows, outputs]);
    let mut bias = bias;
    if let (Some(added), Activation::GeluTanh, Some(y)) = (bias, activation, &mut y)
        && gemm_then(a, b, MatMut::new(y, 0, dims)?, added, Some(&u))?
    {
        return Ok(());
    }
    match bias {
        Some(added) if gemm_then(a, b, MatMut::new(&mut u, 0, dims)?, added, None)? => bias = None,
        _ => gemm(1.0, a, b, 0.0, MatMut::new(&mut u, 0, dims)?)?,
    }
    if bias.is_none() && y.is_none() {
        return Ok(());
    }
    let gpu = u.gpu()?;
    let launch = gpu
        .kernel("linear", format!("linear_finish_{}_{}", name(activation), u.dtype()))
        .grid(tiles(outputs, u.dtype()), rows.div_ceil(WARPS).min(ROW_BLOCKS), 1)
        .block(THREADS)
        .arg(y.as_ref())
        .arg(&u)
        .arg(bias)
        .arg(rows as u32)
        .arg(outputs as u32);
    // SAFETY: u and y are [rows, outputs] of one type, and the bias [outputs]; `check` compared them.
    unsafe { launch.run() }
}

/// du = du·activation'(u).
pub(super) fn times_gradient(du: ViewMut, u: &Tensor, activation: Activation) -> Result<()> {
    let gpu = du.gpu()?;
    let launch = gpu
        .kernel("linear", format!("linear_gradient_{}_{}", name(activation), u.dtype()))
        .grid(gpu.blocks(u.numel(), THREADS), 1, 1)
        .block(THREADS)
        .arg(&du)
        .arg(u)
        .arg(u.numel() as u64);
    // SAFETY: the gradient of u has its size and its type.
    unsafe { launch.run() }
}

/// dx = beta·dx + du·W.
pub(super) fn add_dx(mut dx: ViewMut, beta: f32, du: &Tensor, weight: &Tensor) -> Result<()> {
    let dims = [du.shape().rows(), weight.dims()[1]];
    gemm(1.0, Mat::of(du)?, Mat::of(weight)?, beta, MatMut::new(&mut dx, 0, dims)?)
}

/// dW = beta·dW + duᵀ·x.
pub(super) fn add_dweight(mut dweight: ViewMut, beta: f32, du: &Tensor, x: &Tensor) -> Result<()> {
    let dims = [du.shape().last_dim(), x.shape().last_dim()];
    gemm(1.0, Mat::of(du)?.t(), Mat::of(x)?, beta, MatMut::new(&mut dweight, 0, dims)?)
}

/// sums = beta·sums + Σ_rows x, by way of the sums of the rows' parts where there are several.
pub(super) fn add_column_sums(
    sums: ViewMut,
    partial: ViewMut,
    beta: f32,
    x: &Tensor,
) -> Result<()> {
    let ([rows, width], part) = ([x.shape().rows(), x.shape().last_dim()], rows_of_part(x));
    let parts = rows.div_ceil(part);
    if parts <= 1 {
        return sum_parts(&sums, beta, x, [rows, width], part);
    }
    sum_parts(&partial, 0.0, x, [rows, width], part)?;
    sum_parts(&sums, beta, &partial, [parts, width], parts)
}

/// Each row of `sums` = beta·itself + the sum of its `part` rows of x; one row, where x has fewer.
fn sum_parts(
    sums: &ViewMut,
    beta: f32,
    x: &impl Elements,
    [rows, width]: [usize; 2],
    part: usize,
) -> Result<()> {
    let launch = sums
        .gpu()?
        .kernel("linear", format!("linear_column_sums_{}_{}", x.dtype(), sums.dtype()))
        .grid(tiles(width, x.dtype()), rows.div_ceil(part).max(1), 1)
        .block(THREADS)
        .arg(sums)
        .arg(x)
        .arg(rows as u32)
        .arg(width as u32)
        .arg(part as u32)
        .arg(beta);
    // SAFETY: x has rows·width numbers, and the sums a row for each part: `partial_sums` counted them.
    unsafe { launch.run() }
}

//! Moving elements on a card: rows copied as they lie, or turned in tiles of shared memory.

use crate::dtype::DType;
use crate::error::Result;
use crate::ops::pointwise::{THREADS, input, output, over_rows, words};
use crate::ops::strides::{NO_AXES, Walk};
use crate::tensor::{Tensor, ViewMut};

/// As in `layout.cu`.
const TILE: usize = 32;

fn copy_kernel(dtype: DType) -> String {
    format!("layout_copy_{}", words(dtype))
}

/// y = what the walk reads of x from element `start`.
pub(super) fn copy(y: ViewMut, x: &Tensor, walk: &Walk<1>, start: usize) -> Result<()> {
    let (gpu, n) = (y.gpu()?, y.len());
    let mut axes = walk.axes_beside_output();
    let [width, step, _] = axes[0];
    // Where x steps, but lies in one piece along another axis of y.
    let other =
        (1..axes.len()).find(|&axis| n > 0 && step > 1 && axes[axis][0] > 1 && axes[axis][1] == 1);
    let launch = match other {
        None => over_rows(gpu, "layout", copy_kernel(y.dtype()), [n, walk.width()]),
        Some(axis) => {
            axes[1..=axis].rotate_right(1);
            let [width, height] = [width as usize, axes[1][0] as usize];
            let tiles = n / (width * height) * width.div_ceil(TILE) * height.div_ceil(TILE);
            gpu.kernel("layout", format!("layout_transpose_{}", words(y.dtype())))
                .grid(gpu.blocks(tiles, 1), 1, 1)
                .block(THREADS)
        }
    };
    let from = x.ptr()?.offset(start * x.dtype().size());
    let launch = launch.arg(&y).arg(from).arg_bytes(&axes).arg(n as u64);
    // SAFETY: the walk is of y's shape and stays within x from `start` on.
    unsafe { launch.run() }
}

/// y = the tensors one after the other along `axis`.
pub(super) fn concat(y: ViewMut, tensors: &[&Tensor], axis: usize) -> Result<()> {
    // From each tensor as many elements as follow one another both there and in y.
    let lens: Vec<usize> = tensors.iter().map(|x| x.dims()[axis..].iter().product()).collect();
    let width: usize = lens.iter().sum();
    let (rows, kernel) = (y.len().checked_div(width).unwrap_or(0), copy_kernel(y.dtype()));
    let mut to = y.ptr()?;
    for (x, len) in tensors.iter().zip(lens) {
        let mut axes = NO_AXES;
        axes[0] = [len as u64, 1, 1];
        axes[1] = [rows as u64, len as u64, width as u64];
        let launch = over_rows(y.gpu()?, "layout", kernel.clone(), [rows * len, len])
            .arg(to)
            .arg(*x)
            .arg_bytes(&axes)
            .arg((rows * len) as u64);
        // SAFETY: x has rows·len elements, for which each row of y has room where the ones before
        // end.
        unsafe { launch.run()? }
        to = to.offset(len * x.dtype().size());
    }
    Ok(())
}

/// dx [outer, n, inner] = beta·dx, then += dy in the places along its axis that begin at `start`.
pub(super) fn add_part(
    dx: ViewMut,
    beta: f32,
    dy: &Tensor,
    [outer, n, inner]: [usize; 3],
    start: usize,
) -> Result<()> {
    let gpu = dx.gpu()?;
    if beta == 0.0 {
        // SAFETY: the view has so many elements of this size.
        unsafe { gpu.fill(dx.ptr()?, 0, dx.dtype().size(), dx.len())? }
    }
    let len = dy.numel().checked_div(outer).unwrap_or(0);
    let launch = over_rows(gpu, "layout", "layout_add_part".into(), [dy.numel(), len])
        .arg_bytes(&output(&dx)?)
        .arg_bytes(&input(dy)?)
        .arg(outer as u64)
        .arg((n * inner) as u64)
        .arg((start * inner) as u64)
        .arg(len as u64);
    // SAFETY: dx has outer rows of n·inner numbers, dy of `len`, which stay within those from
    // start·inner on, as `narrow` compared.
    unsafe { launch.run() }
}

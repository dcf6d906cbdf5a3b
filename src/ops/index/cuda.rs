//! Reading at ids on CUDA; gradients in order, by sorted keys (`kernels/index.cu`).

use super::Scratch;
use crate::error::{Error, Result};
use crate::ops::around;
use crate::tensor::{Tensor, ViewMut};

const THREADS: usize = 256;
/// Sorted places that one thread adds: `CHUNK` of the kernels.
pub(super) const CHUNK: usize = 32;

pub(super) fn select(y: ViewMut, x: &Tensor, axis: usize, ids: &Tensor) -> Result<()> {
    let [_, n, inner] = around("index_select", x, axis)?;
    read("select", y, x, [n, ids.numel(), inner], ids)
}

pub(super) fn gather(y: ViewMut, x: &Tensor, axis: usize, ids: &Tensor) -> Result<()> {
    let [_, n, inner] = around("gather", x, axis)?;
    read("gather", y, x, [n, ids.dims()[axis], inner], ids)
}

fn read(
    what: &str,
    y: ViewMut,
    x: &Tensor,
    [n, count, inner]: [usize; 3],
    ids: &Tensor,
) -> Result<()> {
    let gpu = y.gpu()?;
    let launch = gpu
        .kernel("index", format!("index_{what}_{}", x.dtype().size()))
        .grid(gpu.blocks(y.len(), THREADS), 1, 1)
        .block(THREADS)
        .arg(&y)
        .arg(x)
        .arg(ids)
        .arg(word(n)?)
        .arg(count as u64)
        .arg(inner as u64)
        .arg(y.len() as u64);
    // SAFETY: y is (outer, count, inner) and x (outer, n, inner), of elements of this size, as mod.rs
    // allocated and checked; there are `count` ids to select and one for each element to gather. An
    // id is compared with n before it is used.
    unsafe { launch.run() }
}

/// dx [outer, n, inner] = beta·dx, then dx[.., ids[i], ..] += dy[.., i, ..] in the order of i.
pub(super) fn add_selected(
    dx: ViewMut,
    beta: f32,
    dy: &Tensor,
    [outer, n, inner]: [usize; 3],
    ids: &Tensor,
    scratch: Scratch,
) -> Result<()> {
    clear(&dx, beta)?;
    let scratch = sort(scratch, ids, [n, ids.numel(), 1])?;
    add_runs(dx, dy, [outer, n, inner], &scratch)
}

/// dx [outer, n, inner] = beta·dx, then dx[o, ids[o, i, j], j] += dy[o, i, j] in the order of i.
pub(super) fn add_gathered(
    dx: ViewMut,
    beta: f32,
    dy: &Tensor,
    [outer, n, inner]: [usize; 3],
    ids: &Tensor,
    scratch: Scratch,
) -> Result<()> {
    clear(&dx, beta)?;
    let count = ids.numel().checked_div(outer * inner).unwrap_or(0);
    let scratch = sort(scratch, ids, [n, count, inner])?;
    let elements = dx.len();
    add_runs(dx, dy, [1, elements, 1], &scratch)
}

fn clear(dx: &ViewMut, beta: f32) -> Result<()> {
    if beta != 0.0 {
        return Ok(());
    }
    // SAFETY: dx has `len` elements of this size; zero is 0 in every type.
    unsafe { dx.gpu()?.fill(dx.ptr()?, 0, dx.dtype().size(), dx.len()) }
}

/// The keys of all ids, sorted, in the first buffer.
fn sort(mut scratch: Scratch, ids: &Tensor, [n, count, inner]: [usize; 3]) -> Result<Scratch> {
    let (gpu, places) = (ids.gpu()?, ids.numel());
    let blocks = places.div_ceil(THREADS);
    let launch = gpu
        .kernel("index", "index_sort_tiles")
        .grid(blocks, 1, 1)
        .block(THREADS)
        .arg(&scratch.keys[0])
        .arg(ids)
        .arg(word(n)?)
        .arg(count as u64)
        .arg(inner as u64)
        .arg(word(places)?);
    // SAFETY: both key buffers hold `places` keys of two words, and there are as many ids.
    unsafe { launch.run()? };
    let mut length = THREADS;
    while length < places {
        let launch = gpu
            .kernel("index", "index_merge")
            .grid(blocks, 1, 1)
            .block(THREADS)
            .arg(&scratch.keys[1])
            .arg(&scratch.keys[0])
            .arg(word(length)?)
            .arg(word(places)?);
        // SAFETY: as above; keys differ, so each goes to a place of its own below `places`.
        unsafe { launch.run()? };
        scratch.keys.swap(0, 1);
        length *= 2;
    }
    Ok(scratch)
}

fn add_runs(
    dx: ViewMut,
    dy: &Tensor,
    [outer, n, inner]: [usize; 3],
    scratch: &Scratch,
) -> Result<()> {
    let (gpu, columns) = (dx.gpu()?, outer * inner);
    let places = dy.numel().checked_div(columns).unwrap_or(0);
    let threads = columns.next_multiple_of(32).min(THREADS / 2);
    let launch = |name: String| {
        gpu.kernel("index", name)
            .grid(places.div_ceil(CHUNK), columns.div_ceil(threads.max(1)).min(65535), 1)
            .block(threads)
            .arg(&dx)
            .arg(&scratch.partial)
            .arg(&scratch.keys[0])
    };
    let add = launch(format!("index_add_runs_{}_{}", dx.dtype(), dy.dtype())).arg(dy);
    let join = launch(format!("index_join_runs_{}", dx.dtype()));
    for launch in [add, join] {
        let launch = launch.arg(word(n)?).arg(word(places)?).arg(inner as u64).arg(columns as u64);
        // SAFETY: dx is (outer, n, inner), dy (outer, places, inner), `partial` two rows of columns
        // for each chunk; destinations are compared with n, and each run is one block's.
        unsafe { launch.run()? };
    }
    Ok(())
}

/// Places and destinations are halves of a key.
fn word(x: usize) -> Result<u32> {
    u32::try_from(x).ok().filter(|&x| x < u32::MAX).ok_or_else(|| {
        Error::shape("ids on a card", format!("fewer than {} places", u32::MAX), format!("{x}"))
    })
}

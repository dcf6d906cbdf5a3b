//! Attention on a card: which kernel takes which sizes. The kernels say how they work.

use super::{Attention, AttentionBackward, Dims, KeyValues};
use crate::cuda::{Argument, Gpu, Launch, Ptr};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, ViewMut};

/// New positions that are decoded one by one; from here on a tile of them is not a waste.
const FEW: usize = 8;

/// `Problem` of `attention.cuh`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Problem {
    kv_sample: u64,
    kv_head: u64,
    kv_position: u64,
    key: u64,
    attempt: u64,
    first_sample: u64,
    time: u32,
    past: u32,
    heads: u32,
    head_dim: u32,
    scale: f32,
    alibi: u32,
    threshold: u32,
    keep_scale: f32,
}

impl Problem {
    /// Over the packed keys and values of `dims` themselves.
    fn new(dims: Dims, options: Attention) -> Self {
        let Dims { time, heads, head_dim, .. } = dims;
        let position = 3 * heads * head_dim;
        let draw = options.dropout.map(|dropout| (dropout.draw(), dropout.first_sample()));
        let ((key, attempt, threshold, keep_scale), first_sample) = draw.unwrap_or_default();
        Problem {
            kv_sample: (time * position) as u64,
            kv_head: head_dim as u64,
            kv_position: position as u64,
            key,
            attempt,
            first_sample,
            time: time as u32,
            past: 0,
            heads: heads as u32,
            head_dim: head_dim as u32,
            scale: options.scale,
            alibi: options.alibi.into(),
            threshold,
            keep_scale,
        }
    }

    /// Over `past` positions of a cache and the new ones behind them.
    fn cached(self, cache: &KeyValues, past: usize) -> Self {
        let head = cache.capacity as u64 * u64::from(self.head_dim);
        Problem {
            kv_sample: u64::from(self.heads) * head,
            kv_head: head,
            kv_position: self.head_dim.into(),
            past: past as u32,
            ..self
        }
    }
}

/// Where a problem's keys and values begin.
#[derive(Clone, Copy)]
struct KeysValues {
    keys: Ptr,
    values: Ptr,
}

impl KeysValues {
    fn packed(qkv: &Tensor, dims: Dims) -> Result<Self> {
        let width = dims.heads * dims.head_dim * qkv.dtype().size();
        let start = qkv.ptr()?;
        Ok(KeysValues { keys: start.offset(width), values: start.offset(2 * width) })
    }
}

/// The kernels for heads up to this size: their registers hold a whole vector.
fn bucket(head_dim: usize) -> usize {
    head_dim.next_power_of_two().max(64)
}

/// Whether tensor cores take it: 16-bit vectors of 64 or 128, copied 16 bytes at a time, on a card
/// that has cp.async and bf16.
fn tensor_cores(gpu: &Gpu, dims: Dims, dtype: DType, vectors: &[Ptr]) -> bool {
    gpu.capability() >= 80
        && matches!(dtype, DType::F16 | DType::BF16)
        && matches!(dims.head_dim, 64 | 128)
        && vectors.iter().all(|ptr| ptr.0.is_multiple_of(16))
}

/// A kernel with a block for every `tile` positions of every head.
struct Tiled {
    module: &'static str,
    what: &'static str,
    tile: usize,
    threads: usize,
    shared: usize,
}

impl Tiled {
    /// Without tensor cores: tiles of 64 positions, in static shared memory.
    fn plain(module: &'static str, what: &'static str, threads: usize) -> Self {
        Tiled { module, what, tile: 64, threads, shared: 0 }
    }

    fn launch<'a>(&self, gpu: &'a Gpu, dims: Dims, dtype: DType) -> Launch<'a> {
        let Dims { batch, time, heads, head_dim } = dims;
        gpu.kernel(self.module, format!("attention_{}_{}_{dtype}", self.what, bucket(head_dim)))
            .grid(batch * heads * time.div_ceil(self.tile), 1, 1)
            .block(self.threads)
            .shared(self.shared)
    }
}

pub(super) fn forward(
    [y, lse]: [ViewMut; 2],
    qkv: &Tensor,
    first_key: &Tensor,
    dims: Dims,
    options: Attention,
) -> Result<()> {
    let kv = KeysValues::packed(qkv, dims)?;
    tiles_forward(&y, Some(&lse), qkv, kv, first_key, dims, Problem::new(dims, options))
}

fn tiles_forward(
    y: &ViewMut,
    lse: Option<&ViewMut>,
    qkv: &Tensor,
    kv: KeysValues,
    first_key: &Tensor,
    dims: Dims,
    problem: Problem,
) -> Result<()> {
    let (gpu, dtype) = (y.gpu()?, qkv.dtype());
    let kernel = if tensor_cores(gpu, dims, dtype, &[qkv.ptr()?, kv.keys, kv.values]) {
        // `Shared` of `attention_tc.cu`: 128 queries, 4096 numbers of keys and as many of values, and
        // four places.
        let shared = 256 * dims.head_dim + 4 * 4096 + 16;
        Tiled { module: "attention_tc", what: "tc_forward", tile: 128, threads: 128, shared }
    } else {
        let threads = if bucket(dims.head_dim) == 256 { 256 } else { 128 };
        Tiled::plain("attention_forward", "forward", threads)
    };
    let launch = kernel
        .launch(gpu, dims, dtype)
        .arg(y)
        .arg(lse)
        .arg(qkv)
        .arg(kv.keys)
        .arg(kv.values)
        .arg(first_key)
        .arg_bytes(&problem);
    // SAFETY: `Dims::of` compared qkv and first_key with the sizes from which mod.rs allocated y and
    // lse; keys and values have past + time positions of these strides; keys are read from 0 to a
    // query's own place only, whatever first_key says.
    unsafe { launch.run() }
}

/// `along` is scratch for D, one number for each row of scores.
pub(super) fn backward(
    [dqkv, along]: [ViewMut; 2],
    dy: &Tensor,
    saved: &AttentionBackward,
) -> Result<()> {
    let AttentionBackward { qkv, first_key, y, lse, dims, options } = saved;
    let Dims { batch, time, heads, head_dim } = *dims;
    let (gpu, dtype, rows) = (dqkv.gpu()?, qkv.dtype(), batch * time * heads);
    if dy.dtype() != dtype {
        let found = format!("{}", dy.dtype());
        return Err(Error::shape("attention: gradient of the output", format!("{dtype}"), found));
    }
    let launch = gpu
        .kernel("attention_backward", format!("attention_along_{dtype}"))
        .grid(rows.div_ceil(8), 1, 1)
        .block(256)
        .arg(&along)
        .arg(y)
        .arg(dy)
        .arg(rows as u64)
        .arg(time as u32)
        .arg(heads as u32)
        .arg(head_dim as u32);
    // SAFETY: y and dy are [batch, time, heads·head_dim], the scratch has a number for each row.
    unsafe { launch.run()? };

    let kernels = if tensor_cores(gpu, *dims, dtype, &[qkv.ptr()?, dy.ptr()?]) {
        // `Shared` of `attention_tc_backward.cu`: 128 vectors of the block's own, four buffers of 4096
        // numbers for others, and twice three numbers for each of 64 queries.
        let shared = 256 * head_dim + 8 * 4096 + 2 * 3 * 4 * 64;
        let kernel =
            |what| Tiled { module: "attention_tc_backward", what, tile: 64, threads: 128, shared };
        [kernel("tc_keys"), kernel("tc_queries")]
    } else {
        let (keys, queries) = match bucket(head_dim) {
            64 => (128, 128),
            128 => (256, 128),
            _ => (256, 256),
        };
        [("keys", keys), ("queries", queries)]
            .map(|(what, threads)| Tiled::plain("attention_backward", what, threads))
    };
    for kernel in kernels {
        let launch = kernel
            .launch(gpu, *dims, dtype)
            .arg(&dqkv)
            .arg(qkv)
            .arg(dy)
            .arg(lse)
            .arg(&along)
            .arg(first_key)
            .arg_bytes(&Problem::new(*dims, *options));
        // SAFETY: dqkv has the size of qkv, dy that of y; lse and the scratch have a number for
        // each row of scores, from forward and from above.
        unsafe { launch.run()? };
    }
    Ok(())
}

/// Copies the new keys and values behind the `past` ones in the cache.
pub(super) fn append(cache: &mut KeyValues, qkv: &Tensor, dims: Dims, past: usize) -> Result<()> {
    if cache.keys.dtype() != qkv.dtype() {
        let found = format!("{}", qkv.dtype());
        return Err(Error::shape("cached attention", format!("{}", cache.keys.dtype()), found));
    }
    let options = Attention { scale: 1.0, alibi: false, dropout: None };
    let launch = cache
        .keys
        .gpu()?
        .kernel("attention_decode", format!("attention_append_{}", qkv.dtype()))
        .grid(dims.batch * dims.time, 1, 1)
        .block(256)
        .arg(&cache.keys)
        .arg(&cache.values)
        .arg(qkv)
        .arg_bytes(&Problem::new(dims, options).cached(cache, past));
    // SAFETY: `KeyValues::reserve` saw that past + time positions of these sizes fit the cache.
    unsafe { launch.run() }
}

/// `sums` and `weights` are scratch for the parts of each query's keys, see `splits`.
pub(super) fn cached_forward(
    y: ViewMut,
    [sums, weights]: [ViewMut; 2],
    (cache, past): (&KeyValues, usize),
    qkv: &Tensor,
    first_key: &Tensor,
    dims: Dims,
    options: Attention,
) -> Result<()> {
    let problem = Problem::new(dims, options).cached(cache, past);
    let kv = KeysValues { keys: Ptr(cache.keys.word()?), values: Ptr(cache.values.word()?) };
    if dims.time > FEW {
        return tiles_forward(&y, None, qkv, kv, first_key, dims, problem);
    }
    let (gpu, dtype, queries) = (y.gpu()?, qkv.dtype(), dims.batch * dims.heads * dims.time);
    let splits = super::splits(dims, past);
    let launch = gpu
        .kernel("attention_decode", format!("attention_decode_{}_{dtype}", bucket(dims.head_dim)))
        .grid(queries * splits, 1, 1)
        .block(128)
        .arg(&y)
        .arg(&sums)
        .arg(&weights)
        .arg(qkv)
        .arg(kv.keys)
        .arg(kv.values)
        .arg(first_key)
        .arg_bytes(&problem)
        .arg(splits as u32);
    // SAFETY: as in `tiles_forward`; the scratch has room for every part of every query.
    unsafe { launch.run()? };
    if splits == 1 {
        return Ok(());
    }
    let launch = gpu
        .kernel("attention_decode", format!("attention_merge_{dtype}"))
        .grid(queries, 1, 1)
        .block(64)
        .arg(&y)
        .arg(&sums)
        .arg(&weights)
        .arg_bytes(&problem)
        .arg(splits as u32);
    // SAFETY: the launch before filled every part.
    unsafe { launch.run() }
}

pub(super) fn probs(
    probs: ViewMut,
    qkv: &Tensor,
    first_key: &Tensor,
    dims: Dims,
    options: Attention,
) -> Result<()> {
    let launch = probs
        .gpu()?
        .kernel("attention_decode", format!("attention_probs_{}", qkv.dtype()))
        .grid(dims.batch * dims.heads * dims.time, 1, 1)
        .block(256)
        .arg(&probs)
        .arg(qkv)
        .arg(KeysValues::packed(qkv, dims)?.keys)
        .arg(first_key)
        .arg_bytes(&Problem::new(dims, options));
    // SAFETY: probs is [batch, heads, time, time]; `Dims::of` compared the others.
    unsafe { launch.run() }
}

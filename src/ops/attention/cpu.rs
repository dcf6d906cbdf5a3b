//! Attention on the CPU: tiles of scores that fit the cache, products by GEMM, heads in parallel.

use super::{Attention, AttentionBackward, Dims, KeyValues};
use crate::cpu::{Disjoint, Mat, MatMut, for_each, gemm_serial, math, simd, vectorized};
use crate::error::{Error, Result};
use crate::ops::dropout::Dropout;
use crate::tensor::{Tensor, ViewMut};
use std::ops::Range;

/// Queries and keys of a tile: its scores take 64 KiB, and the keys of a tile stay in the L2 cache
/// while the queries pass.
const QUERIES: usize = 64;
const KEYS: usize = 256;

/// Vectors of one head, one for each position: row i begins at `i * stride`.
#[derive(Clone, Copy)]
struct Rows<'a> {
    values: &'a [f32],
    stride: usize,
    head_dim: usize,
}

impl<'a> Rows<'a> {
    fn new(values: &'a [f32], start: usize, stride: usize, head_dim: usize) -> Self {
        Rows { values: &values[start..], stride, head_dim }
    }

    fn mat(&self, rows: &Range<usize>) -> Mat<'a> {
        let values = &self.values[rows.start * self.stride..];
        Mat::strided(values, rows.len(), self.head_dim, self.stride, 1)
    }

    fn row(&self, i: usize) -> &'a [f32] {
        &self.values[i * self.stride..][..self.head_dim]
    }
}

/// One head of one sequence.
struct Head<'a> {
    q: Rows<'a>,
    k: Rows<'a>,
    v: Rows<'a>,
    /// Per query: the first key that it reads; the last is `past` + its own place.
    first_key: &'a [u32],
    past: usize,
    scale: f32,
    /// ALiBi's, 0 without it.
    slope: f32,
    /// The dropout, and (sample·heads + head) in the upper 24 bits of its coordinates.
    dropout: Option<(Dropout, u64)>,
}

impl Head<'_> {
    fn visible(&self, query: usize) -> Range<usize> {
        self.first_key[query] as usize..self.past + query + 1
    }

    /// The tiles of keys that some of these queries read.
    fn key_tiles(&self, queries: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let first = self.first_key[queries.clone()].iter().min().map_or(0, |&key| key as usize);
        let end = self.past + queries.end;
        // Dropout draws for four keys at once, so tiles begin at multiples of four.
        (first / 4 * 4..end).step_by(KEYS).map(move |key| key..(key + KEYS).min(end))
    }

    /// s = scale·Q·Kᵀ + slope·(key − query), −∞ where a query does not read a key.
    fn scores(&self, s: &mut [f32], queries: &Range<usize>, keys: &Range<usize>) {
        let out = MatMut::new(s, queries.len(), keys.len());
        gemm_serial(self.scale, self.q.mat(queries), self.k.mat(keys).t(), 0.0, out);
        for (query, s) in queries.clone().zip(s.chunks_exact_mut(keys.len())) {
            if self.slope != 0.0 {
                let place = (self.past + query) as f32;
                for (key, s) in keys.clone().zip(s.iter_mut()) {
                    *s += self.slope * (key as f32 - place);
                }
            }
            let visible = self.visible(query);
            let inside = |key: usize| key.clamp(keys.start, keys.end) - keys.start;
            s[..inside(visible.start)].fill(f32::NEG_INFINITY);
            s[inside(visible.end)..].fill(f32::NEG_INFINITY);
        }
    }

    /// rows *= dropout factors, for one query and keys from `first` on.
    fn drop<const N: usize>(&self, rows: [&mut [f32]; N], query: usize, first: usize) {
        if let Some((dropout, head)) = self.dropout {
            let coordinate = head << 40 | (query as u64) << 20 | first as u64;
            vectorized(
                #[inline(always)]
                || dropout.apply_from(rows, coordinate),
            );
        }
    }

    /// out [queries, head_dim] and the log-sum-exp of each query's scores.
    fn forward(&self, out: &mut [f32], lse: &mut [f32], queries: Range<usize>) {
        let head_dim = self.q.head_dim;
        let mut scores = vec![0.0; queries.len() * KEYS];
        // lse holds the running maximum, `sums` the running sum, until the last tile is done.
        lse.fill(f32::NEG_INFINITY);
        let mut sums = [0.0f32; QUERIES];
        out.fill(0.0);
        for keys in self.key_tiles(&queries) {
            let scores = &mut scores[..queries.len() * keys.len()];
            self.scores(scores, &queries, &keys);
            for (i, p) in scores.chunks_exact_mut(keys.len()).enumerate() {
                let out = &mut out[i * head_dim..(i + 1) * head_dim];
                vectorized(
                    #[inline(always)]
                    || {
                        let max = lse[i].max(simd::max(p));
                        // A row of which nothing is visible yet has no maximum to subtract.
                        let shift = if max == f32::NEG_INFINITY { 0.0 } else { max };
                        for p in p.iter_mut() {
                            *p = math::exp(*p - shift);
                        }
                        let rescale = math::exp(lse[i] - shift);
                        if rescale != 1.0 {
                            simd::scale(out, rescale);
                        }
                        sums[i] = sums[i] * rescale + simd::sum(p);
                        lse[i] = max;
                    },
                );
                self.drop([p], queries.start + i, keys.start);
            }
            let p = Mat::new(scores, queries.len(), keys.len());
            let out = MatMut::new(out, queries.len(), head_dim);
            gemm_serial(1.0, p, self.v.mat(&keys), 1.0, out);
        }
        for (i, out) in out.chunks_exact_mut(head_dim).enumerate() {
            vectorized(
                #[inline(always)]
                || simd::scale(out, 1.0 / sums[i]),
            );
            lse[i] += sums[i].ln();
        }
    }

    /// Adds to dq, dk, dv, each [time, head_dim], the gradients that come through dy; `along` is D.
    fn backward(&self, [dq, dk, dv]: [&mut [f32]; 3], dy: Rows, lse: &[f32], along: &[f32]) {
        let head_dim = self.q.head_dim;
        let mut scratch = vec![0.0; 2 * QUERIES * KEYS];
        let (probs, dprobs) = scratch.split_at_mut(QUERIES * KEYS);
        for queries in tiles(lse.len()) {
            for keys in self.key_tiles(&queries) {
                let (rows, cols) = (queries.len(), keys.len());
                let (probs, dprobs) = (&mut probs[..rows * cols], &mut dprobs[..rows * cols]);
                self.scores(probs, &queries, &keys);
                for (query, p) in queries.clone().zip(probs.chunks_exact_mut(cols)) {
                    vectorized(
                        #[inline(always)]
                        || {
                            for p in p.iter_mut() {
                                *p = math::exp(*p - lse[query]);
                            }
                        },
                    );
                }
                let dp = MatMut::new(dprobs, rows, cols);
                gemm_serial(1.0, dy.mat(&queries), self.v.mat(&keys).t(), 0.0, dp);
                let of_keys = keys.start * head_dim..keys.end * head_dim;
                if self.dropout.is_some() {
                    let mut dropped = probs.to_vec();
                    let pairs = dropped.chunks_exact_mut(cols).zip(dprobs.chunks_exact_mut(cols));
                    for (query, (p, dp)) in queries.clone().zip(pairs) {
                        self.drop([p, dp], query, keys.start);
                    }
                    let dv = MatMut::new(&mut dv[of_keys.clone()], cols, head_dim);
                    gemm_serial(1.0, Mat::new(&dropped, rows, cols).t(), dy.mat(&queries), 1.0, dv);
                } else {
                    let dv = MatMut::new(&mut dv[of_keys.clone()], cols, head_dim);
                    gemm_serial(1.0, Mat::new(probs, rows, cols).t(), dy.mat(&queries), 1.0, dv);
                }
                let pairs = dprobs.chunks_exact_mut(cols).zip(probs.chunks_exact(cols));
                for (query, (dp, p)) in queries.clone().zip(pairs) {
                    vectorized(
                        #[inline(always)]
                        || {
                            for (dp, p) in dp.iter_mut().zip(p) {
                                *dp = p * (*dp - along[query]);
                            }
                        },
                    );
                }
                let ds = Mat::new(dprobs, rows, cols);
                let of_queries = queries.start * head_dim..queries.end * head_dim;
                let dq = MatMut::new(&mut dq[of_queries], rows, head_dim);
                gemm_serial(self.scale, ds, self.k.mat(&keys), 1.0, dq);
                let dk = MatMut::new(&mut dk[of_keys], cols, head_dim);
                gemm_serial(self.scale, ds.t(), self.q.mat(&queries), 1.0, dk);
            }
        }
    }
}

/// `0..time` in tiles of queries.
fn tiles(time: usize) -> impl Iterator<Item = Range<usize>> {
    (0..time).step_by(QUERIES).map(move |query| query..(query + QUERIES).min(time))
}

/// A packed tensor's values with its sizes, to be read head by head.
#[derive(Clone, Copy)]
struct Packed<'a> {
    qkv: &'a [f32],
    first_key: &'a [u32],
    dims: Dims,
}

impl<'a> Packed<'a> {
    fn new(qkv: &'a [f32], first_key: &'a Tensor, dims: Dims, past: usize) -> Result<Self> {
        let first_key = first_key.slice::<u32>()?;
        let misplaced = |(i, &key): (usize, &u32)| {
            let place = past + i % dims.time.max(1);
            (key as usize > place).then_some((place, key))
        };
        if let Some((place, key)) = first_key.iter().enumerate().find_map(misplaced) {
            let expected = format!("at most its query's place, {place}");
            return Err(Error::shape("attention: first_key", expected, format!("{key}")));
        }
        Ok(Packed { qkv, first_key, dims })
    }

    /// Queries (0), keys (1) or values (2) of one head.
    fn rows(&self, which: usize, row: usize, head: usize) -> Rows<'a> {
        let Dims { time, heads, head_dim, .. } = self.dims;
        let stride = 3 * heads * head_dim;
        let start = row * time * stride + (which * heads + head) * head_dim;
        Rows::new(self.qkv, start, stride, head_dim)
    }

    fn head(&self, row: usize, head: usize, options: Attention) -> Head<'a> {
        let Dims { time, heads, .. } = self.dims;
        let place = |dropout: Dropout| {
            (dropout, (dropout.first_sample() + row as u64) * heads as u64 + head as u64)
        };
        Head {
            q: self.rows(0, row, head),
            k: self.rows(1, row, head),
            v: self.rows(2, row, head),
            first_key: &self.first_key[row * time..][..time],
            past: 0,
            scale: options.scale,
            slope: options.slope(head, heads),
            dropout: options.dropout.map(place),
        }
    }
}

/// Calls `work(row, head, queries)` for every tile of queries, in parallel.
fn for_tiles(dims: Dims, work: impl Fn(usize, usize, Range<usize>) + Sync) {
    let Dims { batch, time, heads, .. } = dims;
    let per_head = time.div_ceil(QUERIES);
    for_each(batch * heads * per_head, |task| {
        let (head, tile) = (task / per_head, task % per_head);
        let queries = tile * QUERIES..time.min((tile + 1) * QUERIES);
        work(head / heads, head % heads, queries);
    });
}

/// The rows of one head within [batch, time, groups·head_dim], written by one thread.
struct Columns<'a> {
    out: Disjoint<'a, f32>,
    time: usize,
    stride: usize,
    head_dim: usize,
}

impl Columns<'_> {
    /// Writes `values` [positions, head_dim] to the column group `group`.
    ///
    /// # Safety
    /// No two threads may write the same positions of the same group.
    unsafe fn write(&self, row: usize, group: usize, positions: Range<usize>, values: &[f32]) {
        for (position, values) in positions.zip(values.chunks_exact(self.head_dim)) {
            let start = (row * self.time + position) * self.stride + group * self.head_dim;
            // SAFETY: the caller's promise.
            unsafe { self.out.slice_mut(start..start + self.head_dim) }.copy_from_slice(values);
        }
    }
}

pub(super) fn forward(
    [mut y, mut lse]: [ViewMut; 2],
    qkv: &Tensor,
    first_key: &Tensor,
    dims: Dims,
    options: Attention,
) -> Result<()> {
    let qkv = qkv.read()?;
    let packed = Packed::new(&qkv, first_key, dims, 0)?;
    let lse = Disjoint::new(lse.slice::<f32>()?);
    y.write(|y| {
        for_queries(y, dims, |row, head, queries, out| {
            let start = (row * dims.heads + head) * dims.time;
            // SAFETY: every tile has queries of its own.
            let lse = unsafe { lse.slice_mut(start + queries.start..start + queries.end) };
            packed.head(row, head, options).forward(out, lse, queries);
        })
    })
}

/// Fills y [batch, time, heads·head_dim]: `work(row, head, queries, out)` fills a tile of it,
/// out [queries, head_dim].
fn for_queries(
    y: &mut [f32],
    dims: Dims,
    work: impl Fn(usize, usize, Range<usize>, &mut [f32]) + Sync,
) {
    let Dims { time, heads, head_dim, .. } = dims;
    let columns = Columns { out: Disjoint::new(y), time, stride: heads * head_dim, head_dim };
    for_tiles(dims, |row, head, queries| {
        let mut out = vec![0.0; queries.len() * head_dim];
        work(row, head, queries.clone(), &mut out);
        // SAFETY: every tile has a head and queries of its own.
        unsafe { columns.write(row, head, queries, &out) };
    });
}

/// `along` is scratch for D, one number for each row of scores.
pub(super) fn backward(
    [mut dqkv, mut along]: [ViewMut; 2],
    dy: &Tensor,
    saved: &AttentionBackward,
) -> Result<()> {
    let (qkv, y, dy) = (saved.qkv.read()?, saved.y.read()?, dy.read()?);
    let packed = Packed::new(&qkv, &saved.first_key, saved.dims, 0)?;
    let lse = saved.lse.slice::<f32>()?;
    let along = Disjoint::new(along.slice::<f32>()?);
    let Dims { batch, time, heads, head_dim } = saved.dims;
    dqkv.write(|dqkv| {
        let stride = 3 * heads * head_dim;
        let columns = Columns { out: Disjoint::new(dqkv), time, stride, head_dim };
        for_each(batch * heads, |task| {
            let (row, head) = (task / heads, task % heads);
            let start = row * time * heads * head_dim + head * head_dim;
            let [y, dy] = [&y, &dy].map(|x| Rows::new(x, start, heads * head_dim, head_dim));
            let mut grads = [(); 3].map(|()| vec![0.0; time * head_dim]);
            let out = grads.each_mut().map(|grad| grad.as_mut_slice());
            let rows = task * time..(task + 1) * time;
            // SAFETY: every task has a row and a head of its own.
            let along = unsafe { along.slice_mut(rows.clone()) };
            vectorized(
                #[inline(always)]
                || {
                    for (i, along) in along.iter_mut().enumerate() {
                        *along = simd::dot(dy.row(i), y.row(i));
                    }
                },
            );
            packed.head(row, head, saved.options).backward(out, dy, &lse[rows], along);
            for (which, grad) in grads.iter().enumerate() {
                // SAFETY: every task has a row and a head of its own.
                unsafe { columns.write(row, which * heads + head, 0..time, grad) };
            }
        });
    })
}

/// Copies the new keys and values behind the `past` ones in the cache.
pub(super) fn append(cache: &mut KeyValues, qkv: &Tensor, dims: Dims, past: usize) -> Result<()> {
    let Dims { batch, time, heads, head_dim } = dims;
    let qkv = qkv.read()?;
    for (which, buffer) in [(1, &mut cache.keys), (2, &mut cache.values)] {
        for row in 0..batch {
            for head in 0..heads {
                let start = ((row * heads + head) * cache.capacity + past) * head_dim;
                buffer.range_mut(start, time * head_dim).write(|out| {
                    for (i, out) in out.chunks_exact_mut(head_dim).enumerate() {
                        let from = ((row * time + i) * 3 + which) * heads + head;
                        out.copy_from_slice(&qkv[from * head_dim..][..head_dim]);
                    }
                })?;
            }
        }
    }
    Ok(())
}

pub(super) fn cached_forward(
    mut y: ViewMut,
    cache: &KeyValues,
    qkv: &Tensor,
    first_key: &Tensor,
    dims: Dims,
    past: usize,
    options: Attention,
) -> Result<()> {
    let Dims { heads, head_dim, .. } = dims;
    let (qkv, keys, values) = (qkv.read()?, cache.keys.read()?, cache.values.read()?);
    let packed = Packed::new(&qkv, first_key, dims, past)?;
    let capacity = cache.capacity;
    y.write(|y| {
        for_queries(y, dims, |row, head, queries, out| {
            let start = (row * heads + head) * capacity * head_dim;
            let [k, v] = [&keys, &values].map(|x| Rows::new(x, start, head_dim, head_dim));
            let head = Head { k, v, past, ..packed.head(row, head, options) };
            head.forward(out, &mut [0.0; QUERIES][..queries.len()], queries);
        })
    })
}

pub(super) fn probs(
    mut probs: ViewMut,
    qkv: &Tensor,
    first_key: &Tensor,
    dims: Dims,
    options: Attention,
) -> Result<()> {
    let qkv = qkv.read()?;
    let packed = Packed::new(&qkv, first_key, dims, 0)?;
    let Dims { time, heads, .. } = dims;
    let probs = Disjoint::new(probs.slice::<f32>()?);
    for_tiles(dims, |row, head, queries| {
        let of_head = packed.head(row, head, options);
        let start = (row * heads + head) * time * time;
        // SAFETY: every tile has a head and queries of its own.
        let p =
            unsafe { probs.slice_mut(start + queries.start * time..start + queries.end * time) };
        of_head.scores(p, &queries, &(0..time));
        for p in p.chunks_exact_mut(time) {
            vectorized(
                #[inline(always)]
                || {
                    let max = simd::max(p);
                    p.iter_mut().for_each(|p| *p = math::exp(*p - max));
                    let sum = simd::sum(p);
                    simd::scale(p, 1.0 / sum);
                },
            );
        }
    });
    Ok(())
}

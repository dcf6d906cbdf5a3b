//! Up to eight rows of A, as in decoding: B is read once, in the order in which it lies, and the time
//! is what the memory takes.
//!
//! An element is summed in the same order whatever the number of rows, so a sequence decoded in a batch
//! of up to eight gets the bits that it gets alone.

use super::Job;
use super::kernel::{Kernel, Vector};
use super::pack::with_scratch;
use crate::cpu::simd::vectorized_at;
use std::ops::Range;

/// The most rows of A for which this is the better way.
pub(super) const MOST: usize = 8;
/// Numbers of a transposed B that a task reads (256 KiB).
const TASK: usize = 1 << 16;
/// Sums that a task over a row-major B keeps in the first cache (16 KiB).
const SUMS: usize = 4096;

pub(super) fn product<K: Kernel>(job: &Job) {
    match job.a.rows() {
        1 => with_rows::<K, 1>(job),
        2 => with_rows::<K, 2>(job),
        3 => with_rows::<K, 3>(job),
        4 => with_rows::<K, 4>(job),
        5 => with_rows::<K, 5>(job),
        6 => with_rows::<K, 6>(job),
        7 => with_rows::<K, 7>(job),
        _ => with_rows::<K, 8>(job),
    }
}

fn with_rows<K: Kernel, const M: usize>(job: &Job) {
    let (k, n) = (job.a.cols(), job.b.cols());
    with_scratch(M * k, |x| {
        for (i, row) in x.chunks_exact_mut(k).enumerate() {
            for (l, value) in row.iter_mut().enumerate() {
                *value = job.a.at(i, l);
            }
        }
        let x: &[f32] = x;
        let columns_are_runs = job.b.row_stride() == 1;
        let together = if columns_are_runs {
            (TASK / k).clamp(8, 1024)
        } else {
            // Runs as long as can be: a whole row is what the memory gives fastest.
            let runs = if job.parallel { 4 } else { 1 };
            n.div_ceil(runs).next_multiple_of(16).clamp(512, SUMS / M)
        };
        job.for_each(n.div_ceil(together), |task| {
            let cols = task * together..n.min((task + 1) * together);
            // SAFETY: tasks have columns of their own, and `Job` runs a kernel that the processor has.
            vectorized_at(
                K::LEVEL,
                #[inline(always)]
                || unsafe {
                    if columns_are_runs {
                        dots::<K::V, M>(job, x, cols);
                    } else {
                        rows::<K::V, M>(job, x, cols);
                    }
                },
            );
        });
    });
}

/// Columns of B that are runs: C is dot products, R columns at a time so that enough sums are under way
/// to hide the latency of an addition.
///
/// # Safety
/// The processor has `V`; `x` is A, [M, k]; B has these columns, and no other thread reaches them in C.
#[inline(always)]
unsafe fn dots<V: Vector, const M: usize>(job: &Job, x: &[f32], cols: Range<usize>) {
    // SAFETY: the same contract.
    unsafe {
        let first_left = match M {
            1 => dots_together::<V, M, 8>(job, x, cols.clone()),
            2 => dots_together::<V, M, 4>(job, x, cols.clone()),
            3 | 4 => dots_together::<V, M, 2>(job, x, cols.clone()),
            _ => cols.start,
        };
        dots_together::<V, M, 1>(job, x, first_left..cols.end);
    }
}

/// [`dots`] for as many whole groups of R columns as there are: returns the first column left.
#[inline(always)]
unsafe fn dots_together<V: Vector, const M: usize, const R: usize>(
    job: &Job,
    x: &[f32],
    cols: Range<usize>,
) -> usize {
    let k = job.a.cols();
    let whole = k / V::LANES * V::LANES;
    let mut col = cols.start;
    while col + R <= cols.end {
        let column = |r: usize| job.b.ptr(0, col + r);
        // SAFETY: every vector lies within a row of `x` or a column of B; `put` is within our columns.
        unsafe {
            let mut sums = [[V::zero(); R]; M];
            for l in (0..whole).step_by(V::LANES) {
                let mut b = [V::zero(); R];
                for (r, b) in b.iter_mut().enumerate() {
                    *b = V::load(column(r).add(l));
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = V::load(x.as_ptr().add(i * k + l));
                    for (sum, b) in sums.iter_mut().zip(b) {
                        *sum = x.mul_add(b, *sum);
                    }
                }
            }
            for (i, sums) in sums.into_iter().enumerate() {
                for (r, sum) in sums.into_iter().enumerate() {
                    let tail =
                        (whole..k).fold(0.0, |tail, l| tail + x[i * k + l] * *column(r).add(l));
                    job.put(i, col + r, job.alpha * (across(sum) + tail), job.beta);
                }
            }
        }
        col += R;
    }
    col
}

/// The sum of a vector's lanes.
#[inline(always)]
unsafe fn across<V: Vector>(vector: V) -> f32 {
    let mut lanes = [0.0; 16];
    assert!(V::LANES <= lanes.len());
    // SAFETY: the vector fits by the line above.
    unsafe { vector.store(lanes.as_mut_ptr()) };
    let mut half = V::LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Rows of B that are runs: every sum of these columns stays in the first cache while the rows of B go
/// by, eight at a time.
///
/// # Safety
/// As [`dots`]; M by the number of columns is at most [`SUMS`].
#[inline(always)]
unsafe fn rows<V: Vector, const M: usize>(job: &Job, x: &[f32], cols: Range<usize>) {
    let (k, n) = (job.a.cols(), cols.len());
    let mut sums = [0.0; SUMS];
    let sums = &mut sums[..M * n];
    // SAFETY: the same contract.
    unsafe {
        let eights = k / 8 * 8;
        for l in (0..eights).step_by(8) {
            add_rows::<V, M, 8>(job, x, cols.start, l, sums);
        }
        for l in eights..k {
            add_rows::<V, M, 1>(job, x, cols.start, l, sums);
        }
        for (i, sums) in sums.chunks_exact(n).enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                job.put(i, cols.start + j, job.alpha * sum, job.beta);
            }
        }
    }
}

/// Adds D rows of B from `l` on, each times its element of every row of A, to `sums` [M, columns].
#[inline(always)]
unsafe fn add_rows<V: Vector, const M: usize, const D: usize>(
    job: &Job,
    x: &[f32],
    col: usize,
    l: usize,
    sums: &mut [f32],
) {
    let (k, n) = (job.a.cols(), sums.len() / M);
    let whole = n / V::LANES * V::LANES;
    for (i, sums) in sums.chunks_exact_mut(n).enumerate() {
        let x = &x[i * k + l..][..D];
        let b = |d: usize| job.b.ptr(l + d, col);
        // SAFETY: every vector lies within the columns of these sums and of B's rows.
        unsafe {
            let mut factors = [V::zero(); D];
            for (factor, x) in factors.iter_mut().zip(x) {
                *factor = V::broadcast(*x);
            }
            for j in (0..whole).step_by(V::LANES) {
                let place = sums.as_mut_ptr().add(j);
                let mut sum = V::load(place);
                for (d, factor) in factors.into_iter().enumerate() {
                    sum = factor.mul_add(V::load(b(d).add(j)), sum);
                }
                sum.store(place);
            }
            for (j, sum) in sums.iter_mut().enumerate().skip(whole) {
                for (d, x) in x.iter().enumerate() {
                    *sum += x * *b(d).add(j);
                }
            }
        }
    }
}

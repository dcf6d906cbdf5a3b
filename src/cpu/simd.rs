//! Plain loops compiled for the vectors of the processor that runs them, chosen at run time.
//!
//! [`vectorized`] runs a closure inside a function that has AVX-512 or AVX2 enabled: once inlined
//! there, ordinary Rust loops are compiled to 512- or 256-bit instructions. Write the closure and all
//! that it calls `#[inline(always)]`, or the calls stay what the baseline compiled:
//!
//! ```
//! use copla::cpu::{simd, vectorized};
//! let (mut y, x) = (vec![1.0f32; 100], vec![2.0f32; 100]);
//! vectorized(#[inline(always)] || simd::axpy(&mut y, 0.5, &x));
//! assert!(y.iter().all(|&y| y == 2.0));
//! ```
//!
//! The helpers keep [`LANES`] partial results whatever the width of a vector and never fuse a multiply
//! with an add, so they give the same bits on every processor.

use std::sync::OnceLock;

/// What vectors a closure is compiled for, narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What the target has without asking: SSE2 on x86-64, NEON on aarch64.
    Baseline,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

/// The widest level that this processor has, asked once.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(detect)
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512) {
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        _ => Level::Baseline,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Baseline
}

impl Level {
    /// The levels that this processor can run, narrowest first.
    pub fn available() -> impl Iterator<Item = Level> {
        [Level::Baseline, Level::Avx2, Level::Avx512].into_iter().filter(|&l| l <= level())
    }
}

/// Runs `work` compiled for the widest vectors of this processor.
#[inline(always)]
pub fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    vectorized_at(level(), work)
}

/// [`vectorized`] at a level of choice, lowered to what the processor has.
#[inline(always)]
pub fn vectorized_at<R>(wanted: Level, work: impl FnOnce() -> R) -> R {
    match wanted.min(level()) {
        // SAFETY (both): no higher than what `level` detected.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { with_avx512(work) },
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { with_avx2(work) },
        _ => work(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
fn with_avx512<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// Partial results that a reduction keeps: enough vectors to hide the latency of an addition, and a
/// constant, so that the order of a sum does not depend on the processor.
pub const LANES: usize = 32;

/// Folds in [`LANES`] interleaved lanes, then the lanes in halves. `start` must leave any value as it
/// is: it also fills the last block up, so that the lanes never leave their registers.
#[inline(always)]
fn fold(
    x: &[f32],
    start: f32,
    step: impl Fn(f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
) -> f32 {
    let (blocks, tail) = x.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for block in blocks {
        for i in 0..LANES {
            lanes[i] = step(lanes[i], block[i]);
        }
    }
    if !tail.is_empty() {
        let block = filled_up(tail, start);
        for i in 0..LANES {
            lanes[i] = step(lanes[i], block[i]);
        }
    }
    join_lanes(lanes, join)
}

#[inline(always)]
fn filled_up(tail: &[f32], with: f32) -> [f32; LANES] {
    let mut block = [with; LANES];
    block[..tail.len()].copy_from_slice(tail);
    block
}

#[inline(always)]
fn join_lanes(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = join(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Σ xᵢ.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    fold(x, 0.0, |lane, value| lane + value, |a, b| a + b)
}

/// Σ xᵢ².
#[inline(always)]
pub fn sum_of_squares(x: &[f32]) -> f32 {
    fold(x, 0.0, |lane, value| lane + value * value, |a, b| a + b)
}

/// The largest element, NaN if there is one (as `torch.max`), −∞ of nothing.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a || b.is_nan() { b } else { a };
    fold(x, f32::NEG_INFINITY, larger, larger)
}

/// Σ aᵢbᵢ.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "dot of two lengths");
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    if !a_tail.is_empty() {
        let (a, b) = (filled_up(a_tail, 0.0), filled_up(b_tail, 0.0));
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    join_lanes(lanes, |a, b| a + b)
}

/// y += a·x.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn axpy(y: &mut [f32], a: f32, x: &[f32]) {
    assert_eq!(y.len(), x.len(), "axpy of two lengths");
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// x *= a.
#[inline(always)]
pub fn scale(x: &mut [f32], a: f32) {
    for x in x {
        *x *= a;
    }
}

/// y += x.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn add_into(y: &mut [f32], x: &[f32]) {
    assert_eq!(y.len(), x.len(), "add_into of two lengths");
    for (y, x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| (((i * 7919 + seed * 104_729) % 2003) as f32 - 1001.0) / 317.0).collect()
    }

    #[test]
    fn reductions_agree_with_f64_and_between_levels() {
        for n in [0, 1, 5, 31, 32, 33, 769, 5000] {
            let (a, b) = (numbers(n, 1), numbers(n, 2));
            let wide = |f: &dyn Fn(usize) -> f64| (0..n).map(f).sum::<f64>();
            let (a64, b64) = (|i: usize| f64::from(a[i]), |i: usize| f64::from(b[i]));
            let want = [
                wide(&a64),
                wide(&|i| a64(i) * a64(i)),
                wide(&|i| a64(i) * b64(i)),
                (0..n).map(a64).fold(f64::NEG_INFINITY, f64::max),
            ];
            let bound = 1e-5
                + 1.3e-6 * wide(&|i| a64(i).abs().max(a64(i).powi(2)).max((a64(i) * b64(i)).abs()));
            let mut first = None;
            for level in Level::available() {
                let got = vectorized_at(
                    level,
                    #[inline(always)]
                    || [sum(&a), sum_of_squares(&a), dot(&a, &b), max(&a)],
                );
                for (got, want) in got.iter().zip(want) {
                    assert!(
                        f64::from(*got) == want || (f64::from(*got) - want).abs() <= bound,
                        "{n}: {got} {want}"
                    );
                }
                let bits = got.map(f32::to_bits);
                assert_eq!(*first.get_or_insert(bits), bits, "{level:?} differs at {n}");
            }
        }
    }

    #[test]
    fn updates_reach_every_element() {
        for n in [0, 1, 33, 100] {
            let x = numbers(n, 3);
            let mut y = numbers(n, 4);
            let want: Vec<f32> =
                y.iter().zip(&x).map(|(y, x)| ((y + 3.0 * x) + x) * 0.25).collect();
            vectorized(
                #[inline(always)]
                || {
                    axpy(&mut y, 3.0, &x);
                    add_into(&mut y, &x);
                    scale(&mut y, 0.25);
                },
            );
            assert_eq!(y, want);
        }
    }

    #[test]
    fn max_shows_nan() {
        for at in [0, 1, 40, 63] {
            let mut x = numbers(64, 5);
            x[at] = f32::NAN;
            assert!(max(&x).is_nan(), "NaN at {at}");
        }
        assert_eq!(max(&[]), f32::NEG_INFINITY);
    }
}

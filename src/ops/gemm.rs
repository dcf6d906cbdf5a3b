//! The matrix product of tensors on a card, as `cpu::gemm` is on the CPU: bounds checked, any types.
//!
//! Factors that cuBLAS does not take together (bf16 below sm_80, or two different types) are copied
//! to f32 in scratch first, and the product goes through f32 to a type that it cannot write.

use crate::cuda::{Argument, Epilogue, Gemm, Gpu, Matrix, Ptr};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Buffer, Device, Tensor, ViewMut};
use std::marker::PhantomData;
use std::ops::Range;

/// Elements in a row on a card.
pub(super) trait Elements: Argument {
    fn gpu(&self) -> Result<&'static Gpu>;
    fn dtype(&self) -> DType;
    fn len(&self) -> usize;
}

macro_rules! elements {
    ($Type:ty, $len:ident) => {
        impl Elements for $Type {
            fn gpu(&self) -> Result<&'static Gpu> {
                self.gpu()
            }
            fn dtype(&self) -> DType {
                self.dtype()
            }
            fn len(&self) -> usize {
                self.$len()
            }
        }
    };
}
elements!(Tensor, numel);
elements!(Buffer, len);
elements!(ViewMut<'_>, len);

/// A row-major matrix to read, or one of many.
#[derive(Clone, Copy)]
pub(super) struct Mat<'a> {
    gpu: &'static Gpu,
    matrix: Matrix,
    /// Elements from the first to the end of what it was made from.
    room: usize,
    borrow: PhantomData<&'a ()>,
}

impl<'a> Mat<'a> {
    /// [rows, cols] without gaps, from element `first` of `x` on.
    pub fn new(x: &'a impl Elements, first: usize, [rows, cols]: [usize; 2]) -> Result<Self> {
        let (start, dtype) = (Ptr(x.word()?).offset(first * x.dtype().size()), x.dtype());
        let (row_stride, stride) = (cols.max(1), rows * cols);
        let matrix = Matrix { start, dtype, rows, cols, row_stride, transposed: false, stride };
        let room = x.len().saturating_sub(first);
        Ok(Mat { gpu: x.gpu()?, matrix, room, borrow: PhantomData })
    }

    /// A tensor [.., cols] as [rows, cols].
    pub fn of(x: &'a Tensor) -> Result<Self> {
        Self::new(x, 0, [x.shape().rows(), x.shape().last_dim()])
    }

    /// The rows `at` of a tensor [.., cols].
    pub fn of_rows(x: &'a Tensor, at: &Range<usize>) -> Result<Self> {
        let cols = x.shape().last_dim();
        Self::new(x, at.start * cols, [at.len(), cols])
    }

    /// The transpose: the same elements.
    pub fn t(mut self) -> Self {
        let Matrix { rows, cols, transposed, .. } = self.matrix;
        self.matrix = Matrix { rows: cols, cols: rows, transposed: !transposed, ..self.matrix };
        self
    }

    /// The next matrix of many begins `stride` elements after this one; without it, where it ends.
    pub fn every(mut self, stride: usize) -> Self {
        self.matrix.stride = stride;
        self
    }

    /// Elements from the first of the first matrix to one past the last of the last.
    fn extent(&self, count: usize) -> usize {
        let Matrix { rows, cols, row_stride, transposed, stride, .. } = self.matrix;
        let (rows, cols) = if transposed { (cols, rows) } else { (rows, cols) };
        if rows == 0 || cols == 0 || count == 0 {
            return 0;
        }
        (count - 1) * stride + (rows - 1) * row_stride + cols
    }

    /// These matrices in f32: themselves, or copies in the buffer that comes with them.
    fn widened(self, count: usize) -> Result<(Matrix, Option<Buffer>)> {
        if self.matrix.dtype == DType::F32 {
            return Ok((self.matrix, None));
        }
        let copy = Buffer::new(Device::Cuda(self.gpu.ordinal()), DType::F32, self.extent(count))?;
        let wide = Matrix { start: Ptr(copy.word()?), dtype: DType::F32, ..self.matrix };
        // SAFETY: the copy has as many elements as the matrices take, which `inside` has checked.
        unsafe { add(self.gpu, wide, 0.0, self.matrix, copy.len())? };
        Ok((wide, Some(copy)))
    }

    fn inside(&self, count: usize) -> Result<()> {
        let extent = self.extent(count);
        if extent <= self.room {
            return Ok(());
        }
        let expected = format!("matrices within {} elements", self.room);
        Err(Error::shape("gemm", expected, format!("{count} that take {extent}")))
    }
}

/// A row-major matrix to write, or one of many.
pub(super) struct MatMut<'a>(Mat<'a>);

impl<'a> MatMut<'a> {
    /// [rows, cols] without gaps, from element `first` of `y` on.
    pub fn new(y: &'a mut ViewMut, first: usize, dims: [usize; 2]) -> Result<Self> {
        Mat::new(y, first, dims).map(MatMut)
    }

    /// As [`Mat::every`].
    pub fn every(self, stride: usize) -> Self {
        MatMut(self.0.every(stride))
    }
}

/// C = α·A·B + β·C: A is [m, k], B [k, n], C [m, n]. With β = 0, C is written and not read.
pub(super) fn gemm(alpha: f32, a: Mat, b: Mat, beta: f32, c: MatMut) -> Result<()> {
    gemms(1, alpha, a, b, beta, c)
}

/// `count` products at once; no two write to one place.
pub(super) fn gemms(
    count: usize,
    alpha: f32,
    a: Mat,
    b: Mat,
    beta: f32,
    MatMut(c): MatMut,
) -> Result<()> {
    let gpu = c.gpu;
    [a, b, c].iter().try_for_each(|x| x.inside(count))?;
    let size = c.matrix.rows * c.matrix.cols;
    if c.matrix.stride < size && count > 1 {
        let expected = format!("results of {size} elements beside each other");
        return Err(Error::shape("gemm", expected, format!("one every {}", c.matrix.stride)));
    }
    let product = Gemm { alpha, a: a.matrix, b: b.matrix, beta, c: c.matrix, count };
    if a.matrix.cols == 0 {
        return scale(&c, count, beta);
    }
    if gpu.multiplies(a.matrix.dtype, b.matrix.dtype, c.matrix.dtype) {
        // SAFETY: the matrices lie within tensors, those of C in one that is borrowed mutably.
        return unsafe { gpu.gemm(&product) };
    }
    let ((a, _a), (b, _b)) = (a.widened(count)?, b.widened(count)?);
    if c.matrix.dtype == DType::F32 {
        // SAFETY: as above, and the copies are as large as what they are copies of.
        return unsafe { gpu.gemm(&Gemm { a, b, ..product }) };
    }
    let sum = Buffer::new(Device::Cuda(gpu.ordinal()), DType::F32, count * size)?;
    let wide = Matrix { start: Ptr(sum.word()?), dtype: DType::F32, stride: size, ..c.matrix };
    // SAFETY: as above, and C's stand-in has room for all results.
    unsafe { gpu.gemm(&Gemm { a, b, beta: 0.0, c: wide, ..product })? };
    for i in 0..count {
        let at = |x: Matrix| {
            let start = x.start.offset(i * x.stride * x.dtype.size());
            Matrix { start, ..x }
        };
        // SAFETY: both have `size` elements without gaps from there on.
        unsafe { add(gpu, at(c.matrix), beta, at(wide), size)? };
    }
    Ok(())
}

/// C = A·B with its [`Epilogue`] where card and library do it in one; `false` where nothing was done.
pub(super) fn gemm_then(
    a: Mat,
    b: Mat,
    MatMut(c): MatMut,
    bias: &Tensor,
    before_gelu: Option<&ViewMut>,
) -> Result<bool> {
    [a, b, c].iter().try_for_each(|x| x.inside(1))?;
    let (rows, cols) = (c.matrix.rows, c.matrix.cols);
    let fits = bias.numel() == cols && before_gelu.is_none_or(|u| u.len() == rows * cols);
    if !fits || bias.dtype() != c.matrix.dtype || a.matrix.cols == 0 {
        return Ok(false);
    }
    let epilogue =
        Epilogue { bias: bias.ptr()?, before_gelu: before_gelu.map(ViewMut::ptr).transpose()? };
    let (a, b, c, gpu) = (a.matrix, b.matrix, c.matrix, c.gpu);
    // SAFETY: as in `gemms`; the bias has a number for each column, and what GELU is applied to has
    // the size of C.
    unsafe { gpu.gemm_then(&Gemm { alpha: 1.0, a, b, beta: 0.0, c, count: 1 }, epilogue) }
}

/// What is left of products without terms: C = β·C.
fn scale(c: &Mat, count: usize, beta: f32) -> Result<()> {
    let Matrix { start, dtype, stride, .. } = c.matrix;
    let size = c.matrix.rows * c.matrix.cols;
    if beta == 1.0 {
        return Ok(());
    }
    if beta != 0.0 {
        return Err(Error::shape(
            "gemm",
            "beta 0 or 1 for a product without terms",
            format!("{beta}"),
        ));
    }
    for i in 0..count {
        // SAFETY: `inside` has checked that so many elements lie there.
        unsafe { c.gpu.fill(start.offset(i * stride * dtype.size()), 0, dtype.size(), size)? };
    }
    Ok(())
}

/// to = beta·to + from, `n` elements without gaps.
///
/// # Safety
///
/// There are so many at both places.
unsafe fn add(gpu: &Gpu, to: Matrix, beta: f32, from: Matrix, n: usize) -> Result<()> {
    let launch = gpu
        .kernel("accumulate", format!("accumulate_{}_{}", to.dtype, from.dtype))
        .grid(gpu.blocks(n, 256), 1, 1)
        .block(256)
        .arg(to.start)
        .arg(from.start)
        .arg(beta)
        .arg(n as u64);
    // SAFETY: the caller answers for the elements; their types are in the name.
    unsafe { launch.run() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::*;
    use crate::tensor::Tensor;

    /// C = 2·A·B + β·C on the card, `a` transposed where it says so, into a C of ones.
    fn product(
        a: &Tensor,
        b: &Tensor,
        transposed: bool,
        beta: f32,
        dtype: DType,
    ) -> Result<Tensor> {
        let device = a.device();
        let (left, right) = (Mat::of(a)?, Mat::of(b)?);
        let left = if transposed { left.t() } else { left };
        let dims = [left.matrix.rows, right.matrix.cols];
        let mut c = Tensor::full(1.0, &dims, dtype, device)?.into_buffer()?;
        gemm(2.0, left, right, beta, MatMut::new(&mut c.view_mut(), 0, dims)?)?;
        Ok(Tensor::new(c, crate::Shape::new(&dims)?))
    }

    #[test]
    fn any_types_meet_in_any_type() {
        let floats = [DType::F32, DType::F16, DType::BF16];
        let (a, b) = (normal(&[5, 7], 1), normal(&[5, 9], 2));
        let combinations = floats.iter().flat_map(|a| floats.iter().map(move |b| (*a, *b)));
        on_cuda(|device| {
            for ((ta, tb), tc) in combinations.clone().flat_map(|ab| floats.map(|c| (ab, c))) {
                let (a, b) = (a.cast(ta).unwrap(), b.cast(tb).unwrap());
                let wide = |x: &Tensor| x.cast(DType::F32).unwrap();
                let product_of = wide(&a).transpose(0, 1).unwrap().matmul(&wide(&b)).unwrap();
                let [a, b] = [a, b].map(|x| x.to_device(device).unwrap());
                for beta in [0.0, 1.0, 0.5] {
                    let c = product(&a, &b, true, beta, tc).unwrap();
                    let twice = product_of.mul_scalar(2.0).unwrap();
                    let expected = twice.add_scalar(beta).unwrap();
                    let what = format!("{ta}·{tb} → {tc}, β = {beta}");
                    assert_close(&what, &c, &expected, tolerance(tc));
                }
            }
        });
    }

    #[test]
    fn what_lies_beyond_a_tensor_is_refused() {
        on_cuda(|device| {
            let x = Tensor::zeros(&[3, 4], DType::F32, device).unwrap();
            let mut y = Buffer::new(device, DType::F32, 12).unwrap();
            let x = |first| Mat::new(&x, first, [2, 2]).unwrap();
            let mut error = |first, stride| {
                let mut view = y.view_mut();
                let c = MatMut::new(&mut view, 0, [2, 2]).unwrap().every(stride);
                gemms(2, 1.0, x(first), x(0), 0.0, c).unwrap_err().to_string()
            };
            assert_eq!(
                error(8, 4),
                "gemm: expected matrices within 4 elements, found 2 that take 8"
            );
            assert_eq!(
                error(0, 2),
                "gemm: expected results of 4 elements beside each other, found one every 2"
            );
        });
    }
}

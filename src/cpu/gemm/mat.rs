//! Matrices that borrow their numbers: a read-only view with any strides, a writable one by rows.

use crate::cpu::threads::Disjoint;
use std::marker::PhantomData;

/// A matrix to read: element (i, j) is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// Elements from the first to one past the last of a matrix.
fn extent(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> usize {
    if rows == 0 || cols == 0 {
        return 0;
    }
    let last = |n: usize, stride: usize| (n - 1).checked_mul(stride);
    last(rows, row_stride)
        .zip(last(cols, col_stride))
        .and_then(|(row, col)| row.checked_add(col)?.checked_add(1))
        .unwrap_or(usize::MAX)
}

impl<'a> Mat<'a> {
    /// `data` as [rows, cols], row-major and without gaps.
    ///
    /// # Panics
    /// If `data` is not rows × cols numbers.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "numbers for a matrix [{rows}, {cols}]");
        Mat { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// A matrix whose element (i, j) is `data[i * row_stride + j * col_stride]`.
    ///
    /// # Panics
    /// If an element lies beyond `data`.
    pub fn strided(
        data: &'a [f32],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Self {
        let extent = extent(rows, cols, row_stride, col_stride);
        assert!(
            extent <= data.len(),
            "[{rows}, {cols}] with strides ({row_stride}, {col_stride}) in {} numbers",
            data.len()
        );
        Mat { data, rows, cols, row_stride, col_stride }
    }

    /// The transpose: the same numbers, the strides exchanged.
    pub fn t(self) -> Self {
        Mat {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements between a row and the next.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Elements between a column and the next.
    pub fn col_stride(&self) -> usize {
        self.col_stride
    }

    /// Element (i, j).
    ///
    /// # Panics
    /// If there is none.
    pub fn at(&self, i: usize, j: usize) -> f32 {
        assert!(i < self.rows && j < self.cols, "({i}, {j}) of [{}, {}]", self.rows, self.cols);
        self.data[i * self.row_stride + j * self.col_stride]
    }

    /// Where element (i, j) lies; meaningful for i < rows and j < cols.
    pub(super) fn ptr(&self, i: usize, j: usize) -> *const f32 {
        self.data.as_ptr().wrapping_add(i * self.row_stride + j * self.col_stride)
    }
}

/// A matrix to write, by rows: element (i, j) is `row_stride * i + j` after the first.
#[derive(Debug)]
pub struct MatMut<'a> {
    start: *mut f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: it stands for `&mut` access to its elements, and `&mut f32` is `Send` and `Sync`; only the
// driver of this folder writes through it, every element from one thread.
unsafe impl Send for MatMut<'_> {}
// SAFETY: as above.
unsafe impl Sync for MatMut<'_> {}

impl<'a> MatMut<'a> {
    /// `data` as [rows, cols], row-major and without gaps.
    ///
    /// # Panics
    /// If `data` is not rows × cols numbers.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "numbers for a matrix [{rows}, {cols}]");
        MatMut { start: data.as_mut_ptr(), rows, cols, row_stride: cols, borrow: PhantomData }
    }

    /// A matrix whose row i begins at `data[i * row_stride]`.
    ///
    /// # Panics
    /// If rows overlap, or an element lies beyond `data`.
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        let shared = Disjoint::new(data);
        // SAFETY: `data` is borrowed mutably and nothing else is handed out of it.
        unsafe { Self::shared(&shared, 0, rows, cols, row_stride) }
    }

    /// A matrix within a slice that several threads write: row i begins at `first + i * row_stride`.
    ///
    /// # Safety
    /// While it lives, no element of the matrix (the gaps between its rows are not part of it) may be
    /// reached in another way.
    ///
    /// # Panics
    /// If rows overlap, or an element lies beyond the slice.
    pub unsafe fn shared(
        within: &Disjoint<'a, f32>,
        first: usize,
        rows: usize,
        cols: usize,
        row_stride: usize,
    ) -> Self {
        assert!(rows <= 1 || cols <= row_stride, "rows of {cols} every {row_stride}");
        let extent = extent(rows, cols, row_stride, 1);
        assert!(
            first.checked_add(extent).is_some_and(|end| end <= within.len()),
            "[{rows}, {cols}] with row stride {row_stride} at {first} of {} numbers",
            within.len()
        );
        let start = within.as_mut_ptr().wrapping_add(first);
        MatMut { start, rows, cols, row_stride, borrow: PhantomData }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements between a row and the next.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Where element (i, j) lies; meaningful for i < rows and j < cols.
    pub(super) fn ptr(&self, i: usize, j: usize) -> *mut f32 {
        self.start.wrapping_add(i * self.row_stride + j)
    }
}

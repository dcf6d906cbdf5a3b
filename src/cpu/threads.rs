//! Work in parallel, cut by shape alone, so that no result depends on how many threads there are.
//!
//! Costs are in rough `f32` operations (an addition is 1, an exponential about 16): they only decide
//! where work is cut and when it is too small to be shared.

use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// What one chunk should cost: some tens of microseconds, far above what handing it to another
/// thread costs and far below what a step takes.
const CHUNK_COST: usize = 1 << 16;

/// `0..n` in chunks of about [`CHUNK_COST`].
struct Chunks {
    n: usize,
    len: usize,
}

impl Chunks {
    fn new(n: usize, cost_per_item: usize) -> Self {
        Chunks { n, len: (CHUNK_COST / cost_per_item.max(1)).clamp(1, n.max(1)) }
    }

    fn count(&self) -> usize {
        self.n.div_ceil(self.len)
    }

    fn range(&self, index: usize) -> Range<usize> {
        index * self.len..self.n.min((index + 1) * self.len)
    }
}

/// Calls `work(i)` for every `i` below `n`, in parallel and in no order. For items worth a thread of
/// their own: a head, a tile, a row of many thousands.
///
/// All parallel work goes through here by reference, so that the machinery beneath is compiled once
/// and not for every closure.
pub fn for_each(n: usize, work: impl Fn(usize) + Sync) {
    fn run(n: usize, work: &(dyn Fn(usize) + Sync)) {
        (0..n).into_par_iter().with_max_len(1).for_each(work);
    }
    if n <= 1 {
        (0..n).for_each(work);
    } else {
        run(n, &work);
    }
}

/// Cuts `out`, rows of `width`, into chunks of whole rows: `work(first_row, rows)` fills one chunk.
///
/// # Panics
/// If `out` is not a whole number of rows.
pub fn for_rows<T: Send>(
    out: &mut [T],
    width: usize,
    cost_per_row: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let rows = count_rows(out.len(), width);
    let chunks = Chunks::new(rows, cost_per_row);
    let out = Disjoint::new(out);
    for_each(chunks.count(), |index| {
        let rows = chunks.range(index);
        // SAFETY: chunks do not overlap, and each is handed out once.
        work(rows.start, unsafe { out.slice_mut(rows.start * width..rows.end * width) });
    });
}

/// [`for_rows`] over two outputs with the same number of rows: `work(first_row, rows1, rows2)`.
///
/// # Panics
/// If an output is not a whole number of rows, or they have different numbers of them.
pub fn for_rows2<T: Send, U: Send>(
    (out1, width1): (&mut [T], usize),
    (out2, width2): (&mut [U], usize),
    cost_per_row: usize,
    work: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    let rows = count_rows(out1.len(), width1);
    assert_eq!(rows, count_rows(out2.len(), width2), "two outputs with different rows");
    let out2 = Disjoint::new(out2);
    for_rows(out1, width1, cost_per_row, |first, rows1| {
        let rows = first..first + rows1.len() / width1;
        // SAFETY: chunks do not overlap, and each is handed out once.
        work(first, rows1, unsafe { out2.slice_mut(rows.start * width2..rows.end * width2) });
    });
}

fn count_rows(len: usize, width: usize) -> usize {
    assert!(
        len == 0 || (width > 0 && len.is_multiple_of(width)),
        "{len} elements in rows of {width}"
    );
    len.checked_div(width).unwrap_or(0)
}

/// `work` on every chunk of `0..n`, in parallel; the results in the order of the chunks.
pub fn map_chunks<R: Send + Default>(
    n: usize,
    cost_per_item: usize,
    work: impl Fn(Range<usize>) -> R + Sync,
) -> Vec<R> {
    let chunks = Chunks::new(n, cost_per_item);
    let mut results: Vec<R> = (0..chunks.count()).map(|_| R::default()).collect();
    let out = Disjoint::new(&mut results);
    for_each(chunks.count(), |index| {
        // SAFETY: every chunk has a result of its own.
        let result = unsafe { out.slice_mut(index..index + 1) };
        result[0] = work(chunks.range(index));
    });
    results
}

/// The sum of `work` over the chunks of `0..n`, added in their order: the same bits on any machine.
pub fn sum_chunks(
    n: usize,
    cost_per_item: usize,
    work: impl Fn(Range<usize>) -> f64 + Sync,
) -> f64 {
    map_chunks(n, cost_per_item, work).into_iter().sum()
}

/// A slice that several threads write at once, each in places of its own that are not one contiguous
/// chunk: the columns of a head, say.
pub struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a `&mut [T]` that is shared only to be cut into parts that do not overlap (the
// contract of the `unsafe` methods), so a thread gets what `&mut [T]`, which is `Send`, would give it.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}
// SAFETY: as above; there is no safe way to the elements through `&Disjoint`.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub fn new(slice: &'a mut [T]) -> Self {
        Disjoint { start: slice.as_mut_ptr(), len: slice.len(), borrow: PhantomData }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements of `range`, to write.
    ///
    /// # Safety
    /// While the returned slice lives, no element of `range` may be reached in another way: ranges
    /// handed out at the same time never overlap.
    ///
    /// # Panics
    /// If `range` is not within the slice.
    pub unsafe fn slice_mut(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: in bounds by the line above, exclusive by the caller's promise, and the borrow of
        // the whole slice lasts for 'a.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// The first element. Writing through it is bound by the contract of [`Disjoint::slice_mut`].
    pub fn as_mut_ptr(&self) -> *mut T {
        self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    }

    #[test]
    fn every_row_is_visited_once_whatever_its_cost() {
        for (rows, width, cost) in
            [(0, 3, 1), (1, 1, 1), (7, 3, 1), (1000, 3, 900), (50, 1, 1 << 20)]
        {
            let mut out = vec![0usize; rows * width];
            for_rows(&mut out, width, cost, |first, chunk| {
                for (i, value) in chunk.iter_mut().enumerate() {
                    *value += 1 + first * width + i;
                }
            });
            assert!(
                out.iter().enumerate().all(|(i, &value)| value == i + 1),
                "{rows} rows, cost {cost}"
            );
        }
    }

    #[test]
    fn two_outputs_are_cut_at_the_same_rows() {
        let (mut a, mut b) = (vec![0; 999 * 2], vec![0; 999]);
        for_rows2((&mut a, 2), (&mut b, 1), 1000, |first, a, b| {
            assert_eq!(a.len(), 2 * b.len());
            a.iter_mut().enumerate().for_each(|(i, value)| *value = 2 * first + i);
            b.iter_mut().enumerate().for_each(|(i, value)| *value = first + i);
        });
        assert!(a.iter().enumerate().all(|(i, &value)| value == i));
        assert!(b.iter().enumerate().all(|(i, &value)| value == i));
    }

    #[test]
    #[should_panic(expected = "7 elements in rows of 2")]
    fn half_a_row_is_refused() {
        for_rows(&mut [0; 7], 2, 1, |_, _| {});
    }

    #[test]
    fn sums_are_the_same_bits_for_any_number_of_threads() {
        let x: Vec<f64> = (0..100_000).map(|i| 1.0 / (i as f64 + 0.1)).collect();
        let sum = || sum_chunks(x.len(), 16, |range| x[range].iter().sum());
        let alone = with_threads(1, sum);
        assert!((alone - x.iter().sum::<f64>()).abs() < 1e-9);
        for threads in [2, 3, 7] {
            assert_eq!(alone.to_bits(), with_threads(threads, sum).to_bits(), "{threads} threads");
        }
        assert_eq!(sum_chunks(0, 1, |_| 1.0), 0.0);
    }

    #[test]
    fn chunks_come_back_in_order() {
        let ends: Vec<usize> = map_chunks(1000, 1 << 12, |range| range.end);
        assert!(ends.len() > 10 && ends.is_sorted() && ends.last() == Some(&1000));
    }

    #[test]
    fn disjoint_columns_are_written_by_many_threads() {
        let mut x = vec![0; 64 * 8];
        let columns = Disjoint::new(&mut x);
        for_each(8, |column| {
            for row in 0..64 {
                let at = row * 8 + column;
                // SAFETY: every (row, column) is visited once.
                let place = unsafe { columns.slice_mut(at..at + 1) };
                place[0] = at;
            }
        });
        assert!(x.iter().enumerate().all(|(i, &value)| value == i));
    }

    #[test]
    #[should_panic(expected = "of 3")]
    fn disjoint_keeps_its_bounds() {
        let mut x = [0; 3];
        let shared = Disjoint::new(&mut x);
        // SAFETY: nothing else is handed out.
        unsafe { shared.slice_mut(2..4) };
    }
}

//! Operands copied into panels, so that the tile reads both with stride 1 and from few pages.
//!
//! A panel is `width` lanes (rows of A or columns of B) by some depth (k), stored [depth, width]; lanes
//! beyond the matrix are zeros. The depth is cut into equal slices, each with its
//! own run of panels.

use super::kernel::Kernel;
use super::mat::Mat;
use crate::cpu::simd::vectorized_at;
use crate::cpu::threads::Disjoint;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

/// The deepest that a panel is: 16 columns of it (24 KiB) stay in the first cache while they meet every
/// row of a task.
const SLICE: usize = 384;

/// Panels of one slice that a thread packs at a time.
const TASK_PANELS: usize = 8;

/// Which operand a panel is of.
pub(super) trait Side {
    type K: Kernel;
    const WIDTH: usize;
}

pub(super) struct RowsOfA<K>(PhantomData<K>);
pub(super) struct ColsOfB<K>(PhantomData<K>);

impl<K: Kernel> Side for RowsOfA<K> {
    type K = K;
    const WIDTH: usize = K::ROWS;
}

impl<K: Kernel> Side for ColsOfB<K> {
    type K = K;
    const WIDTH: usize = K::COLS;
}

/// The part of an operand that is packed at once, as [lanes, depth]: A as it is, B transposed.
pub(super) struct Panels<'a, S> {
    pub mat: Mat<'a>,
    pub first_lane: usize,
    pub lanes: usize,
    pub first_depth: usize,
    pub depth: usize,
    pub side: PhantomData<S>,
}

/// A slice of the depth: where it begins and how deep it is.
#[derive(Clone, Copy)]
pub(super) struct Slice {
    pub first: usize,
    pub depth: usize,
}

/// Numbers that `lanes` by `depth` take when they are packed.
pub(super) fn room<S: Side>(lanes: usize, depth: usize) -> usize {
    lanes.next_multiple_of(S::WIDTH) * depth
}

impl<S: Side> Panels<'_, S> {
    /// Panels side by side in a slice.
    pub fn count(&self) -> usize {
        self.lanes.div_ceil(S::WIDTH)
    }

    pub fn slices(&self) -> impl ExactSizeIterator<Item = Slice> {
        let count = self.depth.div_ceil(SLICE);
        (0..count).map(move |index| self.slice(index, count))
    }

    fn slice(&self, index: usize, count: usize) -> Slice {
        let first = self.depth * index / count;
        Slice { first, depth: self.depth * (index + 1) / count - first }
    }

    /// Where the panels `which` of a slice lie, one after the other.
    pub fn place(&self, which: Range<usize>, slice: Slice) -> Range<usize> {
        let start = self.count() * S::WIDTH * slice.first;
        let panel = S::WIDTH * slice.depth;
        start + which.start * panel..start + which.end * panel
    }

    /// In how many tasks packing is shared: each does [`TASK_PANELS`] of one slice.
    pub fn tasks(&self) -> usize {
        self.count().div_ceil(TASK_PANELS) * self.slices().len()
    }

    /// Does one of the tasks: packs its panels into their place in `to`.
    ///
    /// # Safety
    /// No other thread does this task, and the processor has the kernel's level.
    pub unsafe fn pack(&self, task: usize, to: &Disjoint<f32>) {
        let across = self.count().div_ceil(TASK_PANELS);
        let first = task % across * TASK_PANELS;
        let which = first..self.count().min(first + TASK_PANELS);
        let slice = self.slice(task / across, self.slices().len());
        // SAFETY: no other task has this place.
        let place = unsafe { to.slice_mut(self.place(which.clone(), slice)) };
        let lane = which.start * S::WIDTH;
        let part = Part {
            start: self.mat.ptr(self.first_lane + lane, self.first_depth + slice.first),
            lane_stride: self.mat.row_stride(),
            depth_stride: self.mat.col_stride(),
            lanes: (which.len() * S::WIDTH).min(self.lanes - lane),
        };
        // SAFETY: lanes and depth of the matrix, whose bounds were checked when it was made.
        vectorized_at(
            S::K::LEVEL,
            #[inline(always)]
            || unsafe { part.pack::<S>(slice.depth, place) },
        );
    }
}

/// Some lanes where they lie in the matrix.
struct Part {
    start: *const f32,
    lane_stride: usize,
    depth_stride: usize,
    lanes: usize,
}

impl Part {
    /// # Safety
    /// From `start`, `lanes` by `depth` numbers lie at these strides; the processor has the level.
    #[inline(always)]
    unsafe fn pack<S: Side>(&self, depth: usize, to: &mut [f32]) {
        for (index, panel) in to.chunks_exact_mut(S::WIDTH * depth).enumerate() {
            let first = index * S::WIDTH;
            let whole = first + S::WIDTH <= self.lanes;
            let present = if whole { S::WIDTH } else { self.lanes - first };
            let start = self.start.wrapping_add(first * self.lane_stride);
            // SAFETY: these lanes are present.
            unsafe {
                if whole && self.lane_stride == 1 {
                    self.copy::<S>(start, panel);
                } else if whole && self.depth_stride == 1 {
                    self.transpose::<S>(start, depth, panel);
                } else {
                    self.gather::<S>(start, present, 0, panel);
                }
            }
        }
    }

    /// Lanes that lie side by side.
    #[inline(always)]
    unsafe fn copy<S: Side>(&self, start: *const f32, panel: &mut [f32]) {
        for (l, row) in panel.chunks_exact_mut(S::WIDTH).enumerate() {
            // SAFETY: the caller's.
            unsafe {
                start.add(l * self.depth_stride).copy_to_nonoverlapping(row.as_mut_ptr(), S::WIDTH)
            };
        }
    }

    /// Lanes each of which lies in one run: by blocks of up to 8 lanes and 8 steps of the depth.
    #[inline(always)]
    unsafe fn transpose<S: Side>(&self, start: *const f32, depth: usize, panel: &mut [f32]) {
        let (eights, rest) = (S::WIDTH / 8 * 8, S::WIDTH % 8);
        let blocks = depth / 8 * 8;
        // SAFETY: the caller's; every block lies within the panel.
        unsafe {
            for lane in (0..eights).step_by(8) {
                let start = start.add(lane * self.lane_stride);
                for l in (0..blocks).step_by(8) {
                    let to = panel.as_mut_ptr().add(l * S::WIDTH + lane);
                    S::K::transpose::<8>(start.add(l), self.lane_stride, to, S::WIDTH);
                }
            }
            let start_rest = start.add(eights * self.lane_stride);
            for l in (0..blocks).step_by(8) {
                let to = panel.as_mut_ptr().add(l * S::WIDTH + eights);
                match rest {
                    6 => S::K::transpose::<6>(start_rest.add(l), self.lane_stride, to, S::WIDTH),
                    4 => S::K::transpose::<4>(start_rest.add(l), self.lane_stride, to, S::WIDTH),
                    _ => {}
                }
            }
            self.gather::<S>(start, S::WIDTH, blocks, panel);
        }
    }

    /// `present` lanes at any strides from depth `from` on, zeros for those that the matrix lacks.
    #[inline(always)]
    unsafe fn gather<S: Side>(
        &self,
        start: *const f32,
        present: usize,
        from: usize,
        panel: &mut [f32],
    ) {
        for (l, row) in panel.chunks_exact_mut(S::WIDTH).enumerate().skip(from) {
            for (lane, value) in row.iter_mut().enumerate() {
                let place = start.wrapping_add(lane * self.lane_stride + l * self.depth_stride);
                // SAFETY: the caller's, for a lane that is present.
                *value = if lane < present { unsafe { *place } } else { 0.0 };
            }
        }
    }
}

#[repr(C, align(64))]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct CacheLine([f32; 16]);

/// `work` with `len` numbers that hold anything, aligned to a cache line and kept by the thread for the
/// next call.
pub(super) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! { static KEPT: Cell<Vec<CacheLine>> = const { Cell::new(Vec::new()) } }
    // Taken out while in use: a thread that waits within `work` may be given another product to do.
    let mut lines = KEPT.take();
    if lines.len() < len.div_ceil(16) {
        lines = vec![CacheLine([0.0; 16]); len.div_ceil(16)];
    }
    let result = work(&mut bytemuck::cast_slice_mut(&mut lines)[..len]);
    KEPT.set(lines);
    result
}

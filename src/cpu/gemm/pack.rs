//! Operands copied into panels, so that the tile reads both with stride 1 and from few pages.
//!
//! A panel is `width` lanes (rows of A or columns of B) by some depth (k), stored [depth, width]; lanes
//! beyond the matrix are zeros. Every slice of [`SLICE`] of the depth has its own run of panels.

use super::mat::Mat;
use crate::cpu::simd::{Level, vectorized_at};
use crate::cpu::threads::Disjoint;
use std::cell::Cell;
use std::ops::Range;

/// The depth of a panel: 16 columns of it (16 KiB) stay in the first cache while they meet every row.
pub(super) const SLICE: usize = 256;

/// Part of an operand to pack: lanes by depth, from A as it is or from the transpose of B.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// [lanes, depth]
    pub mat: Mat<'a>,
    pub first_lane: usize,
    pub lanes: usize,
    pub first_depth: usize,
    pub depth: usize,
}

/// The layout of a packed operand of `lanes` by `depth`, and where it lies.
#[derive(Clone, Copy)]
pub(super) struct Panels {
    pub width: usize,
    pub lanes: usize,
    pub depth: usize,
}

impl Panels {
    /// Panels side by side in a slice.
    pub fn count(&self) -> usize {
        self.lanes.div_ceil(self.width)
    }

    /// Numbers that the packed operand takes.
    pub fn len(&self) -> usize {
        self.count() * self.width * self.depth
    }

    /// Slices of the depth: where each begins and how deep it is.
    pub fn slices(&self) -> impl Iterator<Item = (usize, usize)> {
        let depth = self.depth;
        (0..depth).step_by(SLICE).map(move |first| (first, SLICE.min(depth - first)))
    }

    /// The numbers of one panel in the slice that begins at `first` and is `depth` deep.
    pub fn panel(&self, index: usize, (first, depth): (usize, usize)) -> Range<usize> {
        let start = self.count() * self.width * first + index * self.width * depth;
        start..start + self.width * depth
    }

    /// Packs panels `which` of one slice of `source` into their places in `to`.
    ///
    /// # Safety
    /// No other thread reaches these panels of `to`.
    pub unsafe fn pack(
        &self,
        level: Level,
        source: Source,
        which: Range<usize>,
        slice: (usize, usize),
        to: &Disjoint<f32>,
    ) {
        let Source { mat, first_lane, lanes, first_depth, .. } = source;
        let (lane_stride, depth_stride) = (mat.row_stride(), mat.col_stride());
        for index in which {
            // SAFETY: the panels of a slice do not overlap, nor do slices; the caller has these alone.
            let panel = unsafe { to.slice_mut(self.panel(index, slice)) };
            let lane = index * self.width;
            let present = self.width.min(lanes - lane);
            let from = mat.ptr(first_lane + lane, first_depth + slice.0);
            let run = Run { from, present, lane_stride, depth_stride };
            vectorized_at(
                level,
                #[inline(always)]
                || run.copy(self.width, panel),
            );
        }
    }
}

/// The lanes of one panel where they lie in the matrix.
struct Run {
    from: *const f32,
    present: usize,
    lane_stride: usize,
    depth_stride: usize,
}

impl Run {
    /// Fills `panel`, [depth, width].
    #[inline(always)]
    fn copy(&self, width: usize, panel: &mut [f32]) {
        if self.present < width {
            panel.fill(0.0);
        }
        for (l, row) in panel.chunks_exact_mut(width).enumerate() {
            for (lane, value) in row[..self.present].iter_mut().enumerate() {
                // SAFETY: a lane that is present, at a depth that the panel has: within the matrix,
                // whose bounds were checked when it was made.
                *value = unsafe { *self.from.add(lane * self.lane_stride + l * self.depth_stride) };
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

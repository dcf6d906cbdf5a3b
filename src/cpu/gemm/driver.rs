//! Products that compute more than they read: pack a block of A and of B, then multiply them tile by
//! tile, both steps shared among the threads.

use super::Job;
use super::kernel::{Kernel, Tile};
use super::pack::{Panels, Source, with_scratch};
use crate::cpu::threads::Disjoint;

/// The deepest block that is packed at once.
const BLOCK_DEPTH: usize = 4096;
/// The most numbers of A (8 MiB) and of B (16 MiB) that are packed at once. They need not fit a cache:
/// a task reads them about a hundred times less often than it multiplies.
const BLOCK_A: usize = 2 << 20;
const BLOCK_B: usize = 4 << 20;
/// Rows and columns of C in a task. The rows of A for one slice (96 KiB) stay in the second cache.
const TASK_ROWS: usize = 96;
const TASK_COLS: usize = 128;

pub(super) fn product<K: Kernel>(job: &Job) {
    let (m, n, k) = (job.c.rows(), job.c.cols(), job.a.cols());
    let block_depth = k.min(BLOCK_DEPTH);
    let block_rows = lanes_within(BLOCK_A, block_depth, m, K::ROWS);
    let block_cols = lanes_within(BLOCK_B, block_depth, n, K::COLS);
    let room_a = Panels { width: K::ROWS, lanes: block_rows, depth: block_depth }.len();
    let room_b = Panels { width: K::COLS, lanes: block_cols, depth: block_depth }.len();
    with_scratch(room_a + room_b, |scratch| {
        let (room_a, room_b) = scratch.split_at_mut(room_a);
        for first_depth in (0..k).step_by(BLOCK_DEPTH) {
            let depth = block_depth.min(k - first_depth);
            for first_col in (0..n).step_by(block_cols) {
                let cols = block_cols.min(n - first_col);
                for first_row in (0..m).step_by(block_rows) {
                    let rows = block_rows.min(m - first_row);
                    let block = Block {
                        a: Source {
                            mat: job.a,
                            first_lane: first_row,
                            lanes: rows,
                            first_depth,
                            depth,
                        },
                        b: Source {
                            mat: job.b.t(),
                            first_lane: first_col,
                            lanes: cols,
                            first_depth,
                            depth,
                        },
                    };
                    // What the loops have not moved on from is still packed.
                    let new_a = first_col == 0 || block_rows < m;
                    let new_b = first_row == 0;
                    block.pack::<K>(job, new_a, room_a, new_b, room_b);
                    block.multiply::<K>(job, room_a, room_b);
                }
            }
        }
    });
}

/// How many of `lanes` of this depth go into `room` numbers: all of them or whole panels, not fewer
/// than a few.
fn lanes_within(room: usize, depth: usize, lanes: usize, width: usize) -> usize {
    let panels = (room / (depth * width)).max(8);
    lanes.min(panels * width)
}

/// A block of C and what of A and of B goes into it.
struct Block<'a> {
    a: Source<'a>,
    b: Source<'a>,
}

impl Block<'_> {
    fn panels<K: Kernel>(&self) -> (Panels, Panels) {
        let depth = self.a.depth;
        (
            Panels { width: K::ROWS, lanes: self.a.lanes, depth },
            Panels { width: K::COLS, lanes: self.b.lanes, depth },
        )
    }

    fn pack<K: Kernel>(
        &self,
        job: &Job,
        new_a: bool,
        to_a: &mut [f32],
        new_b: bool,
        to_b: &mut [f32],
    ) {
        let (panels_a, panels_b) = self.panels::<K>();
        let (to_a, to_b) = (Disjoint::new(to_a), Disjoint::new(to_b));
        // A task packs some panels of one slice of one operand.
        let mut tasks = Vec::new();
        for (new, panels, source, to) in
            [(new_a, panels_a, self.a, &to_a), (new_b, panels_b, self.b, &to_b)]
        {
            let together = TASK_COLS / panels.width;
            for first in (0..panels.count()).step_by(together).filter(|_| new) {
                let which = first..panels.count().min(first + together);
                tasks.extend(
                    panels.slices().map(|slice| (panels, source, which.clone(), slice, to)),
                );
            }
        }
        job.for_each(tasks.len(), |index| {
            let (panels, source, which, slice, to) = tasks[index].clone();
            // SAFETY: each panel of each slice is in one task.
            unsafe { panels.pack(K::LEVEL, source, which, slice, to) };
        });
    }

    fn multiply<K: Kernel>(&self, job: &Job, a: &[f32], b: &[f32]) {
        let (panels_a, panels_b) = self.panels::<K>();
        let (rows_together, cols_together) = (TASK_ROWS.div_ceil(K::ROWS), TASK_COLS / K::COLS);
        let down = panels_a.count().div_ceil(rows_together);
        let across = panels_b.count().div_ceil(cols_together);
        job.for_each(down * across, |index| {
            let (row, col) = (index / across * rows_together, index % across * cols_together);
            let rows = row..panels_a.count().min(row + rows_together);
            let cols = col..panels_b.count().min(col + cols_together);
            for slice in panels_a.slices() {
                for col in cols.clone() {
                    let b = &b[panels_b.panel(col, slice)];
                    for row in rows.clone() {
                        let a = &a[panels_a.panel(row, slice)];
                        let first = self.a.first_depth + slice.0 == 0;
                        let beta = if first { job.beta } else { 1.0 };
                        // SAFETY: the tasks' tiles do not overlap.
                        unsafe { self.tile::<K>(job, (row, a), (col, b), beta) };
                    }
                }
            }
        });
    }

    /// Adds the product of one panel of A and one of B to the tile of C where they meet.
    ///
    /// # Safety
    /// No other thread reaches this tile.
    #[inline(always)]
    unsafe fn tile<K: Kernel>(
        &self,
        job: &Job,
        (row, a): (usize, &[f32]),
        (col, b): (usize, &[f32]),
        beta: f32,
    ) {
        let (row, col) = (row * K::ROWS, col * K::COLS);
        let rows = K::ROWS.min(self.a.lanes - row);
        let cols = K::COLS.min(self.b.lanes - col);
        let (row, col) = (self.a.first_lane + row, self.b.first_lane + col);
        let (depth, alpha) = (a.len() / K::ROWS, job.alpha);
        if rows == K::ROWS && cols == K::COLS {
            let tile = Tile { start: job.c.ptr(row, col), stride: job.c.row_stride(), alpha, beta };
            // SAFETY: a whole tile within C, ours alone; `Job` runs a kernel that the processor has;
            // the panels are [depth, ROWS] and [depth, COLS].
            unsafe { K::tile(depth, a.as_ptr(), b.as_ptr(), tile) };
        } else {
            let mut edge = [0.0; 14 * 32];
            assert!(K::ROWS * K::COLS <= edge.len());
            let tile = Tile { start: edge.as_mut_ptr(), stride: K::COLS, alpha, beta: 0.0 };
            // SAFETY: as above, into a tile of its own.
            unsafe { K::tile(depth, a.as_ptr(), b.as_ptr(), tile) };
            for i in 0..rows {
                for j in 0..cols {
                    // SAFETY: within C, ours alone.
                    unsafe { job.put(row + i, col + j, edge[i * K::COLS + j], beta) };
                }
            }
        }
    }
}

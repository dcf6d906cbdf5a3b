//! Products that compute more than they read: pack a block of A and of B, then multiply them tile by
//! tile, both steps shared among the threads.

use super::Job;
use super::kernel::{Kernel, Tile};
use super::pack::{ColsOfB, Panels, RowsOfA, room, with_scratch};
use crate::cpu::threads::Disjoint;
use std::marker::PhantomData;

/// The deepest block that is packed at once.
const BLOCK_DEPTH: usize = 4096;
/// The most numbers of A (8 MiB) and of B (16 MiB) that are packed at once. They need not fit a cache:
/// a task reads them about a hundred times less often than it multiplies.
const BLOCK_A: usize = 2 << 20;
const BLOCK_B: usize = 4 << 20;
/// The most rows of C in a task (of A, 288 KiB for one slice, which stay in the second cache), and
/// about how many columns.
const TASK_ROWS: usize = 192;
const TASK_COLS: usize = 128;

pub(super) fn product<K: Kernel>(job: &Job) {
    let (m, n, k) = (job.c.rows(), job.c.cols(), job.a.cols());
    let block_depth = k.min(BLOCK_DEPTH);
    let block_rows = lanes_within(BLOCK_A, block_depth, m, K::ROWS);
    let block_cols = lanes_within(BLOCK_B, block_depth, n, K::COLS);
    let room_a = room::<RowsOfA<K>>(block_rows, block_depth);
    let room_b = room::<ColsOfB<K>>(block_cols, block_depth);
    with_scratch(room_a + room_b, |scratch| {
        let (room_a, room_b) = scratch.split_at_mut(room_a);
        for first_depth in (0..k).step_by(BLOCK_DEPTH) {
            let depth = block_depth.min(k - first_depth);
            for first_col in (0..n).step_by(block_cols) {
                for first_row in (0..m).step_by(block_rows) {
                    let block = Block::<K> {
                        a: Panels {
                            mat: job.a,
                            first_lane: first_row,
                            lanes: block_rows.min(m - first_row),
                            first_depth,
                            depth,
                            side: PhantomData,
                        },
                        b: Panels {
                            mat: job.b.t(),
                            first_lane: first_col,
                            lanes: block_cols.min(n - first_col),
                            first_depth,
                            depth,
                            side: PhantomData,
                        },
                    };
                    // What the loops have not moved on from is still packed.
                    let new_a = first_col == 0 || block_rows < m;
                    let new_b = first_row == 0;
                    block.pack(job, new_a.then_some(&mut *room_a), new_b.then_some(&mut *room_b));
                    block.multiply(job, room_a, room_b);
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
struct Block<'a, K> {
    a: Panels<'a, RowsOfA<K>>,
    b: Panels<'a, ColsOfB<K>>,
}

impl<K: Kernel> Block<'_, K> {
    /// Packs the operands that have somewhere to go. A task packs some panels of one slice.
    fn pack(&self, job: &Job, a: Option<&mut [f32]>, b: Option<&mut [f32]>) {
        let (a, b) = (a.map(Disjoint::new), b.map(Disjoint::new));
        let tasks_a = if a.is_some() { self.a.tasks() } else { 0 };
        let tasks_b = if b.is_some() { self.b.tasks() } else { 0 };
        job.for_each(tasks_a + tasks_b, |task| {
            // SAFETY: every task has panels of its own; `Job` runs a kernel that the processor has.
            match (&a, &b) {
                (Some(a), _) if task < tasks_a => unsafe { self.a.pack(task, a) },
                (_, Some(b)) => unsafe { self.b.pack(task - tasks_a, b) },
                _ => {}
            }
        });
    }

    fn multiply(&self, job: &Job, a: &[f32], b: &[f32]) {
        let rows_together = self.a.count().div_ceil(self.a.lanes.div_ceil(TASK_ROWS));
        let cols_together = TASK_COLS / K::COLS;
        let down = self.a.count().div_ceil(rows_together);
        let across = self.b.count().div_ceil(cols_together);
        job.for_each(down * across, |index| {
            let (row, col) = (index / across * rows_together, index % across * cols_together);
            let rows = row..self.a.count().min(row + rows_together);
            let cols = col..self.b.count().min(col + cols_together);
            for slice in self.a.slices() {
                let first = self.a.first_depth + slice.first == 0;
                let beta = if first { job.beta } else { 1.0 };
                for col in cols.clone() {
                    let (b, next) =
                        b[self.b.place(col..cols.end, slice)].split_at(K::COLS * slice.depth);
                    // Every tile of this column brings its share of the next one's panel.
                    let share = (K::COLS * slice.depth).div_ceil(rows.len());
                    let mut next = next.chunks(share);
                    for row in rows.clone() {
                        let a = &a[self.a.place(row..row + 1, slice)];
                        let ahead = next.next().unwrap_or_default();
                        // SAFETY: the tasks' tiles do not overlap.
                        unsafe { self.tile(job, (row, a), (col, b), beta, ahead) };
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
    unsafe fn tile(
        &self,
        job: &Job,
        (row, a): (usize, &[f32]),
        (col, b): (usize, &[f32]),
        beta: f32,
        ahead: &[f32],
    ) {
        let (row, col) = (row * K::ROWS, col * K::COLS);
        let rows = K::ROWS.min(self.a.lanes - row);
        let cols = K::COLS.min(self.b.lanes - col);
        let (row, col) = (self.a.first_lane + row, self.b.first_lane + col);
        let (depth, alpha) = (a.len() / K::ROWS, job.alpha);
        if rows == K::ROWS && cols == K::COLS {
            let tile =
                Tile { start: job.c.ptr(row, col), stride: job.c.row_stride(), alpha, beta, ahead };
            // SAFETY: a whole tile within C, ours alone; `Job` runs a kernel that the processor has;
            // the panels are [depth, ROWS] and [depth, COLS].
            unsafe { K::tile(depth, a.as_ptr(), b.as_ptr(), tile) };
        } else {
            let mut edge = [0.0; 14 * 32];
            assert!(K::ROWS * K::COLS <= edge.len());
            let tile = Tile { start: edge.as_mut_ptr(), stride: K::COLS, alpha, beta: 0.0, ahead };
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

//! Tokenised documents cut into windows of inputs, and the rows that the windows share.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::text::Tokens;
use crate::text::batches::Order;
use crate::{Error, Result};

/// What stands in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// Windows of several documents, each of which sees only itself and counts its positions from 0.
    #[default]
    Isolate,
    /// A window of all documents end to end, as GPT-2 was trained (`group_texts` of transformers'
    /// `run_clm.py`, which drops what is left at the end). It teaches that a text depends on the strange
    /// one before it, and begins at any position.
    Concat,
    /// One window of one document. Batches have rows of like lengths and are as long as their longest.
    Alone,
}

/// Windows and the rows that they stand in, by number: 12 bytes a window and 4 a row, for a corpus may
/// have many millions.
pub(super) struct Rows {
    /// Where each window of inputs begins, and where the last one ends: they lie end to end.
    bounds: Vec<usize>,
    /// The windows of one row after another.
    windows: Vec<u32>,
    /// Where each row begins in `windows`, and where the last one ends.
    begins: Vec<u32>,
}

impl Rows {
    /// Every document, or all of them as one, is cut into windows of `time` inputs and what is left.
    /// Rows of at most `time` get those windows that `wanted` says, all of one length in a shuffled
    /// order.
    pub(super) fn new(
        tokens: &Tokens,
        time: usize,
        packing: Packing,
        order: Order,
        wanted: impl Fn(Range<usize>) -> bool,
    ) -> Result<Self> {
        let bounds = match packing {
            Packing::Concat => cut(std::iter::once(0..tokens.targets()), time),
            Packing::Isolate | Packing::Alone => {
                cut((0..tokens.documents()).map(|index| tokens.document(index)), time)
            }
        };
        let count = bounds.len() - 1;
        let number = u32::try_from(count).map_err(|_| {
            Error::usage("windows of the documents", "fewer than 2^32", count.to_string())
        })?;
        let window = |window: u32| bounds[window as usize]..bounds[window as usize + 1];
        let mut windows: Vec<u32> = (0..number)
            .map(|place| order.at(PACKING, place as usize, count) as u32)
            .filter(|&number| wanted(window(number)))
            .collect();
        let row_of: Vec<u32> = match packing {
            Packing::Isolate => {
                // Each row is met whole and in a new order, so what stands in it may well follow
                // from lengths.
                windows.sort_by_key(|&number| Reverse(window(number).len()));
                best_fit(windows.iter().map(|&number| window(number).len()), time)
            }
            Packing::Concat | Packing::Alone => (0..windows.len() as u32).collect(),
        };
        let (windows, begins) = grouped(&windows, &row_of);
        Ok(Rows { bounds, windows, begins })
    }

    pub(super) fn len(&self) -> usize {
        self.begins.len() - 1
    }

    /// Inputs of a row.
    pub(super) fn length(&self, row: usize) -> usize {
        self.windows(row).map(|window| window.len()).sum()
    }

    /// The windows of a row, as places of inputs.
    pub(super) fn windows(&self, row: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let windows = &self.windows[self.begins[row] as usize..self.begins[row + 1] as usize];
        windows.iter().map(|&window| window as usize).map(|i| self.bounds[i]..self.bounds[i + 1])
    }
}

/// The epoch whose order shuffles before packing; training never gets there.
pub(super) const PACKING: u64 = u64::MAX;

/// Where windows of at most `time` begin, which cover ranges that lie end to end, and where the last ends.
fn cut(ranges: impl Iterator<Item = Range<usize>>, time: usize) -> Vec<usize> {
    let mut bounds = vec![0];
    for range in ranges {
        bounds.extend(range.clone().step_by(time).skip(1));
        bounds.push(range.end);
    }
    bounds
}

/// Best-fit bin packing: each window goes to the fullest row that still has room for it. With the
/// longest windows first (best-fit decreasing: Johnson et al. 1974), hardly a place is left empty.
/// The row of each.
fn best_fit(lengths: impl Iterator<Item = usize>, time: usize) -> Vec<u32> {
    let mut rows = 0;
    // Room -> the rows that have just that much.
    let mut rooms: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    let place = |length: usize| {
        let tightest = rooms.range_mut(length..).next().and_then(|(&room, rows)| {
            let row = rows.pop()?;
            Some((room, row, rows.is_empty()))
        });
        let (room, row) = match tightest {
            Some((room, row, was_the_last)) => {
                if was_the_last {
                    rooms.remove(&room);
                }
                (room, row)
            }
            None => {
                rows += 1;
                (time, rows - 1)
            }
        };
        if room > length {
            rooms.entry(room - length).or_default().push(row);
        }
        row
    };
    lengths.map(place).collect()
}

/// The windows row by row, in a row in the order that they have, and where each row begins.
fn grouped(windows: &[u32], row_of: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let rows = row_of.iter().max().map_or(0, |&last| last as usize + 1);
    let mut begins = vec![0; rows + 1];
    for &row in row_of {
        begins[row as usize + 1] += 1;
    }
    for row in 0..rows {
        begins[row + 1] += begins[row];
    }
    let (mut free, mut grouped) = (begins.clone(), vec![0; windows.len()]);
    for (&window, &row) in windows.iter().zip(row_of) {
        let slot = &mut free[row as usize];
        grouped[*slot as usize] = window;
        *slot += 1;
    }
    (grouped, begins)
}

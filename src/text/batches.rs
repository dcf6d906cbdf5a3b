//! Tokenised documents become rows of windows, in which every token and every end is a target once.
//!
//! A document `t1 .. tn` is the input `[EOS, t1 .. tn]` with the targets `[t1 .. tn, EOS]`. What is
//! longer than a row is cut into windows whose targets follow one another; what is shorter shares a
//! row with others, and `first_key` lets each window see only itself. What is left at the end of a
//! row is masked **by position, never by token id**: a mask on the EOS id would hide the real ends
//! of the texts, and the model would never learn to stop.

use crate::random::{Rng, philox};
use crate::text::Tokens;
use crate::text::packing::Rows;
use crate::{Error, Result};

/// The target that counts nothing (−100 in transformers).
pub const IGNORE: u32 = u32::MAX;

/// The most tokens of a batch: far more than fit the memory of any machine as activations, and few
/// enough for the host arrays to be made before that is found out.
pub(crate) const MOST_PLACES: usize = 1 << 28;

/// Host arrays of shape `[rows, time]`, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Input ids; the padding is EOS.
    pub tokens: Vec<u32>,
    /// The id that follows each input, or [`IGNORE`].
    pub targets: Vec<u32>,
    /// The place in its window, from 0; 0 for padding.
    pub positions: Vec<u32>,
    /// The earliest index in the row that a query may read: where its window begins; for padding,
    /// its own.
    pub first_key: Vec<u32>,
    pub rows: usize,
    pub time: usize,
}

impl Batch {
    /// Nothing but padding.
    pub(super) fn padding(rows: usize, time: usize, eos: u32) -> Self {
        Batch {
            tokens: vec![eos; rows * time],
            targets: vec![IGNORE; rows * time],
            positions: vec![0; rows * time],
            first_key: (0..rows).flat_map(|_| 0..time as u32).collect(),
            rows,
            time,
        }
    }

    /// How many targets count.
    pub fn targets(&self) -> usize {
        self.targets.iter().filter(|&&target| target != IGNORE).count()
    }
}

/// Rows packed once from all documents, and the order in which they come.
///
/// The order is a pure function of (seed, epoch, place in the epoch): nothing is carried from batch
/// to batch, so a run resumes anywhere.
pub struct Batcher {
    tokens: Tokens,
    packed: Rows,
    order: Order,
    rows: usize,
    time: usize,
}

#[derive(Clone, Copy)]
pub(super) enum Order {
    Fixed,
    Shuffled { seed: u64 },
}

impl Batcher {
    /// For training: windows of one length are shuffled before packing, rows in every epoch.
    ///
    /// A batch is `rows` × `time`. Usage error: no rows, no time, or more places than any batch has. Bad
    /// data: no document, that is no end of text to learn.
    pub fn new(tokens: Tokens, time: usize, rows: usize, seed: u64) -> Result<Self> {
        Self::packed(tokens, time, rows, Order::Shuffled { seed })
    }

    /// For validation: no shuffle, every epoch the same.
    pub fn unshuffled(tokens: Tokens, time: usize, rows: usize) -> Result<Self> {
        Self::packed(tokens, time, rows, Order::Fixed)
    }

    fn packed(tokens: Tokens, time: usize, rows: usize, order: Order) -> Result<Self> {
        check_sizes(rows, time, tokens.documents())?;
        let packed = Rows::isolated(&tokens, time, order)?;
        Ok(Batcher { tokens, packed, order, rows, time })
    }

    /// The batch of this step (counted from 0, without end), always full: an epoch's rows follow
    /// those of the epoch before it, within one batch if need be.
    pub fn batch(&self, step: u64) -> Batch {
        let (first, epoch) = (step * self.rows as u64, self.packed.len() as u64);
        self.assemble((0..self.rows).map(|i| {
            let row = first + i as u64;
            self.row(row / epoch, (row % epoch) as usize)
        }))
    }

    /// Every row of this epoch once; the last batch may have fewer rows.
    pub fn epoch(&self, epoch: u64) -> impl Iterator<Item = Batch> + '_ {
        let count = self.packed.len();
        (0..count).step_by(self.rows).map(move |first| {
            let rows = first..count.min(first + self.rows);
            self.assemble(rows.map(|row| self.row(epoch, row)))
        })
    }

    /// Targets in one epoch: every token of every document, and its end.
    pub fn targets(&self) -> usize {
        self.tokens.targets()
    }

    /// Ends of text among them: one for each document.
    pub fn eos_targets(&self) -> usize {
        self.tokens.documents()
    }

    /// Rows in one epoch: divided by the rows of a batch, the steps of an epoch.
    pub fn rows_per_epoch(&self) -> usize {
        self.packed.len()
    }

    /// Batches that hold an epoch's rows; the last may hold some of the next epoch's.
    pub fn steps_per_epoch(&self) -> u64 {
        self.packed.len().div_ceil(self.rows) as u64
    }

    /// The share of all places that hold a target, in (0, 1].
    pub fn filled_share(&self) -> f64 {
        self.targets() as f64 / (self.packed.len() * self.time) as f64
    }

    fn row(&self, epoch: u64, place: usize) -> usize {
        self.order.at(epoch, place, self.packed.len())
    }

    fn assemble(&self, packed: impl ExactSizeIterator<Item = usize>) -> Batch {
        let (rows, time) = (packed.len(), self.time);
        let mut batch = Batch::padding(rows, time, self.tokens.eos());
        for (row, packed) in packed.enumerate() {
            let mut first = 0;
            for window in self.packed.windows(packed) {
                let place = row * time + first..row * time + first + window.len();
                let next = window.start + 1..window.end + 1;
                batch.first_key[place.clone()].fill(first as u32);
                for (position, slot) in batch.positions[place.clone()].iter_mut().enumerate() {
                    *slot = position as u32;
                }
                first += window.len();
                self.tokens.read(window, &mut batch.tokens[place.clone()]);
                self.tokens.read(next, &mut batch.targets[place]);
            }
        }
        batch
    }
}

/// Usage error: no rows, no time, or more places than any batch has. Bad data: no document.
pub(super) fn check_sizes(rows: usize, time: usize, documents: usize) -> Result<()> {
    if rows == 0 || time == 0 || rows.saturating_mul(time) > MOST_PLACES {
        let (expected, found) = ("1 × 1 to 2^28 tokens", format!("{rows} × {time}"));
        return Err(Error::usage("batch of rows × tokens", expected, found));
    }
    if documents == 0 {
        let thing = "ends of text among the targets";
        return Err(Error::bad_data(thing, "at least one document", "none"));
    }
    Ok(())
}

impl Order {
    /// Which of `count` things stands at `place` in `epoch`: a permutation that needs no table.
    ///
    /// A balanced Feistel network over Philox on the next even number of bits, walked until it
    /// lands below `count` (Black and Rogaway 2002, "Ciphers with arbitrary finite
    /// domains").
    pub(super) fn at(self, epoch: u64, place: usize, count: usize) -> usize {
        let Order::Shuffled { seed } = self else { return place };
        let key = Rng::new(seed).key(epoch);
        let half = (usize::BITS - (count - 1).leading_zeros()).div_ceil(2).max(1);
        let mask = (1_u64 << half) - 1;
        let mut at = place as u64;
        loop {
            let (mut left, mut right) = (at >> half, at & mask);
            for round in 0..6 {
                let word = u64::from(philox(key, [right as u32, round, half, 0])[0]);
                (left, right) = (right, left ^ (word & mask));
            }
            at = left << half | right;
            if at < count as u64 {
                return at as usize;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const EOS: u32 = 7;

    /// Documents of many lengths, empty ones and ones with the EOS id inside included.
    fn documents(seed: u64) -> Vec<Vec<u32>> {
        let word = |i: u32, j: u32| philox(seed, [i, j, 0, 0])[0];
        let document = |i| (0..word(i, 0) % 45).map(|j| word(i, j + 1) % 20).collect();
        (0..60).map(document).collect()
    }

    /// The windows of a row, as (inputs, targets), read from what the model is given.
    fn windows(batch: &Batch, row: usize) -> Vec<(Vec<u32>, Vec<u32>)> {
        let place = row * batch.time..(row + 1) * batch.time;
        let (tokens, targets) = (&batch.tokens[place.clone()], &batch.targets[place.clone()]);
        let (positions, first_key) = (&batch.positions[place.clone()], &batch.first_key[place]);
        let mut windows: Vec<(Vec<u32>, Vec<u32>)> = Vec::new();
        let mut first = 0;
        for i in 0..batch.time {
            if positions[i] == 0 {
                first = i;
                windows.push((Vec::new(), Vec::new()));
            }
            assert_eq!(first_key[i] as usize, first, "reads its own window only");
            assert_eq!(positions[i] as usize, i - first);
            if targets[i] == IGNORE {
                assert_eq!((positions[i], tokens[i]), (0, EOS));
                windows.pop();
            } else if let Some((inputs, outputs)) = windows.last_mut() {
                inputs.push(tokens[i]);
                outputs.push(targets[i]);
            }
        }
        windows
    }

    fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
        items.sort();
        items
    }

    #[test]
    fn every_token_and_every_end_is_a_target_once_per_epoch() {
        for (time, rows) in [(1, 3), (2, 1), (9, 4), (16, 5), (64, 7), (500, 2)] {
            let documents = documents(time as u64);
            // What a reader of the rule would write down, window by window.
            let mut expected = Vec::new();
            for document in &documents {
                let inputs: Vec<_> = [&[EOS], &document[..]].concat();
                let targets: Vec<_> = [&document[..], &[EOS]].concat();
                let pairs = inputs.chunks(time).zip(targets.chunks(time));
                expected.extend(pairs.map(|(inputs, targets)| (inputs.to_vec(), targets.to_vec())));
            }
            let expected = sorted(expected);
            let shuffled = Batcher::new(Tokens::from_ids(&documents, EOS), time, rows, 11).unwrap();
            let unshuffled =
                Batcher::unshuffled(Tokens::from_ids(&documents, EOS), time, rows).unwrap();
            for (batcher, epoch) in [(&shuffled, 0), (&shuffled, 5), (&unshuffled, 0)] {
                let mut found = Vec::new();
                let (mut targets, mut all_rows) = (0, 0);
                for batch in batcher.epoch(epoch) {
                    assert_eq!((batch.time, batch.tokens.len()), (time, batch.rows * time));
                    targets += batch.targets();
                    all_rows += batch.rows;
                    found.extend((0..batch.rows).flat_map(|row| windows(&batch, row)));
                }
                assert_eq!(sorted(found), expected, "time {time}, rows {rows}, epoch {epoch}");
                assert_eq!(targets, batcher.targets());
                assert_eq!(all_rows, batcher.rows_per_epoch());
                assert_eq!(batcher.eos_targets(), documents.len());
            }
        }
    }

    #[test]
    fn the_order_depends_on_seed_epoch_and_place_alone() {
        let documents = documents(1);
        let tokens = Tokens::from_ids(&documents, EOS);
        let batcher = |seed| Batcher::new(tokens.clone(), 24, 4, seed).unwrap();
        let (one, same, other) = (batcher(3), batcher(3), batcher(4));
        // Asked backwards, and forwards.
        let backwards: Vec<_> = (0..40).rev().map(|step| one.batch(step)).collect();
        let forwards: Vec<_> = (0..40).map(|step| same.batch(step)).collect();
        assert!(backwards.iter().rev().eq(&forwards));
        assert_ne!(one.batch(0), other.batch(0));
        // The endless batches are the epochs, end to end, in a new order each.
        let rows_of = |batches: Vec<Batch>| -> Vec<Vec<u32>> {
            batches
                .iter()
                .flat_map(|b| b.tokens.chunks(b.time).map(<[u32]>::to_vec).collect::<Vec<_>>())
                .collect()
        };
        let endless = rows_of((0..40).map(|step| one.batch(step)).collect());
        let epochs = [0, 1].map(|epoch| rows_of(one.epoch(epoch).collect()));
        assert_eq!(endless[..2 * one.rows_per_epoch()], epochs.concat());
        assert_ne!(epochs[0], epochs[1]);
    }

    #[test]
    fn the_order_is_a_permutation_and_mixes() {
        for count in [1, 2, 3, 5, 16, 17, 100, 1000] {
            let order = Order::Shuffled { seed: 5 };
            let places: Vec<_> = (0..count).map(|place| order.at(9, place, count)).collect();
            assert_eq!(sorted(places.clone()), (0..count).collect::<Vec<_>>());
            // Fixed points of a random permutation: one is expected, Poisson.
            let fixed = places.iter().enumerate().filter(|(i, at)| i == *at).count();
            assert!(count < 100 || fixed < 8, "{fixed} of {count} stay where they are");
        }
        // Of three things, all six orders come, each about as often.
        let mut seen = BTreeMap::new();
        for epoch in 0..6000 {
            let order = Order::Shuffled { seed: 5 };
            *seen.entry([0, 1, 2].map(|place| order.at(epoch, place, 3))).or_insert(0) += 1;
        }
        assert!(seen.len() == 6 && seen.values().all(|n| (850..1150).contains(n)), "{seen:?}");
    }

    #[test]
    fn packing_fills_the_rows() {
        let documents: Vec<Vec<u32>> = (0..2000).map(|i| vec![1; 5 + i * 7 % 90]).collect();
        let batcher = Batcher::new(Tokens::from_ids(&documents, EOS), 256, 8, 0).unwrap();
        assert!(batcher.filled_share() > 0.99, "{}", batcher.filled_share());
        let lone = Batcher::new(Tokens::from_ids(&[vec![1, 2, 3]], EOS), 8, 2, 0).unwrap();
        assert_eq!(lone.filled_share(), 0.5);
    }

    #[test]
    fn nothing_to_learn_is_refused() {
        let refused = |documents: &[Vec<u32>], time, rows| {
            Batcher::new(Tokens::from_ids(documents, EOS), time, rows, 0).err().unwrap().to_string()
        };
        assert!(refused(&[], 8, 2).contains("at least one document"));
        assert!(refused(&[vec![1]], 0, 2).contains("2 × 0"));
        assert!(refused(&[vec![1]], 8, 0).contains("0 × 8"));
    }
}

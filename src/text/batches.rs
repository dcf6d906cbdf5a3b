//! Tokenised documents become rows of windows, in which every token and every end is a target once.
//!
//! A document `t1 .. tn` is the input `[EOS, t1 .. tn]` with the targets `[t1 .. tn, EOS]`. What is
//! longer than a row is cut into windows whose targets follow one another; what is shorter shares a
//! row with others, and `first_key` lets each window see only itself, unless another [`Packing`] is
//! asked for. What is left at the end of a row is masked **by position, never by token id**: a mask on
//! the EOS id would hide the real ends of the texts, and the model would never learn to stop.

use std::ops::Range;

use crate::random::{Rng, philox};
use crate::text::Tokens;
use crate::text::packing::{Packing, Rows};
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

/// What batches are like.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    /// Tokens of a row, at most.
    pub time: usize,
    /// Rows of a batch, at most.
    pub rows: usize,
    pub packing: Packing,
    /// Whether every target with the id of the end of text is masked, as transformers'
    /// `DataCollatorForLanguageModeling` does where that id is its padding's. Nobody learns to stop from
    /// that: it is there to be compared with.
    pub mask_eos: bool,
    /// Of the order; without one, every epoch is the same.
    pub seed: Option<u64>,
}

impl BatchOptions {
    /// For validation: documents packed, each seeing only itself, their ends learnt, no shuffle.
    pub fn new(time: usize, rows: usize) -> Self {
        BatchOptions { time, rows, packing: Packing::default(), mask_eos: false, seed: None }
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
    options: BatchOptions,
    /// Targets that are masked for their id.
    masked: usize,
}

#[derive(Clone, Copy)]
pub(super) enum Order {
    Fixed,
    Shuffled { seed: u64 },
}

/// Batches whose rows are sorted by length together, where each has its own length (50 in transformers'
/// `LengthGroupedSampler`): enough for like ones to meet, few enough for others to meet each epoch.
const BUCKET: usize = 50;

impl Batcher {
    /// Packs `tokens`: in training, windows of one length are shuffled before, rows in every epoch.
    ///
    /// Usage error: no rows, no time, or more places than any batch has. Bad data: no document, that is
    /// no end of text to learn; nothing but masked targets.
    pub fn new(tokens: Tokens, options: BatchOptions) -> Result<Self> {
        let BatchOptions { time, rows, packing, mask_eos, seed } = options;
        check_sizes(rows, time, tokens.documents())?;
        let order = seed.map_or(Order::Fixed, |seed| Order::Shuffled { seed });
        let masked = |window| if mask_eos { tokens.eos_targets(window) } else { 0 };
        // A batch without a target has no loss.
        let counts = |window: Range<usize>| masked(window.clone()) < window.len();
        let packed = Rows::new(&tokens, time, packing, order, counts)?;
        if packed.len() == 0 {
            let found = "ends of text alone, which are masked";
            return Err(Error::bad_data("targets", "at least one", found));
        }
        let masked = masked(0..tokens.targets());
        Ok(Batcher { tokens, packed, order, options, masked })
    }

    /// The batch of this step (counted from 0, without end). An epoch's rows follow those of the epoch
    /// before it, within one batch if need be, so that each is full; but rows of their own lengths
    /// ([`Packing::Alone`]) end with the epoch, in batches of like ones.
    pub fn batch(&self, step: u64) -> Batch {
        if self.options.packing == Packing::Alone {
            let steps = self.steps_per_epoch();
            return self.assemble(self.bucketed(step / steps, (step % steps) as usize));
        }
        let rows = self.options.rows as u64;
        let (first, epoch) = (step * rows, self.packed.len() as u64);
        let place = |row: u64| self.row(row / epoch, (row % epoch) as usize);
        self.assemble((first..first + rows).map(place).collect())
    }

    /// Every row of this epoch once; some batch, as a rule the last, may have fewer rows.
    pub fn epoch(&self, epoch: u64) -> impl Iterator<Item = Batch> + '_ {
        (0..self.steps_per_epoch() as usize).map(move |index| {
            self.assemble(match self.options.packing {
                Packing::Alone => self.bucketed(epoch, index),
                Packing::Isolate | Packing::Concat => {
                    let rows = places(index, self.options.rows, self.packed.len());
                    rows.map(|place| self.row(epoch, place)).collect()
                }
            })
        })
    }

    /// Targets in one epoch: every token of every document, and its end; less what is masked.
    pub fn targets(&self) -> usize {
        self.tokens.targets() - self.masked
    }

    /// Ends of text among them: one for each document, or none.
    pub fn eos_targets(&self) -> usize {
        if self.options.mask_eos { 0 } else { self.tokens.documents() }
    }

    /// Targets in one epoch that count for nothing because of their id.
    pub fn masked(&self) -> usize {
        self.masked
    }

    /// Rows in one epoch: divided by the rows of a batch, the steps of an epoch.
    pub fn rows_per_epoch(&self) -> usize {
        self.packed.len()
    }

    /// Batches that hold an epoch's rows; the last may hold some of the next epoch's.
    pub fn steps_per_epoch(&self) -> u64 {
        self.packed.len().div_ceil(self.options.rows) as u64
    }

    fn row(&self, epoch: u64, place: usize) -> usize {
        self.order.at(epoch, place, self.packed.len())
    }

    /// The rows of a batch: neighbours in length among those of [`BUCKET`] batches of this epoch.
    fn bucketed(&self, epoch: u64, index: usize) -> Vec<usize> {
        let (rows, count) = (self.options.rows, self.packed.len());
        let bucket = index / BUCKET;
        let mut bucketed: Vec<usize> =
            places(bucket, rows * BUCKET, count).map(|place| self.row(epoch, place)).collect();
        bucketed.sort_by_key(|&row| self.packed.length(row));
        // The batches in an order of their own, which must not be from short to long.
        let buckets = count.div_ceil(rows * BUCKET) as u64;
        let key = BATCHES - (epoch * buckets + bucket as u64);
        let batch = self.order.at(key, index % BUCKET, bucketed.len().div_ceil(rows));
        bucketed[places(batch, rows, bucketed.len())].to_vec()
    }

    fn assemble(&self, packed: Vec<usize>) -> Batch {
        let rows = packed.len();
        let time = match self.options.packing {
            Packing::Alone => packed.iter().map(|&row| self.packed.length(row)).max().unwrap_or(0),
            Packing::Isolate | Packing::Concat => self.options.time,
        };
        let eos = self.tokens.eos();
        let mut batch = Batch::padding(rows, time, eos);
        for (row, packed) in packed.into_iter().enumerate() {
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
        if self.options.mask_eos {
            batch.targets.iter_mut().filter(|target| **target == eos).for_each(|t| *t = IGNORE);
        }
        batch
    }
}

/// The places of the `index`-th piece of `size` among `count`.
fn places(index: usize, size: usize, count: usize) -> Range<usize> {
    index * size..count.min((index + 1) * size)
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

/// The last epoch whose order shuffles the batches of a bucket; they count down from here.
const BATCHES: u64 = u64::MAX - 1;

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

    fn shuffled(documents: &[Vec<u32>], time: usize, rows: usize, seed: u64) -> Result<Batcher> {
        let options = BatchOptions { seed: Some(seed), ..BatchOptions::new(time, rows) };
        Batcher::new(Tokens::from_ids(documents, EOS), options)
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
            let mixed = shuffled(&documents, time, rows, 11).unwrap();
            let unshuffled =
                Batcher::new(Tokens::from_ids(&documents, EOS), BatchOptions::new(time, rows))
                    .unwrap();
            for (batcher, epoch) in [(&mixed, 0), (&mixed, 5), (&unshuffled, 0)] {
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

    const PACKINGS: [Packing; 3] = [Packing::Isolate, Packing::Concat, Packing::Alone];

    #[test]
    fn every_packing_has_every_target_once_per_epoch() {
        let sizes = [(1, 1), (7, 3), (16, 5), (33, 8), (500, 2)];
        for (seed, (time, rows)) in (0..).zip(sizes) {
            // Every token another, so that each target is known by its input.
            let mut id = 100..;
            let documents: Vec<Vec<u32>> =
                documents(seed).iter().map(|d| id.by_ref().take(d.len()).collect()).collect();
            let all = [documents.join(&EOS), vec![EOS]].concat();
            let all: Vec<(u32, u32)> = [EOS].iter().chain(&all).copied().zip(all.clone()).collect();
            for (packing, mask_eos) in PACKINGS.into_iter().flat_map(|p| [(p, false), (p, true)]) {
                let case = format!("{packing:?}, {time} × {rows}, masked: {mask_eos}");
                let options = BatchOptions { time, rows, packing, mask_eos, seed: Some(seed) };
                let batcher = Batcher::new(Tokens::from_ids(&documents, EOS), options).unwrap();
                let counts = |&(_, target): &(u32, u32)| !mask_eos || target != EOS;
                let expected = sorted(all.iter().copied().filter(counts).collect());
                assert_eq!(batcher.targets(), expected.len(), "{case}");
                assert_eq!(batcher.masked(), all.len() - expected.len(), "{case}");
                assert_eq!(batcher.eos_targets(), if mask_eos { 0 } else { 60 }, "{case}");
                for epoch in [0, 1, 9] {
                    let mut found = Vec::new();
                    for batch in batcher.epoch(epoch) {
                        assert!(batch.targets() > 0 && batch.rows <= rows, "{case}");
                        assert!(batch.time == time || packing == Packing::Alone, "{case}");
                        let mut longest = 0;
                        for (i, &target) in batch.targets.iter().enumerate() {
                            if target == IGNORE {
                                continue;
                            }
                            found.push((batch.tokens[i], target));
                            longest = longest.max(i % batch.time + 1);
                            if packing != Packing::Isolate {
                                let place = (batch.positions[i] as usize, batch.first_key[i]);
                                assert_eq!(place, (i % batch.time, 0), "{case}");
                            }
                        }
                        let full = packing != Packing::Alone || mask_eos || longest == batch.time;
                        assert!(full, "{case}: {longest} of {}", batch.time);
                    }
                    assert_eq!(sorted(found), expected, "{case}, epoch {epoch}");
                }
            }
        }
    }

    #[test]
    fn the_order_depends_on_seed_epoch_and_place_alone() {
        let documents = documents(1);
        for packing in PACKINGS {
            let batcher = |seed| {
                let options = BatchOptions { packing, seed, ..BatchOptions::new(24, 4) };
                Batcher::new(Tokens::from_ids(&documents, EOS), options).unwrap()
            };
            let (one, same, other) = (batcher(Some(3)), batcher(Some(3)), batcher(Some(4)));
            // Asked backwards, and forwards.
            let backwards: Vec<_> = (0..60).rev().map(|step| one.batch(step)).collect();
            let forwards: Vec<_> = (0..60).map(|step| same.batch(step)).collect();
            assert!(backwards.iter().rev().eq(&forwards));
            assert_ne!(one.batch(0), other.batch(0));
            // The endless batches are the epochs, end to end, in a new order each.
            let rows_of = |batches: &[Batch]| -> Vec<Vec<u32>> {
                batches.iter().flat_map(|b| b.tokens.chunks(b.time)).map(<[u32]>::to_vec).collect()
            };
            let endless = rows_of(&forwards);
            let epochs = [0, 1].map(|epoch| rows_of(&one.epoch(epoch).collect::<Vec<_>>()));
            assert_eq!(endless[..2 * one.rows_per_epoch()], epochs.concat(), "{packing:?}");
            assert_ne!(epochs[0], epochs[1]);
        }
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
        let filled = |batcher: Batcher| {
            let batches: Vec<Batch> = batcher.epoch(0).collect();
            let places: usize = batches.iter().map(|batch| batch.tokens.len()).sum();
            batches.iter().map(Batch::targets).sum::<usize>() as f64 / places as f64
        };
        let share = filled(shuffled(&documents, 256, 8, 0).unwrap());
        assert!(share > 0.99, "{share}");
        let alone =
            BatchOptions { packing: Packing::Alone, seed: Some(0), ..BatchOptions::new(256, 8) };
        let share = filled(Batcher::new(Tokens::from_ids(&documents, EOS), alone).unwrap());
        assert!(share > 0.97, "{share}");
        assert_eq!(filled(shuffled(&[vec![1, 2, 3]], 8, 2, 0).unwrap()), 0.5);
    }

    #[test]
    fn nothing_to_learn_is_refused() {
        let refused = |documents: &[Vec<u32>], time, rows| {
            shuffled(documents, time, rows, 0).err().unwrap().to_string()
        };
        assert!(refused(&[], 8, 2).contains("at least one document"));
        assert!(refused(&[vec![1]], 0, 2).contains("2 × 0"));
        assert!(refused(&[vec![1]], 8, 0).contains("0 × 8"));
        let masked = BatchOptions { mask_eos: true, ..BatchOptions::new(8, 2) };
        let empty = Batcher::new(Tokens::from_ids(&[vec![], vec![]], EOS), masked);
        assert!(empty.err().unwrap().to_string().contains("ends of text alone"));
    }
}

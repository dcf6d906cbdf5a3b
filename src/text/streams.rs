//! Documents end to end in streams that go on from batch to batch, for a model that carries its state.
//!
//! A document `t1 .. tn` is the input `EOS t1 .. tn` with the targets `t1 .. tn EOS`, whole in one stream,
//! and the next one follows at once. Positions count on within a document, over batches too, and are 0
//! where one begins: there the state begins anew. All streams begin anew with every epoch; those that end
//! before the longest one are padded, which is masked by position as in [`batches`](super::batches).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::Result;
use crate::text::Tokens;
use crate::text::batches::{Batch, Order, check_sizes};
use crate::text::packing::PACKING;

/// Documents shared out among streams, and the order in which they come there.
///
/// The order is a pure function of (seed, epoch, place in the epoch), but what a model carries is not: who
/// goes on after batch n must have read the batches before it.
pub struct Streams {
    tokens: Tokens,
    /// The documents of each stream.
    streams: Vec<Vec<usize>>,
    order: Order,
    time: usize,
    /// Of an epoch.
    steps: usize,
}

impl Streams {
    /// For training: as many streams as a batch has `rows`, of which each batch takes the next `time`
    /// tokens. Who shares a stream with whom is settled once; in which order they come, in every epoch.
    ///
    /// Usage error: no rows, no time, or more places than any batch has. Bad data: no document, that is
    /// no end of text to learn.
    pub fn new(tokens: Tokens, time: usize, rows: usize, seed: u64) -> Result<Self> {
        Self::shared_out(tokens, time, rows, Order::Shuffled { seed })
    }

    /// For validation: no shuffle, every epoch the same.
    pub fn unshuffled(tokens: Tokens, time: usize, rows: usize) -> Result<Self> {
        Self::shared_out(tokens, time, rows, Order::Fixed)
    }

    /// The longest documents first, each to the stream that is shortest so far (Graham 1969), so that the
    /// streams end nearly together.
    fn shared_out(tokens: Tokens, time: usize, rows: usize, order: Order) -> Result<Self> {
        let count = tokens.documents();
        check_sizes(rows, time, count)?;
        let mut documents: Vec<usize> =
            (0..count).map(|place| order.at(PACKING, place, count)).collect();
        documents.sort_by_key(|&document| Reverse(tokens.document(document).len()));
        let mut streams = vec![Vec::new(); rows];
        let mut shortest: BinaryHeap<_> = (0..rows).map(|stream| Reverse((0, stream))).collect();
        let mut longest = 0;
        for document in documents {
            if let Some(mut top) = shortest.peek_mut() {
                let Reverse((length, stream)) = &mut *top;
                streams[*stream].push(document);
                *length += tokens.document(document).len();
                longest = longest.max(*length);
            }
        }
        Ok(Streams { tokens, streams, order, time, steps: longest.div_ceil(time) })
    }

    /// The batch of this step (counted from 0, without end): the epochs follow one another.
    pub fn batch(&self, step: u64) -> Batch {
        let steps = self.steps_per_epoch();
        self.assemble(step / steps, (step % steps) as usize)
    }

    /// The batches of this epoch.
    pub fn epoch(&self, epoch: u64) -> impl Iterator<Item = Batch> + '_ {
        (0..self.steps).map(move |step| self.assemble(epoch, step))
    }

    /// Targets in one epoch: every token of every document, and its end.
    pub fn targets(&self) -> usize {
        self.tokens.targets()
    }

    /// Ends of text among them: one for each document.
    pub fn eos_targets(&self) -> usize {
        self.tokens.documents()
    }

    /// Batches of an epoch: what the longest stream takes.
    pub fn steps_per_epoch(&self) -> u64 {
        self.steps as u64
    }

    fn assemble(&self, epoch: u64, step: usize) -> Batch {
        let (rows, time) = (self.streams.len(), self.time);
        let mut batch = Batch::padding(rows, time, self.tokens.eos());
        let (begin, end) = (step * time, (step + 1) * time);
        for (row, documents) in self.streams.iter().enumerate() {
            let key = epoch * rows as u64 + row as u64;
            let mut next = 0;
            for place in 0..documents.len() {
                let document = documents[self.order.at(key, place, documents.len())];
                let inputs = self.tokens.document(document);
                // Where it lies in the stream, and what of it lies in this batch.
                let start = next;
                next += inputs.len();
                let (from, to) = (start.max(begin), next.min(end));
                if from < to {
                    let inputs = inputs.start + (from - start)..inputs.start + (to - start);
                    let slots = row * time + (from - begin)..row * time + (to - begin);
                    self.tokens.read(inputs.clone(), &mut batch.tokens[slots.clone()]);
                    let targets = inputs.start + 1..inputs.end + 1;
                    self.tokens.read(targets, &mut batch.targets[slots.clone()]);
                    batch.first_key[slots.clone()].fill((from - begin) as u32);
                    for (position, slot) in (from - start..).zip(&mut batch.positions[slots]) {
                        *slot = position as u32;
                    }
                }
                if next >= end {
                    break;
                }
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::philox;
    use crate::text::IGNORE;

    const EOS: u32 = 7;

    /// Documents of many lengths, empty ones and ones with the EOS id inside included.
    fn documents(seed: u64) -> Vec<Vec<u32>> {
        let word = |i: u32, j: u32| philox(seed, [i, j, 0, 0])[0];
        let document = |i| (0..word(i, 0) % 45).map(|j| word(i, j + 1) % 20).collect();
        (0..60).map(document).collect()
    }

    fn streams(time: usize, rows: usize, seed: u64) -> Streams {
        Streams::new(Tokens::from_ids(&documents(1), EOS), time, rows, seed).unwrap()
    }

    /// What a model that carries its state is given in one row: documents, as (inputs, targets).
    fn read(batches: &[Batch], row: usize) -> Vec<(Vec<u32>, Vec<u32>)> {
        let mut documents: Vec<(Vec<u32>, Vec<u32>)> = Vec::new();
        for batch in batches {
            let mut first = 0;
            for i in 0..batch.time {
                let at = row * batch.time + i;
                if batch.positions[at] == 0 {
                    first = i;
                    documents.push(Default::default());
                }
                assert_eq!(batch.first_key[at] as usize, first, "reads its own document only");
                if batch.targets[at] == IGNORE {
                    assert_eq!((batch.positions[at], batch.tokens[at]), (0, EOS));
                    documents.pop();
                    continue;
                }
                let (inputs, targets) = documents.last_mut().unwrap();
                assert_eq!(batch.positions[at] as usize, inputs.len(), "goes on where it was");
                inputs.push(batch.tokens[at]);
                targets.push(batch.targets[at]);
            }
        }
        documents
    }

    fn read_all(batches: &[Batch]) -> Vec<(Vec<u32>, Vec<u32>)> {
        (0..batches[0].rows).flat_map(|row| read(batches, row)).collect()
    }

    #[test]
    fn every_document_is_read_whole_once_per_epoch() {
        let pair = |document: &Vec<u32>| {
            ([&[EOS], &document[..]].concat(), [&document[..], &[EOS]].concat())
        };
        let mut expected: Vec<_> = documents(1).iter().map(pair).collect();
        expected.sort();
        // The last: more streams than documents.
        for (time, rows) in [(1, 1), (3, 4), (16, 5), (500, 2), (8, 70)] {
            let shuffled = streams(time, rows, 11);
            let tokens = Tokens::from_ids(&documents(1), EOS);
            let unshuffled = Streams::unshuffled(tokens, time, rows).unwrap();
            for (streams, epoch) in [(&shuffled, 0), (&shuffled, 5), (&unshuffled, 0)] {
                let batches: Vec<_> = streams.epoch(epoch).collect();
                let mut found = read_all(&batches);
                found.sort();
                assert_eq!(found, expected, "time {time}, rows {rows}, epoch {epoch}");
                let targets: usize = batches.iter().map(Batch::targets).sum();
                assert_eq!((targets, streams.eos_targets()), (streams.targets(), 60));
                assert!(batches.iter().all(|batch| batch.targets() > 0), "nothing to learn");
            }
        }
    }

    #[test]
    fn the_order_depends_on_seed_epoch_and_step_alone() {
        let (one, same, other) = (streams(8, 4, 3), streams(8, 4, 3), streams(8, 4, 4));
        let count = 2 * one.steps as u64;
        let backwards: Vec<_> = (0..count).rev().map(|step| one.batch(step)).collect();
        let forwards: Vec<_> = (0..count).map(|step| same.batch(step)).collect();
        assert!(backwards.iter().rev().eq(&forwards));
        assert_ne!(one.batch(0), other.batch(0));
        let epochs: Vec<Batch> = one.epoch(0).chain(one.epoch(1)).collect();
        assert_eq!(forwards, epochs);
        assert_ne!(read_all(&epochs[..one.steps]), read_all(&epochs[one.steps..]));
    }

    #[test]
    fn streams_end_nearly_together() {
        let documents: Vec<Vec<u32>> = (0..500).map(|i| vec![1; 5 + i * 7 % 90]).collect();
        let streams = Streams::new(Tokens::from_ids(&documents, EOS), 16, 8, 0).unwrap();
        let share = streams.targets() as f64 / (streams.steps * 16 * 8) as f64;
        assert!(share > 0.99, "{share}");
    }

    #[test]
    fn nothing_to_learn_is_refused() {
        let refused = |documents: &[Vec<u32>], time, rows| {
            let tokens = Tokens::from_ids(documents, EOS);
            Streams::new(tokens, time, rows, 0).err().unwrap().to_string()
        };
        assert!(refused(&[], 8, 2).contains("at least one document"));
        assert!(refused(&[vec![1]], 0, 2).contains("2 × 0"));
        assert!(refused(&[vec![1]], 8, 0).contains("0 × 8"));
    }
}

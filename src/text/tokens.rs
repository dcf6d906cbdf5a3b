//! Documents as token ids, end to end: in memory, or mapped from the [cache](cached) of an earlier run.
//!
//! The ids stand as a model reads them: `EOS t1 .. tn` of every document in turn, and one last EOS, so
//! that the target of every input is the id after it.

mod cache;

pub use cache::{Key, cached};

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::error::Result;
use crate::formats::mapped::Mapped;
use crate::text::{Special, Tokenizer};

/// Tokenised documents, and the counts of their text that the ids no longer tell. Cheap to clone: the
/// ids are shared.
#[derive(Clone)]
pub struct Tokens {
    ids: Arc<Ids>,
    /// Where each document's first EOS stands, and after them the last.
    starts: Arc<[usize]>,
    /// Characters (Unicode scalar values) of all documents.
    pub chars: usize,
    /// UTF-8 bytes of all documents.
    pub bytes: usize,
    /// Ids of all documents that stand for what the tokenizer cannot spell.
    pub unknown: usize,
}

enum Ids {
    Here(Vec<u32>),
    /// At the beginning of a file, this many bytes each.
    Mapped {
        file: Mapped,
        width: usize,
    },
}

impl Tokens {
    /// Encodes whole texts, on all threads.
    pub fn new<S: AsRef<str> + Sync>(
        tokenizer: &Tokenizer,
        texts: &[S],
        told: &mut dyn FnMut(Progress),
    ) -> Result<Self> {
        let mut ids = Vec::new();
        let texts = texts.iter().map(|text| Ok(text.as_ref()));
        let encoded = encode(tokenizer, texts, told, |more| {
            ids.extend_from_slice(more);
            Ok(())
        })?;
        let Encoded { starts, chars, bytes, unknown } = encoded;
        let (ids, starts) = (Arc::new(Ids::Here(ids)), starts.into());
        Ok(Tokens { ids, starts, chars, bytes, unknown })
    }

    /// Documents that are ids already, each without the end of text `eos`; of their text nothing is
    /// known.
    pub fn from_ids(documents: &[Vec<u32>], eos: u32) -> Self {
        let (mut ids, mut starts) = (Vec::new(), Vec::new());
        for document in documents {
            starts.push(ids.len());
            ids.push(eos);
            ids.extend_from_slice(document);
        }
        starts.push(ids.len());
        ids.push(eos);
        let (ids, starts) = (Arc::new(Ids::Here(ids)), starts.into());
        Tokens { ids, starts, chars: 0, bytes: 0, unknown: 0 }
    }

    pub fn documents(&self) -> usize {
        self.starts.len() - 1
    }

    /// The places of a document's inputs: its EOS and its tokens. Their targets are one place on.
    pub fn document(&self, index: usize) -> Range<usize> {
        self.starts[index]..self.starts[index + 1]
    }

    /// Targets in all documents: every token of each, and its end.
    pub fn targets(&self) -> usize {
        self.starts[self.documents()]
    }

    /// How many of the inputs at `places` have the end of text as their target.
    pub fn eos_targets(&self, places: Range<usize>) -> usize {
        let eos = self.eos();
        (places.start + 1..places.end + 1).filter(|&place| self.id(place) == eos).count()
    }

    /// The id that begins and ends every document.
    pub fn eos(&self) -> u32 {
        self.id(self.targets())
    }

    /// The largest id.
    pub fn largest(&self) -> u32 {
        (0..=self.targets()).into_par_iter().map(|place| self.id(place)).max().unwrap_or(0)
    }

    /// Copies the ids at `places` into `into`, which is as long.
    pub fn read(&self, places: Range<usize>, into: &mut [u32]) {
        match &*self.ids {
            Ids::Here(ids) => into.copy_from_slice(&ids[places]),
            Ids::Mapped { .. } => {
                for (slot, place) in into.iter_mut().zip(places) {
                    *slot = self.id(place);
                }
            }
        }
    }

    fn id(&self, place: usize) -> u32 {
        match &*self.ids {
            Ids::Here(ids) => ids[place],
            Ids::Mapped { file, width: 2 } => u32::from(number(file, place, u16::from_le_bytes)),
            Ids::Mapped { file, .. } => number(file, place, u32::from_le_bytes),
        }
    }
}

/// The number at `place` of an array of such numbers.
fn number<const N: usize, T>(bytes: &[u8], place: usize, from: impl Fn([u8; N]) -> T) -> T {
    let mut number = [0; N];
    number.copy_from_slice(&bytes[place * N..(place + 1) * N]);
    from(number)
}

/// How far tokenising has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub documents: usize,
    pub chars: usize,
    pub tokens: usize,
}

/// Text that is read while the text before it is encoded.
const CHUNK_BYTES: usize = 4 << 20;

struct Encoded {
    starts: Vec<usize>,
    chars: usize,
    bytes: usize,
    unknown: usize,
}

/// Encodes `documents` on all threads, a few megabytes at a time, and puts their ids end to end.
fn encode<S: AsRef<str> + Send + Sync>(
    tokenizer: &Tokenizer,
    mut documents: impl Iterator<Item = Result<S>> + Send,
    told: &mut dyn FnMut(Progress),
    mut put: impl FnMut(&[u32]) -> Result<()>,
) -> Result<Encoded> {
    let (eos, unknown) = (tokenizer.eos()?, tokenizer.special(Special::Unk));
    let mut encoded = Encoded { starts: vec![0], chars: 0, bytes: 0, unknown: 0 };
    let mut tokens = 0;
    let mut chunk = take(&mut documents)?;
    while !chunk.is_empty() {
        let (chunk_ids, next) =
            rayon::join(|| tokenizer.encode_batch(&chunk), || take(&mut documents));
        for ids in chunk_ids? {
            put(&[eos])?;
            put(&ids)?;
            tokens += 1 + ids.len();
            encoded.starts.push(tokens);
            encoded.unknown += ids.iter().filter(|&&id| Some(id) == unknown).count();
        }
        encoded.chars += chunk.par_iter().map(|text| text.as_ref().chars().count()).sum::<usize>();
        encoded.bytes += chunk.iter().map(|text| text.as_ref().len()).sum::<usize>();
        let (documents, chars) = (encoded.starts.len() - 1, encoded.chars);
        told(Progress { documents, chars, tokens });
        chunk = next?;
    }
    put(&[eos])?;
    Ok(encoded)
}

/// The next documents, about [`CHUNK_BYTES`] of them.
fn take<S: AsRef<str>>(documents: &mut impl Iterator<Item = Result<S>>) -> Result<Vec<S>> {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    while bytes < CHUNK_BYTES {
        let Some(text) = documents.next().transpose()? else { break };
        bytes += text.as_ref().len();
        chunk.push(text);
    }
    Ok(chunk)
}

//! From documents to what a run needs: tokenizer, batches, and the baseline to beat.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::text::tokens::{Key, Progress, cached};
use crate::text::{
    Batch, BatchOptions, Batcher, BpeOptions, Document, KneserNey, Packing, Split, Streams,
    Tokenizer, Tokens,
};

/// The order of the baseline: it predicts a character from the four before it.
pub const BASELINE_ORDER: usize = 5;

/// How documents become batches.
#[derive(Clone, Debug)]
pub struct DataOptions {
    /// Tokens of a row.
    pub time: usize,
    /// Rows of a batch.
    pub rows: usize,
    /// Whether rows go on from batch to batch, for a recurrent model.
    pub streams: bool,
    /// What else stands in a row; streams do not heed it.
    pub packing: Packing,
    /// See [`BatchOptions`]; streams do not heed it.
    pub mask_eos: bool,
    pub seed: u64,
    /// The folder where the tokens of much text are kept for the next run.
    pub cache: Option<PathBuf>,
}

/// Bytes of text from which its tokens are worth keeping: less is encoded within seconds, and leaves
/// nothing behind.
const KEPT_FROM: usize = 4 << 20;

/// Where the tokenizer of a run comes from.
pub enum Vocabulary {
    /// Learnt from the training part: byte-level BPE of so many tokens.
    Bpe(usize),
    /// Learnt from the training part: a token for each of its characters.
    Characters,
    /// With the model that is trained on, or learnt before.
    Given(Box<Tokenizer>),
}

/// What a run takes its batches from.
pub enum Batches {
    Packed(Batcher),
    Streams(Streams),
}

impl Batches {
    /// The batch of this step, counted from 0, without end.
    pub fn batch(&self, step: u64) -> Batch {
        match self {
            Batches::Packed(batches) => batches.batch(step),
            Batches::Streams(streams) => streams.batch(step),
        }
    }

    /// Targets in one epoch: every token of every document, and its end; less what is masked.
    pub fn targets(&self) -> usize {
        match self {
            Batches::Packed(batches) => batches.targets(),
            Batches::Streams(streams) => streams.targets(),
        }
    }

    /// The fewest batches with every target of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        match self {
            Batches::Packed(batches) => batches.steps_per_epoch(),
            Batches::Streams(streams) => streams.steps_per_epoch(),
        }
    }

    /// Targets that count for nothing because of their id.
    pub fn masked(&self) -> usize {
        match self {
            Batches::Packed(batches) => batches.masked(),
            Batches::Streams(_) => 0,
        }
    }

    /// Ends of text among them: one for each document, or none if they are masked.
    pub fn eos_targets(&self) -> usize {
        match self {
            Batches::Packed(batches) => batches.eos_targets(),
            Batches::Streams(streams) => streams.eos_targets(),
        }
    }
}

pub struct Data {
    pub tokenizer: Tokenizer,
    pub train: Batches,
    pub train_documents: usize,
    pub train_chars: usize,
    pub validation: Vec<Document>,
    /// Bits per character of a Kneser-Ney 5-gram, trained and measured on the same split.
    pub baseline_bits_per_char: f64,
}

impl Data {
    /// A tokenizer that is learnt, and the baseline, see the training part only. `told` hears how far the
    /// tokens of that part have come.
    pub fn prepare(
        parts: Split,
        vocabulary: Vocabulary,
        options: &DataOptions,
        told: &mut dyn FnMut(Progress),
    ) -> Result<Self> {
        let texts = |documents: &[Document]| -> Vec<String> {
            documents.iter().map(|document| document.text.clone()).collect()
        };
        let train = texts(&parts.train);
        let tokenizer = match vocabulary {
            Vocabulary::Bpe(vocab_size) => {
                Tokenizer::train_bpe(&train, &BpeOptions::new(vocab_size))?
            }
            Vocabulary::Characters => Tokenizer::train_chars(&train)?,
            Vocabulary::Given(tokenizer) => *tokenizer,
        };
        let tokens = tokens(&tokenizer, &train, options.cache.as_deref(), told)?;
        let train_chars = tokens.chars;
        let &DataOptions { time, rows, packing, mask_eos, seed, .. } = options;
        let batches = if options.streams {
            Batches::Streams(Streams::new(tokens, time, rows, seed)?)
        } else {
            let seed = Some(seed);
            let options = BatchOptions { time, rows, packing, mask_eos, seed };
            Batches::Packed(Batcher::new(tokens, options)?)
        };
        let baseline = KneserNey::train(&train, BASELINE_ORDER)?;
        Ok(Data {
            train: batches,
            train_documents: train.len(),
            train_chars,
            baseline_bits_per_char: baseline.bits_per_char(&texts(&parts.validation)),
            validation: parts.validation,
            tokenizer,
        })
    }

    /// Bits per character of a loss in nats per token, by the training text's characters per token.
    pub fn bits_per_char(&self, loss: f32) -> f64 {
        let tokens_per_char = self.train.targets() as f64 / self.train_chars as f64;
        f64::from(loss) / std::f64::consts::LN_2 * tokens_per_char
    }
}

/// The tokens of `texts`, of much text from `cache` where an earlier run left them.
fn tokens(
    tokenizer: &Tokenizer,
    texts: &[String],
    cache: Option<&Path>,
    told: &mut dyn FnMut(Progress),
) -> Result<Tokens> {
    let bytes: usize = texts.iter().map(String::len).sum();
    let Some(folder) = cache.filter(|_| bytes >= KEPT_FROM) else {
        return Tokens::new(tokenizer, texts, told);
    };
    let key = Key::default().add_tokenizer(tokenizer)?;
    let key = texts.iter().fold(key, |key, text| key.add("text", text));
    let documents = || Ok(texts.iter().map(Ok));
    // A folder that cannot be written to keeps nobody from training.
    cached(folder, &key, tokenizer, documents, told)
        .or_else(|_| Tokens::new(tokenizer, texts, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough text to be kept, and what a pool of `threads` makes of it; how often it told.
    fn made(texts: &[String], cache: Option<&Path>, threads: usize) -> (Vec<Batch>, usize) {
        let tokenizer = Tokenizer::train_chars(&["la niña canta"]).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut told = 0;
        let tokens = pool.install(|| tokens(&tokenizer, texts, cache, &mut |_| told += 1).unwrap());
        let options = BatchOptions { seed: Some(1), ..BatchOptions::new(64, 3) };
        let batches = pool.install(|| Batcher::new(tokens, options)).unwrap();
        ([0, 7, 1_000_000].map(|step| batches.batch(step)).to_vec(), told)
    }

    #[test]
    fn much_text_is_tokenised_once_for_all_runs() {
        let place = tempfile::tempdir().unwrap();
        let cache = Some(place.path());
        let files = || {
            let files = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
            files.filter(|path| path.extension().is_some_and(|end| end == "tokens")).count()
        };
        let mut texts: Vec<String> =
            (0..60).map(|i| "la niña canta\n".repeat(4700 + i * 7)).collect();
        let (expected, told) = made(&texts, None, 1);
        assert!(told > 1, "the way is told piece by piece");
        for (threads, read) in [(1, told), (2, 0), (1, 0)] {
            assert_eq!(made(&texts, cache, threads), (expected.clone(), read), "{threads} threads");
        }
        assert_eq!(made(&texts, None, 2), (expected.clone(), told));
        assert_eq!(files(), 1);
        // Another text, another file; little text, none; no folder, no matter.
        texts.swap(0, 1);
        assert_eq!(made(&texts, cache, 2).1, told);
        assert_eq!(files(), 2);
        made(&texts[..20], cache, 2);
        assert_eq!(files(), 2);
        let file = place.path().join("file");
        std::fs::write(&file, "no folder").unwrap();
        assert_eq!(made(&texts, Some(&file), 2).0, made(&texts, None, 2).0);
    }
}

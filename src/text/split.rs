//! Training and validation, by document: what is in one is not in the other.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::clean::NEAR;
use super::clean::duplicates::{self, Groups};
use super::{Document, Origin};
use crate::random::Rng;
use crate::{Error, Result};

/// Both sides in the order of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    pub train: Vec<Document>,
    pub validation: Vec<Document>,
}

/// What is never parted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SplitBy {
    #[default]
    Document,
    /// All documents of one author, whatever the case of the name. Those without one stand alone.
    Author,
}

impl FromStr for SplitBy {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "document" => Ok(SplitBy::Document),
            "author" => Ok(SplitBy::Author),
            _ => Err(Error::usage("split by", "document or author", name)),
        }
    }
}

#[derive(Clone, Debug)]
pub struct SplitOptions {
    /// Of the characters, in 0..1.
    pub validation_share: f64,
    pub seed: u64,
    pub by: SplitBy,
}

/// Puts about `validation_share` (of the characters, in 0..1) of the documents aside, by document:
/// [`SplitOptions::split`].
pub fn split(documents: Vec<Document>, validation_share: f64, seed: u64) -> Result<Split> {
    let by = SplitBy::Document;
    SplitOptions { validation_share, seed, by }.split(documents)
}

impl SplitOptions {
    /// Documents whose words are the same, whatever their case, spaces and punctuation, go to the
    /// same side, and so do near-duplicates (a resemblance of [`NEAR`], and chains of them) and the
    /// pieces into which one document was split, which have its origin. Which side depends on the seed and on the words (by author: on the name), not on the order of the
    /// documents, and of others only so far as the share must be met. Each side gets at least one.
    ///
    /// Usage error: a share outside 0..1. Bad data: nothing that can be parted.
    pub fn split(&self, documents: Vec<Document>) -> Result<Split> {
        let validation_share = self.validation_share;
        if !(validation_share > 0.0 && validation_share < 1.0) {
            let found = validation_share.to_string();
            return Err(Error::usage("validation share", "a number between 0 and 1", found));
        }
        // Groups in the order of a seeded hash: key -> characters.
        let keys = self.keys(&documents);
        let mut groups = BTreeMap::new();
        for (key, document) in keys.iter().zip(&documents) {
            *groups.entry(*key).or_insert(0) += document.text.chars().count();
        }
        if groups.len() < 2 {
            let expected = match self.by {
                SplitBy::Document => "at least two different ones",
                SplitBy::Author => "some by at least two different authors",
            };
            let thing = "documents to split into training and validation";
            return Err(Error::bad_data(thing, expected, groups.len().to_string()));
        }

        let total: usize = groups.values().sum();
        let target = total as f64 * validation_share;
        let mut chosen = Vec::new();
        let mut missing = target;
        for (key, &size) in &groups {
            // A group enters if it brings the share nearer; one at least is left to train on.
            if (size as f64) < 2.0 * missing && chosen.len() + 1 < groups.len() {
                chosen.push(*key);
                missing -= size as f64;
            }
        }
        if chosen.is_empty() {
            // Every group is more than twice what was asked for: the smallest overshoots least.
            chosen.extend(groups.iter().min_by_key(|&(_, size)| size).map(|(key, _)| *key));
        }

        // `chosen` is in the order of the keys.
        let mut sides = Split { train: Vec::new(), validation: Vec::new() };
        for (key, document) in keys.into_iter().zip(documents) {
            match chosen.binary_search(&key) {
                Ok(_) => sides.validation.push(document),
                Err(_) => sides.train.push(document),
            }
        }
        Ok(sides)
    }

    /// For each document the key of its group: of the hashes of its members, the smallest, seeded.
    fn keys(&self, documents: &[Document]) -> Vec<(u64, u64)> {
        let hash = |document: &Document| match self.by {
            SplitBy::Author if !document.author.trim().is_empty() => words_hash(&document.author),
            _ => words_hash(&document.text),
        };
        let hashes: Vec<u64> = documents.iter().map(hash).collect();
        let mut groups = near_groups(documents);
        groups.join_equal(hashes.iter().copied().enumerate());
        let origin = |(i, document): (usize, &Document)| {
            let Origin { source, file, row } = &document.origin;
            (*row > 0).then(|| (i, (*source, file.clone(), *row)))
        };
        groups.join_equal(documents.iter().enumerate().filter_map(origin));
        let mut smallest = hashes.clone();
        for (document, &hash) in hashes.iter().enumerate() {
            let first = groups.first(document);
            smallest[first] = smallest[first].min(hash);
        }
        let rng = Rng::new(self.seed);
        let key = |document: usize| {
            let hash = smallest[groups.first(document)];
            (rng.key(hash), hash)
        };
        (0..documents.len()).map(key).collect()
    }
}

fn near_groups(documents: &[Document]) -> Groups {
    let texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
    duplicates::near(&texts, NEAR)
}

/// Training documents without those that repeat, or nearly repeat, one of a `validation` set that is
/// given; also returns how many those were.
///
/// Bad data: an empty validation set, nothing left to train on.
pub fn hold_out(train: Vec<Document>, validation: Vec<Document>) -> Result<(Split, usize)> {
    if validation.is_empty() {
        return Err(Error::bad_data("the validation set", "at least one document", "none"));
    }
    let before = train.len();
    let repeats = repeats(&validation, &train);
    let kept = train.into_iter().zip(&repeats).filter(|(_, repeats)| **repeats == Repeats::Nothing);
    let train: Vec<Document> = kept.map(|(document, _)| document).collect();
    if train.is_empty() {
        let found = format!("none of {before}: all repeat the validation set");
        return Err(Error::bad_data("training documents", "at least one", found));
    }
    let removed = before - train.len();
    Ok((Split { train, validation }, removed))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeats {
    Nothing,
    Nearly,
    Exactly,
}

/// For each of `documents`, what it has in common with any of `known`.
fn repeats(known: &[Document], documents: &[Document]) -> Vec<Repeats> {
    let all: Vec<Document> = known.iter().chain(documents).cloned().collect();
    let groups = near_groups(&all);
    // A group's first document is known if any of it is.
    let hashes: HashSet<u64> = known.iter().map(|document| words_hash(&document.text)).collect();
    let repeats = |(i, document): (usize, &Document)| {
        if hashes.contains(&words_hash(&document.text)) {
            Repeats::Exactly
        } else if groups.first(known.len() + i) < known.len() {
            Repeats::Nearly
        } else {
            Repeats::Nothing
        }
    };
    documents.iter().enumerate().map(repeats).collect()
}

/// What a validation set has in common with what was trained on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeakReport {
    /// Validation documents with the same words as one of training.
    pub exact: usize,
    /// Further ones that nearly repeat one of training.
    pub near: usize,
    /// Of the validation's runs of eight words, the share that training holds too: idioms and verses
    /// that are quoted, or a leak.
    pub shared_8_grams: f64,
    /// Words of the longest passage of the validation all of whose runs of eight words training holds.
    pub longest_passage: usize,
}

/// One line for a person.
impl fmt::Display for LeakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exact, near, shared_8_grams, longest_passage } = self;
        write!(
            f,
            "leaks: {exact} validation documents repeat one of training, {near} nearly; {:.2} % of \
             their runs of eight words are in training too",
            shared_8_grams * 100.0
        )?;
        match longest_passage {
            0 => Ok(()),
            words => write!(f, ", the longest passage has {words} words"),
        }
    }
}

impl Split {
    pub fn leaks(&self) -> LeakReport {
        const RUN: usize = 8;
        let repeats = repeats(&self.train, &self.validation);
        let count = |kind| repeats.iter().filter(|&&found| found == kind).count();
        let runs = |document: &Document| duplicates::runs(&document.text, RUN);
        let known: HashSet<u64> = self.train.iter().flat_map(runs).collect();
        let (mut all, mut shared, mut longest) = (0, 0, 0);
        for document in &self.validation {
            let runs = runs(document);
            all += runs.len();
            for passage in runs.split(|run| !known.contains(run)).filter(|runs| !runs.is_empty()) {
                shared += passage.len();
                longest = longest.max(passage.len() + RUN - 1);
            }
        }
        LeakReport {
            exact: count(Repeats::Exactly),
            near: count(Repeats::Nearly),
            shared_8_grams: shared as f64 / all.max(1) as f64,
            longest_passage: longest,
        }
    }
}

/// FNV-1a over the words in lower case (Fowler, Noll and Vo, with their 64-bit parameters).
fn words_hash(text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut feed = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        word.to_lowercase().bytes().for_each(&mut feed);
        feed(b' ');
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::random::philox;

    fn document(text: impl Into<String>) -> Document {
        Document { text: text.into(), ..Document::default() }
    }

    fn documents(count: u32) -> Vec<Document> {
        let length = |i| 20 + philox(1, [i, 0, 0, 0])[0] as usize % 400;
        (0..count).map(|i| document(format!("n{i} ") + &"ay ".repeat(length(i)))).collect()
    }

    fn chars(documents: &[Document]) -> f64 {
        documents.iter().map(|document| document.text.chars().count()).sum::<usize>() as f64
    }

    #[test]
    fn the_share_is_near_and_nothing_is_lost() {
        let all = documents(120);
        for share in [0.05, 0.1, 0.5, 0.9] {
            for seed in 0..20 {
                let Split { train, validation } = split(all.clone(), share, seed).unwrap();
                let found = chars(&validation) / chars(&all);
                assert!((found - share).abs() < 0.01, "asked {share}, found {found}");
                let is_train = |document: &Document| train.contains(document);
                let (a, b): (Vec<_>, Vec<_>) = all.iter().cloned().partition(is_train);
                assert_eq!((a, b), (train, validation), "each once, in the order of the source");
            }
        }
    }

    #[test]
    fn the_side_depends_on_seed_and_words_alone() {
        let all = documents(50);
        let sides = |documents: Vec<Document>, seed| {
            let mut validation = split(documents, 0.2, seed).unwrap().validation;
            validation.sort_by(|a, b| a.text.cmp(&b.text));
            validation
        };
        let reversed = all.iter().rev().cloned().collect();
        assert_eq!(sides(all.clone(), 3), sides(reversed, 3));
        assert_ne!(sides(all.clone(), 3), sides(all, 4));
    }

    #[test]
    fn duplicates_stay_on_one_side() {
        let mut all = documents(30);
        for i in 0..30 {
            let text = all[i].text.clone();
            all.push(document(text.to_uppercase().replace(' ', " \n¡")));
        }
        for seed in 0..20 {
            let sides = split(all.clone(), 0.3, seed).unwrap();
            let hashes = |side: &[Document]| -> Vec<u64> {
                side.iter().map(|document| words_hash(&document.text)).collect()
            };
            let (train, validation) = (hashes(&sides.train), hashes(&sides.validation));
            assert!(validation.len() > 2 && validation.len() % 2 == 0);
            assert!(validation.iter().all(|hash| !train.contains(hash)));
        }
        assert_ne!(words_hash("ab c"), words_hash("a bc"));
    }

    #[test]
    fn each_side_has_a_document_or_the_split_is_refused() {
        for share in [1e-9, 0.5, 1.0 - 1e-9] {
            for seed in 0..10 {
                let sides = split(documents(2), share, seed).unwrap();
                assert_eq!((sides.train.len(), sides.validation.len()), (1, 1));
            }
        }
        let same = vec![document("Ay, mar"), document("ay  MAR")];
        let error = split(same, 0.1, 0).unwrap_err();
        assert_eq!(error.kind(), Kind::BadData);
        assert!(error.to_string().contains("at least two different ones, found 1"), "{error}");
        for share in [0.0, 1.0, -0.1, f64::NAN] {
            assert_eq!(split(documents(9), share, 0).unwrap_err().kind(), Kind::Usage);
        }
    }

    /// The published figures of copla's own corpus are those of this split.
    #[test]
    fn the_split_of_the_own_corpus_is_what_it_was() {
        let sides = split(crate::text::embedded().unwrap(), 0.1, 0).unwrap();
        let titles: Vec<&str> =
            sides.validation.iter().map(|document| document.title.as_str()).collect();
        let expected = [
            "Romancillo del niño y el caballo del sueño",
            "Cuento de la sopa y lo de siempre",
            "Romance del bombo de la banda",
            "Cuento de la mula Capitana",
            "Coplas de la fragua",
            "Refranes de nueva cosecha",
            "Cuento de la mujer que contaba estrellas",
            "Quintillas de la vendedora de sueños",
            "Estampa de la parada del autobús",
            "Soneto de la calle en obras",
            "Romance de la campana en la riada",
            "Haikus de la ciudad",
            "Romance de la noche en la era",
            "Romance del tren correo",
        ];
        assert_eq!((titles.as_slice(), sides.train.len()), (expected.as_slice(), 172));
        let leaks = sides.leaks();
        assert_eq!((leaks.exact, leaks.near), (0, 0));
        assert!(leaks.shared_8_grams < 0.01, "{leaks:?}");
    }

    /// A text of 60 words in a version of its own: near its other versions, and no other text.
    fn version(text: u32, version: usize) -> Document {
        let word = |i| format!("p{}", philox(2, [text, i, 0, 0])[0] % 5000);
        let mut words: Vec<String> = (0..60).map(word).collect();
        words[0] = format!("version{version}");
        let author = format!("Autora {}", text % 10);
        Document { author, text: words.join(" "), ..Document::default() }
    }

    #[test]
    fn near_duplicates_stay_on_one_side() {
        let all: Vec<Document> = (0..60).flat_map(|i| (0..3).map(move |v| version(i, v))).collect();
        for seed in 0..10 {
            let sides = split(all.clone(), 0.2, seed).unwrap();
            assert!(sides.validation.len().is_multiple_of(3) && sides.validation.len() >= 30);
            assert_eq!(sides.leaks().near, 0);
            // They would have been parted by the words alone.
            let rest: Vec<Document> = all.iter().skip(1).cloned().collect();
            let leaky = Split { train: rest, validation: vec![all[0].clone()] }.leaks();
            assert_eq!((leaky.exact, leaky.near), (0, 1));
            assert_eq!(leaky.longest_passage, 59);
            assert!((leaky.shared_8_grams - 52.0 / 53.0).abs() < 1e-9);
        }
    }

    #[test]
    fn an_author_stays_on_one_side() {
        let all: Vec<Document> = (0..60).map(|i| version(i, 0)).collect();
        let options = |seed| SplitOptions { validation_share: 0.3, seed, by: SplitBy::Author };
        let authors = |side: &[Document]| -> HashSet<String> {
            side.iter().map(|document| document.author.clone()).collect()
        };
        for seed in 0..10 {
            let sides = options(seed).split(all.clone()).unwrap();
            assert!(authors(&sides.train).is_disjoint(&authors(&sides.validation)));
            assert_eq!(sides.train.len() + sides.validation.len(), 60);
        }
        let one: Vec<Document> = (0..60).step_by(10).map(|i| version(i, 0)).collect();
        let error = options(0).split(one).unwrap_err();
        assert!(error.to_string().contains("two different authors, found 1"), "{error}");
    }

    #[test]
    fn pieces_of_one_document_stay_together() {
        let piece = |i| Document {
            origin: Origin { source: 0, file: "a.txt".into(), row: 1 + u64::from(i) / 4 },
            ..version(i, 0)
        };
        let sides = split((0..80).map(piece).collect(), 0.2, 1).unwrap();
        let rows = |side: &[Document]| -> HashSet<u64> {
            side.iter().map(|document| document.origin.row).collect()
        };
        assert!(rows(&sides.train).is_disjoint(&rows(&sides.validation)));
        assert_eq!(sides.validation.len(), 16);
    }

    #[test]
    fn a_given_validation_set_is_kept_out_of_training() {
        let validation = vec![version(0, 0), version(1, 0)];
        let mut train: Vec<Document> = (0..20).map(|i| version(i, 1)).collect();
        train.push(document(validation[0].text.to_uppercase()));
        let (sides, removed) = hold_out(train.clone(), validation.clone()).unwrap();
        assert_eq!((sides.train.len(), removed), (18, 3));
        assert_eq!(sides.validation, validation);
        assert_eq!((sides.leaks().exact, sides.leaks().near), (0, 0));
        let leaky = Split { train: train.clone(), validation: validation.clone() }.leaks();
        assert_eq!((leaky.exact, leaky.near), (1, 1));
        assert_eq!(hold_out(train.clone(), vec![]).unwrap_err().kind(), Kind::BadData);
        assert_eq!(hold_out(validation.clone(), validation).unwrap_err().kind(), Kind::BadData);
    }

    /// More documents, or another order: those that were parted by a large margin stay so.
    #[test]
    fn most_documents_keep_their_side_when_others_join() {
        let all = documents(400);
        let side = |documents: &[Document]| -> HashSet<String> {
            let sides = split(documents.to_vec(), 0.2, 7).unwrap();
            sides.validation.into_iter().map(|document| document.text).collect()
        };
        let (few, many) = (side(&all[..300]), side(&all));
        let moved = all[..300]
            .iter()
            .filter(|document| few.contains(&document.text) != many.contains(&document.text));
        assert!(moved.count() < 15);
    }
}

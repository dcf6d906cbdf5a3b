//! Training and validation, by document: what is in one is not in the other.

use std::collections::BTreeMap;

use super::Document;
use crate::random::Rng;
use crate::{Error, Result};

/// Both sides in the order of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    pub train: Vec<Document>,
    pub validation: Vec<Document>,
}

/// Puts about `validation_share` (of the characters, in 0..1) of the documents aside.
///
/// Documents whose words are the same, whatever their case, spaces and punctuation, go to the same
/// side. Which side depends on `seed` and on the words, not on the order of the documents. Each
/// side gets at least one document.
///
/// Usage error: a share outside 0..1. Bad data: fewer than two different documents.
pub fn split(documents: Vec<Document>, validation_share: f64, seed: u64) -> Result<Split> {
    if !(validation_share > 0.0 && validation_share < 1.0) {
        let found = validation_share.to_string();
        return Err(Error::usage("validation share", "a number between 0 and 1", found));
    }
    // Groups of equal documents, in the order of a seeded hash of their words: key -> characters.
    let rng = Rng::new(seed);
    let key = |document: &Document| {
        let hash = words_hash(&document.text);
        (rng.key(hash), hash)
    };
    let mut groups = BTreeMap::new();
    for document in &documents {
        *groups.entry(key(document)).or_insert(0) += document.text.chars().count();
    }
    if groups.len() < 2 {
        return Err(Error::bad_data(
            "documents to split into training and validation",
            "at least two different ones",
            groups.len().to_string(),
        ));
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
    let (validation, train) =
        documents.into_iter().partition(|document| chosen.binary_search(&key(document)).is_ok());
    Ok(Split { train, validation })
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
}

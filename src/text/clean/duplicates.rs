//! Equal and nearly equal documents: by their letters, and by MinHash over their words.
//!
//! Two documents are near-duplicates where the sets of their runs of five words (shingles) have a
//! Jaccard resemblance |A ∩ B| ÷ |A ∪ B| of at least a threshold. Comparing all pairs is quadratic.
//! Instead each set has a signature, its minimum under each of 128 hash functions, of which two sets
//! share a resemblance's share (Broder, "On the resemblance and containment of documents", 1997), and
//! only documents whose signatures agree in a whole band of rows are compared (locality-sensitive
//! hashing; Leskovec, Rajaraman and Ullman, *Mining of Massive Datasets*, 3.4). What is compared is
//! then compared exactly.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use rayon::prelude::*;

use crate::random::Rng;

/// Words of a shingle. A document of fewer words has one shingle: all of them.
const SHINGLE: usize = 5;
const SIGNATURE: usize = 128;
/// Of pairs right at the threshold, at most this share is never compared.
const MISSED: f64 = 1e-3;

/// A partition of documents 0..n; what is joined stays joined.
#[derive(Clone, Debug)]
pub struct Groups {
    /// A document of the same group that comes before, or itself.
    before: Vec<usize>,
}

impl Groups {
    /// Every document by itself.
    pub fn single(documents: usize) -> Self {
        Groups { before: (0..documents).collect() }
    }

    /// The first document of `document`'s group.
    pub fn first(&self, mut document: usize) -> usize {
        while self.before[document] != document {
            document = self.before[document];
        }
        document
    }

    pub fn join(&mut self, a: usize, b: usize) {
        let roots = [self.first(a), self.first(b)];
        let first = roots[0].min(roots[1]);
        // Those who asked get a short way, too.
        for document in [roots[0], roots[1], a, b] {
            self.before[document] = first;
        }
    }

    /// Joins all that have the same key.
    pub fn join_equal<K: Hash + Eq>(&mut self, keys: impl IntoIterator<Item = (usize, K)>) {
        let mut firsts = HashMap::new();
        for (document, key) in keys {
            let first = *firsts.entry(key).or_insert(document);
            self.join(first, document);
        }
    }

    /// Joins what `other` joined.
    pub fn join_all(&mut self, other: &Groups) {
        for document in 0..other.before.len() {
            self.join(other.before[document], document);
        }
    }

    /// How many documents are not the first of their group.
    pub fn repeated(&self) -> usize {
        (0..self.before.len()).filter(|&document| self.before[document] != document).count()
    }
}

/// Groups of documents that are equal but for case and white space.
pub fn exact<S: AsRef<str>>(texts: &[S]) -> Groups {
    let hash = |text: &S| {
        let mut hasher = DefaultHasher::new();
        normalised(text.as_ref()).for_each(|c| c.hash(&mut hasher));
        hasher.finish()
    };
    let mut same_hash: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut groups = Groups::single(texts.len());
    for (document, text) in texts.iter().enumerate() {
        let seen = same_hash.entry(hash(text)).or_default();
        let equal =
            |&&other: &&usize| normalised(texts[other].as_ref()).eq(normalised(text.as_ref()));
        match seen.iter().find(equal) {
            Some(&first) => groups.join(first, document),
            None => seen.push(document),
        }
    }
    groups
}

/// In lower case, one space between words and none at either end.
fn normalised(text: &str) -> impl Iterator<Item = char> {
    let words = text.split_whitespace();
    words.flat_map(|word| word.chars().flat_map(char::to_lowercase).chain([' ']))
}

/// Groups of documents connected by pairs of a resemblance of at least `threshold`, in 0..=1: chains
/// of near-duplicates are one group. The same texts give the same groups on any number of threads.
///
/// Words are runs of letters and digits in lower case. Each pair at the threshold is found with a
/// probability of 0.999, more similar ones more surely; the time is linear in the text where few
/// documents resemble each other. Documents of fewer than five words are alike if all words are.
pub fn near<S: AsRef<str> + Sync>(texts: &[S], threshold: f64) -> Groups {
    let signatures: Vec<Option<Signature>> =
        texts.par_iter().map(|text| Signature::of(&shingles(text.as_ref()))).collect();
    let rows = rows_of_a_band(threshold);
    let mut groups = Groups::single(texts.len());
    for band in 0..SIGNATURE / rows {
        let key = |(document, signature): (usize, &Option<Signature>)| {
            let rows = &signature.as_ref()?.minima[band * rows..][..rows];
            Some((rows.iter().fold(0, |key, &minimum| mix(key ^ u64::from(minimum))), document))
        };
        let mut keys: Vec<(u64, usize)> = signatures.iter().enumerate().filter_map(key).collect();
        keys.sort_unstable();
        for bucket in keys.chunk_by(|a, b| a.0 == b.0).filter(|bucket| bucket.len() > 1) {
            let bucket = bucket.iter().map(|&(_, document)| document);
            compare(bucket, texts, &signatures, threshold, &mut groups);
        }
    }
    groups
}

/// Compares the documents of a bucket that are not yet in one group.
fn compare<S: AsRef<str>>(
    bucket: impl Iterator<Item = usize>,
    texts: &[S],
    signatures: &[Option<Signature>],
    threshold: f64,
    groups: &mut Groups,
) {
    // By group, so that a thousand copies of one template are not compared among themselves.
    let mut clusters: Vec<Vec<usize>> = Vec::new();
    for document in bucket {
        let mut own = None;
        let mut own_shingles = None;
        for (i, cluster) in clusters.iter().enumerate() {
            if groups.first(cluster[0]) == groups.first(document) {
                own = own.or(Some(i));
                continue;
            }
            let alike = cluster.iter().any(|&other| {
                let (a, b) = (&signatures[document], &signatures[other]);
                let (Some(a), Some(b)) = (a, b) else { return false };
                a.may_resemble(b, threshold) && {
                    let a = own_shingles.get_or_insert_with(|| shingles(texts[document].as_ref()));
                    resemblance(a, &shingles(texts[other].as_ref())) >= threshold
                }
            });
            if alike {
                groups.join(cluster[0], document);
                own = own.or(Some(i));
            }
        }
        match own {
            Some(i) => clusters[i].push(document),
            None => clusters.push(vec![document]),
        }
    }
}

/// The largest number of rows that still finds nearly all pairs at the threshold: larger bands bring
/// fewer pairs that are not alike.
fn rows_of_a_band(threshold: f64) -> usize {
    let missed = |rows: usize| {
        let bands = (SIGNATURE / rows) as i32;
        (1.0 - threshold.powi(rows as i32)).powi(bands)
    };
    (1..=16).rev().find(|&rows| missed(rows) <= MISSED).unwrap_or(1)
}

/// The hash of every run of `length` words of a text, in its order: words are letters and digits in
/// lower case.
pub fn runs(text: &str, length: usize) -> Vec<u64> {
    let words: Vec<u64> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| word.chars().flat_map(char::to_lowercase).fold(0, |h, c| mix(h ^ c as u64)))
        .collect();
    let run = |words: &[u64]| words.iter().fold(words.len() as u64, |h, &word| mix(h ^ word));
    words.windows(length).map(run).collect()
}

/// The sorted set of hashes of a text's shingles; empty for a text without words.
pub fn shingles(text: &str) -> Vec<u64> {
    let lengths = (1..=SHINGLE).rev();
    let mut shingles =
        lengths.map(|n| runs(text, n)).find(|runs| !runs.is_empty()).unwrap_or_default();
    shingles.sort_unstable();
    shingles.dedup();
    shingles
}

/// |A ∩ B| ÷ |A ∪ B| of two sorted sets; 0 if both are empty.
pub fn resemblance(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut common) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        common += usize::from(a[i] == b[j]);
        let (x, y) = (a[i], b[j]);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    common as f64 / (a.len() + b.len() - common).max(1) as f64
}

struct Signature {
    /// How many shingles it stands for.
    size: usize,
    minima: [u32; SIGNATURE],
}

impl Signature {
    /// `None` for no shingles.
    fn of(shingles: &[u64]) -> Option<Self> {
        // h(x) = the upper half of a·x + b, with odd a (Dietzfelbinger et al., 1997).
        let rng = Rng::new(0);
        let mut minima = [u32::MAX; SIGNATURE];
        for (i, minimum) in minima.iter_mut().enumerate() {
            let (a, b) = (rng.key(2 * i as u64) | 1, rng.key(2 * i as u64 + 1));
            let hash = |&x: &u64| (a.wrapping_mul(x).wrapping_add(b) >> 32) as u32;
            *minimum = shingles.iter().map(hash).min()?;
        }
        Some(Signature { size: shingles.len(), minima })
    }

    /// Whether it is worth while to compare the sets: their sizes allow the resemblance, and the
    /// minima speak against it by less than five standard deviations.
    fn may_resemble(&self, other: &Signature, threshold: f64) -> bool {
        let (small, large) = (self.size.min(other.size), self.size.max(other.size));
        let agree = self.minima.iter().zip(&other.minima).filter(|(a, b)| a == b).count();
        let deviation = (threshold * (1.0 - threshold) / SIGNATURE as f64).sqrt();
        small as f64 >= threshold * large as f64
            && agree as f64 / SIGNATURE as f64 >= threshold - 5.0 * deviation
    }
}

/// SplitMix64's finaliser.
fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::philox;

    /// `count` words drawn from a vocabulary of 2000.
    fn words(seed: u64, count: usize) -> Vec<String> {
        let word = |i| format!("p{}", philox(seed, [i as u32, 0, 0, 0])[0] % 2000);
        (0..count).map(word).collect()
    }

    fn first_of_each(groups: &Groups, documents: usize) -> Vec<usize> {
        (0..documents).map(|document| groups.first(document)).collect()
    }

    #[test]
    fn equal_but_for_case_and_space_is_equal() {
        let texts =
            ["El mar,\n\n la  mar.", "otro", "EL MAR, la mar. ", "el mar la mar", "Otro\n", ""];
        let groups = exact(&texts);
        assert_eq!(first_of_each(&groups, 6), [0, 1, 0, 3, 1, 5]);
        assert_eq!(groups.repeated(), 2);
        assert_eq!(exact(&["Ä", "ä", "a"]).repeated(), 1);
    }

    /// Against all pairs, compared one by one.
    #[test]
    fn near_duplicates_are_those_of_the_exact_comparison() {
        for threshold in [0.5, 0.8, 0.95, 1.0] {
            let mut texts: Vec<String> = Vec::new();
            for i in 0..60 {
                let mut own = words(i, 30 + 7 * (i as usize % 20));
                texts.push(own.join(" "));
                // Copies with more and more words changed.
                for changed in 0..(i as usize % 4) {
                    let at = philox(99, [i as u32, changed as u32, 0, 0])[0] as usize % own.len();
                    own[at] = "otra".into();
                    texts.push(own.join(" "));
                }
            }
            let sets: Vec<_> = texts.iter().map(|text| shingles(text)).collect();
            let mut expected = Groups::single(texts.len());
            for a in 0..texts.len() {
                for b in 0..a {
                    if resemblance(&sets[a], &sets[b]) >= threshold {
                        expected.join(a, b);
                    }
                }
            }
            let found = near(&texts, threshold);
            let n = texts.len();
            assert_eq!(first_of_each(&found, n), first_of_each(&expected, n), "{threshold}");
            assert!(threshold == 1.0 || found.repeated() > 5, "{threshold}");
        }
    }

    #[test]
    fn groups_do_not_depend_on_the_order() {
        let base = words(3, 160);
        let mut texts: Vec<String> = (0..12)
            .map(|i| {
                let mut own = base.clone();
                own[5 * i] = "x".into();
                own.join(" ")
            })
            .collect();
        texts.extend((0..30).map(|i| words(50 + i, 60).join(" ")));
        let partition = |texts: &[String]| {
            let groups = near(texts, 0.8);
            let mut sets: HashMap<usize, Vec<String>> = HashMap::new();
            for (i, text) in texts.iter().enumerate() {
                sets.entry(groups.first(i)).or_default().push(text.clone());
            }
            let mut sets: Vec<_> = sets.into_values().collect();
            sets.iter_mut().for_each(|set| set.sort());
            sets.sort();
            sets
        };
        let forward = partition(&texts);
        texts.reverse();
        assert_eq!(partition(&texts), forward);
        assert!(forward.iter().any(|set| set.len() == 12));
    }

    #[test]
    fn short_documents_are_alike_when_all_their_words_are() {
        let texts = ["Ay, mar.", "¡ay mar!", "ay, la mar", "…", "—", ""];
        assert_eq!(first_of_each(&near(&texts, 0.8), 6), [0, 0, 2, 3, 4, 5]);
    }

    #[test]
    fn resemblance_is_that_of_sets() {
        assert_eq!(resemblance(&[1, 2, 3], &[2, 3, 4, 5]), 0.4);
        assert_eq!(resemblance(&[], &[]), 0.0);
        let (a, b) = (shingles("a b c d e f"), shingles("A b, c d e g"));
        assert_eq!((a.len(), resemblance(&a, &b)), (2, 1.0 / 3.0));
    }

    /// A template in a thousand copies is one bucket of a thousand, and no thousand squared.
    #[test]
    fn many_copies_of_a_template_cost_no_quadratic_time() {
        let base = words(8, 60).join(" ");
        let texts: Vec<String> = (0..3000).map(|i| format!("{base} n{i}")).collect();
        let start = std::time::Instant::now();
        assert_eq!(near(&texts, 0.8).repeated(), 2999);
        assert!(start.elapsed().as_secs() < 20);
    }
}

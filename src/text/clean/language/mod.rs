//! Which of eight languages a text is in, by its words and by the trigrams of their letters.
//!
//! A naive Bayes classifier whose profiles are short lists of common words. A word of the list
//! weighs by its rank (Zipf); any other by how likely its letters follow each other in that list:
//!
//! ```text
//! ln p(text | language) = Σ_words ln( ½ zipf(word) + ½ Π p(letter | the two before it) )
//! ```
//!
//! Of the 128 sentences of `tests/languages/` (16 a language, of our own writing, 8 to 18 words) it
//! names 126 rightly, of their 256 halves 233. Neighbours are where it errs: Galician and Catalan are
//! taken for Spanish or Portuguese before any other.

mod words;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::Serialize;

use crate::{Error, Result};

/// By its ISO 639-1 code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    Es,
    Pt,
    Ca,
    Gl,
    Fr,
    It,
    En,
    De,
}

impl Language {
    pub const ALL: [Language; 8] = [
        Language::Es,
        Language::Pt,
        Language::Ca,
        Language::Gl,
        Language::Fr,
        Language::It,
        Language::En,
        Language::De,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Language::Es => "es",
            Language::Pt => "pt",
            Language::Ca => "ca",
            Language::Gl => "gl",
            Language::Fr => "fr",
            Language::It => "it",
            Language::En => "en",
            Language::De => "de",
        }
    }

    fn common_words(self) -> &'static str {
        match self {
            Language::Es => words::SPANISH,
            Language::Pt => words::PORTUGUESE,
            Language::Ca => words::CATALAN,
            Language::Gl => words::GALICIAN,
            Language::Fr => words::FRENCH,
            Language::It => words::ITALIAN,
            Language::En => words::ENGLISH,
            Language::De => words::GERMAN,
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Language {
    type Err = Error;

    fn from_str(code: &str) -> Result<Self> {
        let named = Language::ALL.into_iter().find(|language| language.code() == code);
        named.ok_or_else(|| {
            let codes = Language::ALL.map(Language::code).join(", ");
            Error::usage("language", format!("one of {codes}"), format!("{code:?}"))
        })
    }
}

/// How much one word may speak against a language, in nats: no foreign name decides a text.
const MOST_AGAINST: f64 = 6.0;
/// Of the words of a text in one of the eight languages, at least this share is in its list.
const LEAST_KNOWN: f64 = 0.15;
/// Fewer words than this say too little about what is known.
const FEW_WORDS: usize = 8;
/// Words of a stretch of text that is identified by itself.
const STRETCH: usize = 24;

/// The language of a text; `None` where it has no letters, or hardly a word of any of the eight.
pub fn identify(text: &str) -> Option<Language> {
    let words: Vec<String> = words_of(text).collect();
    identify_words(&words)
}

/// How much of a text is in `language`, from 0 to 1: the share of its words that stand in stretches
/// (of about 24 words) identified as it. 0 for a text without words.
pub fn share(text: &str, language: Language) -> f64 {
    let words: Vec<String> = words_of(text).collect();
    // A last stretch that is too short to be judged belongs to the one before it.
    let stretches = (words.len() / STRETCH).max(1);
    let bounds = |i: usize| words.len() * i / stretches;
    let mut of_it = 0;
    for i in 0..stretches {
        let stretch = &words[bounds(i)..bounds(i + 1)];
        if identify_words(stretch) == Some(language) {
            of_it += stretch.len();
        }
    }
    of_it as f64 / words.len().max(1) as f64
}

fn words_of(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase)
}

fn identify_words(words: &[String]) -> Option<Language> {
    let mut scores = [0.0; LANGUAGES];
    let mut known = [0; LANGUAGES];
    for word in words {
        let common = PROFILES.common.get(word.as_str()).copied().unwrap_or_default();
        let spelt = PROFILES.spelling(word);
        let each: [f64; LANGUAGES] =
            std::array::from_fn(|i| (0.5 * common[i] + 0.5 * spelt[i].exp()).ln());
        let best = each.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for i in 0..LANGUAGES {
            scores[i] += each[i].max(best - MOST_AGAINST);
            known[i] += usize::from(common[i] > 0.0);
        }
    }
    let best = (0..LANGUAGES).max_by(|&a, &b| scores[a].total_cmp(&scores[b]))?;
    let enough = words.len() < FEW_WORDS || known[best] as f64 >= LEAST_KNOWN * words.len() as f64;
    (!words.is_empty() && enough).then_some(Language::ALL[best])
}

const LANGUAGES: usize = Language::ALL.len();

/// What the lists of words say, of all languages at once.
struct Profiles {
    /// Zipf's share of each common word in each language.
    common: HashMap<&'static str, [f64; LANGUAGES]>,
    /// The letters of all lists; any other, and the edge of a word, is number 0.
    letters: HashMap<char, usize>,
    /// ln p(letter | the two before it): \[first, second, letter, language\].
    trigrams: Vec<[f32; LANGUAGES]>,
}

static PROFILES: LazyLock<Profiles> = LazyLock::new(Profiles::new);

impl Profiles {
    fn new() -> Self {
        let mut profiles =
            Profiles { common: HashMap::new(), letters: HashMap::new(), trigrams: Vec::new() };
        for (i, language) in Language::ALL.into_iter().enumerate() {
            let mut seen = HashSet::new();
            let list = language.common_words().split_whitespace().filter(|word| seen.insert(*word));
            let list: Vec<&str> = list.collect();
            let zipf = |rank: usize| 1.0 / (rank as f64 + 3.0);
            let sum: f64 = (0..list.len()).map(zipf).sum();
            for (rank, &word) in list.iter().enumerate() {
                profiles.common.entry(word).or_default()[i] = zipf(rank) / sum;
                for letter in word.chars() {
                    let next = profiles.letters.len() + 1;
                    profiles.letters.entry(letter).or_insert(next);
                }
            }
        }
        let n = profiles.letters.len() + 1;
        profiles.trigrams = vec![[0.0; LANGUAGES]; n * n * n];
        for language in 0..LANGUAGES {
            let words = profiles.common.iter().filter(|(_, share)| share[language] > 0.0);
            let words: Vec<&str> = words.map(|(word, _)| *word).collect();
            profiles.learn_spelling(language, &words, n);
        }
        profiles
    }

    /// Trigrams backed off to bigrams and these to single letters, each worth `BACK_OFF` counts
    /// (Dirichlet smoothing; MacKay and Peto, 1995).
    fn learn_spelling(&mut self, language: usize, words: &[&str], n: usize) {
        const BACK_OFF: f64 = 2.0;
        let (mut one, mut two, mut three) = (vec![0.5; n], vec![0.0; n * n], vec![0.0; n * n * n]);
        for word in words {
            self.runs(word, |[a, b, c]| {
                one[c] += 1.0;
                two[b * n + c] += 1.0;
                three[(a * n + b) * n + c] += 1.0;
            });
        }
        let sums = |counts: &[f64]| -> Vec<f64> {
            counts.chunks_exact(n).map(|row| row.iter().sum()).collect()
        };
        let (sum_of_one, sums_of_two, sums_of_three) = (sums(&one), sums(&two), sums(&three));
        for (at, (count, trigram)) in three.iter().zip(&mut self.trigrams).enumerate() {
            let (context, bigram, letter) = (at / n, at % (n * n), at % n);
            let p1 = one[letter] / sum_of_one[0];
            let p2 = (two[bigram] + BACK_OFF * p1) / (sums_of_two[bigram / n] + BACK_OFF);
            let p3 = (count + BACK_OFF * p2) / (sums_of_three[context] + BACK_OFF);
            trigram[language] = p3.ln() as f32;
        }
    }

    /// ln of the probability of a word's letters and its end.
    fn spelling(&self, word: &str) -> [f64; LANGUAGES] {
        let n = self.letters.len() + 1;
        let mut sum = [0.0; LANGUAGES];
        self.runs(word, |[a, b, c]| {
            for (sum, one) in sum.iter_mut().zip(self.trigrams[(a * n + b) * n + c]) {
                *sum += f64::from(one);
            }
        });
        sum
    }

    /// The numbers of a word's letters, three by three, edges included.
    fn runs(&self, word: &str, mut each: impl FnMut([usize; 3])) {
        let letters = word.chars().map(|c| self.letters.get(&c).copied().unwrap_or(0));
        let mut run = [0; 3];
        for letter in letters.chain([0]) {
            run = [run[1], run[2], letter];
            each(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPANISH: &str = "El panadero abre la puerta antes del alba y deja que el olor del pan \
        recorra toda la calle hasta la plaza donde juegan los niños del barrio cada mañana.";
    const ENGLISH: &str = "The baker opens his door before the sun is up and lets the smell of new \
        bread run down the street to the square where the children of the town play every day.";

    #[test]
    fn texts_without_words_have_no_language() {
        for text in ["", " \n", "1 234,5 — 67", "…?!"] {
            assert_eq!(identify(text), None);
            assert_eq!(share(text, Language::Es), 0.0);
        }
    }

    #[test]
    fn a_language_that_is_none_of_the_eight_is_none() {
        for text in [
            "Wczoraj wieczorem poszliśmy nad rzekę, żeby zobaczyć, jak zachodzi słońce za lasem.",
            "Tänään aamulla menimme metsään keräämään marjoja ja sieniä koko perheen kanssa.",
            "Вчера вечером мы пошли к реке, чтобы посмотреть, как солнце заходит за лес.",
            "asdf qwer zxcv uiop hjkl bnmx rtyu fghj vbnm qazw sxed crfv",
        ] {
            assert_eq!(identify(text), None, "{text}");
        }
    }

    #[test]
    fn the_share_follows_the_mixture() {
        assert_eq!(share(SPANISH, Language::Es), 1.0);
        assert_eq!(share(SPANISH, Language::En), 0.0);
        let mixed = format!("{}\n{}", [SPANISH; 6].join(" "), [ENGLISH; 3].join(" "));
        let (es, en) = (share(&mixed, Language::Es), share(&mixed, Language::En));
        assert!((0.55..0.75).contains(&es), "{es}");
        assert!((0.25..0.45).contains(&en), "{en}");
        assert!(es + en <= 1.0 + 1e-9);
    }

    #[test]
    fn codes_are_read_and_written() {
        for language in Language::ALL {
            assert_eq!(language.code().parse::<Language>().unwrap(), language);
            assert_eq!(serde_json::to_value(language).unwrap(), language.code());
        }
        let error = "xx".parse::<Language>().unwrap_err();
        assert!(error.to_string().contains("one of es, pt"), "{error}");
    }
}

//! What a set of documents is made of: lengths, words, languages, alphabet, duplicates, tokens.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::Serialize;

use super::clean::language::{self, Language};
use super::clean::{NEAR, duplicates};
use super::{Document, Tokenizer};
use crate::Result;
use crate::report::table::Table;

/// Everything that `copla data report` says. A word is a run of letters and digits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistics {
    pub documents: usize,
    pub characters: usize,
    pub words: usize,
    pub characters_per_document: Spread,
    pub words_per_document: Spread,
    pub lengths: Vec<Bin>,
    /// Documents equal to an earlier one but for case and white space.
    pub duplicates: usize,
    /// Further documents that nearly repeat an earlier one (a resemblance of [`NEAR`]).
    pub near_duplicates: usize,
    /// The most frequent first.
    pub languages: Vec<LanguageCount>,
    /// Every character, the most frequent first.
    pub alphabet: Vec<CharCount>,
    /// Those of the alphabet that Spanish does not write, the most frequent first.
    pub unusual: Vec<CharCount>,
    /// `None` without a tokenizer.
    pub tokens: Option<TokenCount>,
    /// The beginnings of the first documents, a line each.
    pub preview: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub min: usize,
    /// The lower one of two in the middle.
    pub median: usize,
    pub mean: f64,
    pub max: usize,
}

/// Documents of `from` to below 2·`from` characters (or none at all, from 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bin {
    pub from: usize,
    pub documents: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LanguageCount {
    /// `None` where it is none of those known.
    pub language: Option<Language>,
    pub documents: usize,
    pub characters: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CharCount {
    pub character: char,
    pub count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TokenCount {
    /// Without ends of text.
    pub tokens: usize,
    pub characters_per_token: f64,
    pub words_per_token: f64,
    /// Tokens of a row.
    pub context: Option<usize>,
    /// Documents that with their end of text have more tokens than `context`.
    pub beyond_context: Option<usize>,
}

const PREVIEWS: usize = 3;
const PREVIEW_CHARS: usize = 72;
/// What Spanish is written with, beside letters and digits of ASCII.
const SPANISH: &str = "áéíóúüñÁÉÍÓÚÜÑ \n.,;:…!¡?¿\"'«»“”‘’()[]—–-/%ºª°€&";

impl Statistics {
    /// With a tokenizer, every document is encoded; `context` is in tokens.
    ///
    /// Fails where the tokenizer does.
    pub fn of(
        documents: &[Document],
        tokenizer: Option<&Tokenizer>,
        context: Option<usize>,
    ) -> Result<Self> {
        let texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
        let characters: Vec<usize> = texts.iter().map(|text| text.chars().count()).collect();
        let words: Vec<usize> = texts.iter().map(|text| words(text)).collect();
        let exact = duplicates::exact(&texts);
        let mut near = duplicates::near(&texts, NEAR);
        // What has no words is no near-duplicate of its copy.
        near.join_all(&exact);
        let alphabet = alphabet(&texts);
        let (total_characters, total_words) = (characters.iter().sum(), words.iter().sum());
        let tokens = match tokenizer {
            None => None,
            Some(tokenizer) => {
                let ids = tokenizer.encode_batch(&texts)?;
                let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
                Some(TokenCount::of(&lengths, total_characters, total_words, context))
            }
        };
        Ok(Statistics {
            documents: documents.len(),
            characters: total_characters,
            words: total_words,
            characters_per_document: Spread::of(&characters),
            words_per_document: Spread::of(&words),
            lengths: histogram(&characters),
            duplicates: exact.repeated(),
            near_duplicates: near.repeated() - exact.repeated(),
            languages: languages(&texts, &characters),
            unusual: alphabet.iter().copied().filter(CharCount::is_unusual).collect(),
            alphabet,
            tokens,
            preview: texts.iter().take(PREVIEWS).map(|text| preview(text)).collect(),
        })
    }

    /// Figures first, then lengths, languages and unusual characters, each with a bar or a share.
    pub fn tables(&self) -> Vec<Table> {
        let share = |part: usize, whole: usize| {
            format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
        };
        let spread = |of: &Spread| {
            [
                of.min.to_string(),
                of.median.to_string(),
                format!("{:.1}", of.mean),
                of.max.to_string(),
            ]
        };
        let mut figures = Table::new(["measure", "value"]);
        for (name, value) in [
            ("documents", self.documents),
            ("characters", self.characters),
            ("words", self.words),
            ("duplicates", self.duplicates),
            ("near-duplicates", self.near_duplicates),
            ("different characters", self.alphabet.len()),
        ] {
            figures = figures.row([name.to_string(), value.to_string()]);
        }
        if let Some(tokens) = &self.tokens {
            figures = figures
                .row(["tokens".to_string(), tokens.tokens.to_string()])
                .row(["characters per token".into(), format!("{:.3}", tokens.characters_per_token)])
                .row(["words per token".into(), format!("{:.3}", tokens.words_per_token)]);
            if let (Some(context), Some(beyond)) = (tokens.context, tokens.beyond_context) {
                figures =
                    figures.row([format!("documents beyond {context} tokens"), beyond.to_string()]);
            }
        }
        let spreads =
            [("characters", &self.characters_per_document), ("words", &self.words_per_document)];
        let spreads = spreads.into_iter().fold(
            Table::new(["a document's", "least", "median", "mean", "most"]),
            |table, (name, of)| table.row(std::iter::once(name.to_string()).chain(spread(of))),
        );
        let most = self.lengths.iter().map(|bin| bin.documents).max().unwrap_or(0).max(1);
        let lengths =
            self.lengths.iter().fold(Table::new(["characters", "documents", ""]), |table, bin| {
                let bar = "█".repeat((bin.documents * 40).div_ceil(most));
                table.row([format!("from {}", bin.from), bin.documents.to_string(), bar])
            });
        let languages = self.languages.iter().fold(
            Table::new(["language", "documents", "characters"]),
            |table, count| {
                let name = count.language.map_or("unknown", Language::code);
                table.row([
                    name.to_string(),
                    count.documents.to_string(),
                    share(count.characters, self.characters),
                ])
            },
        );
        const MOST_UNUSUAL: usize = 24;
        let unusual = self.unusual.iter().take(MOST_UNUSUAL).fold(
            Table::new(["unusual", "code", "count"]),
            |table, count| {
                let c = count.character;
                let shown = if c.is_control() || c.is_whitespace() { ' ' } else { c };
                table.row([
                    shown.to_string(),
                    format!("U+{:04X}", c as u32),
                    count.count.to_string(),
                ])
            },
        );
        vec![figures, spreads, lengths, languages, unusual]
    }
}

impl Spread {
    fn of(values: &[usize]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let at = |i: usize| sorted.get(i).copied().unwrap_or(0);
        Spread {
            min: at(0),
            median: at(sorted.len().saturating_sub(1) / 2),
            mean: sorted.iter().sum::<usize>() as f64 / sorted.len().max(1) as f64,
            max: at(sorted.len().saturating_sub(1)),
        }
    }
}

impl TokenCount {
    fn of(lengths: &[usize], characters: usize, words: usize, context: Option<usize>) -> Self {
        let tokens: usize = lengths.iter().sum();
        let beyond = |context| lengths.iter().filter(|&&length| length + 1 > context).count();
        TokenCount {
            tokens,
            characters_per_token: characters as f64 / tokens.max(1) as f64,
            words_per_token: words as f64 / tokens.max(1) as f64,
            context,
            beyond_context: context.map(beyond),
        }
    }
}

impl CharCount {
    fn is_unusual(&self) -> bool {
        !self.character.is_ascii_alphanumeric() && !SPANISH.contains(self.character)
    }
}

fn words(text: &str) -> usize {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).count()
}

/// From the first bin that holds a document to the last.
fn histogram(characters: &[usize]) -> Vec<Bin> {
    let bin = |characters: usize| characters.checked_ilog2().map_or(0, |log| log as usize + 1);
    let mut counts = Vec::new();
    for &length in characters {
        counts.resize(counts.len().max(bin(length) + 1), 0);
        counts[bin(length)] += 1;
    }
    let bins = counts.into_iter().enumerate().map(|(i, documents)| {
        let from = if i == 0 { 0 } else { 1 << (i - 1) };
        Bin { from, documents }
    });
    bins.skip_while(|bin| bin.documents == 0).collect()
}

fn languages(texts: &[&str], characters: &[usize]) -> Vec<LanguageCount> {
    let found: Vec<Option<Language>> =
        texts.par_iter().map(|text| language::identify(text)).collect();
    let mut counts: Vec<LanguageCount> = Vec::new();
    for (language, characters) in found.into_iter().zip(characters) {
        let known = counts.iter().position(|count| count.language == language);
        let at = known.unwrap_or_else(|| {
            counts.push(LanguageCount { language, documents: 0, characters: 0 });
            counts.len() - 1
        });
        counts[at].documents += 1;
        counts[at].characters += characters;
    }
    counts.sort_by_key(|count| (std::cmp::Reverse(count.characters), count.language));
    counts
}

fn alphabet(texts: &[&str]) -> Vec<CharCount> {
    let mut counts: HashMap<char, usize> = HashMap::new();
    for c in texts.iter().flat_map(|text| text.chars()) {
        *counts.entry(c).or_default() += 1;
    }
    let count = |(character, count)| CharCount { character, count };
    let mut alphabet: Vec<CharCount> = counts.into_iter().map(count).collect();
    alphabet.sort_by_key(|count| (std::cmp::Reverse(count.count), count.character));
    alphabet
}

/// The beginning of a text, its line ends shown as ` / `.
fn preview(text: &str) -> String {
    let lines: Vec<&str> =
        text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect();
    let line = lines.join(" / ");
    match line.char_indices().nth(PREVIEW_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::BpeOptions;

    fn documents(texts: &[&str]) -> Vec<Document> {
        let document = |text: &&str| Document { text: text.to_string(), ..Document::default() };
        texts.iter().map(document).collect()
    }

    const PAN: &str =
        "El pan de la mañana huele a casa y a leña,\npero el de la tarde huele a fiesta.";

    #[test]
    fn everything_is_counted() {
        let copy = PAN.to_uppercase();
        let nearly = format!("{} ¡Ay!", [PAN; 3].join(" \u{a0}\n"));
        let twice = format!("{} ¡Ah!", [PAN; 3].join("\n"));
        let all = documents(&[
            PAN,
            &copy,
            &nearly,
            &twice,
            "The bread of the morning smells like home to me.",
        ]);
        let found = Statistics::of(&all, None, None).unwrap();
        assert_eq!((found.documents, found.duplicates, found.near_duplicates), (5, 1, 1));
        assert_eq!(found.words, 19 * 8 + 2 + 10);
        let sum: usize = all.iter().map(|document| document.text.chars().count()).sum();
        assert_eq!(found.characters, sum);
        assert_eq!(found.alphabet.iter().map(|count| count.count).sum::<usize>(), sum);
        assert_eq!(found.alphabet[0].character, ' ');
        assert_eq!(found.unusual, [CharCount { character: '\u{a0}', count: 2 }]);
        assert_eq!(found.lengths.iter().map(|bin| bin.documents).sum::<usize>(), 5);
        assert_eq!(
            (found.lengths[0], found.lengths[1]),
            (Bin { from: 32, documents: 1 }, Bin { from: 64, documents: 2 })
        );
        let languages: Vec<_> =
            found.languages.iter().map(|count| (count.language, count.documents)).collect();
        assert_eq!(languages, [(Some(Language::Es), 4), (Some(Language::En), 1)]);
        assert!(found.preview[0].starts_with("El pan de la mañana huele a casa y a leña, / pero"));
        assert_eq!(found.tokens, None);
    }

    #[test]
    fn tokens_are_counted_against_the_context() {
        let all = documents(&["aaaa bbbb", "aaaa", "cc"]);
        let tokenizer = Tokenizer::train_bpe(&["x"], &BpeOptions::new(257)).unwrap();
        let tokens =
            |context| Statistics::of(&all, Some(&tokenizer), context).unwrap().tokens.unwrap();
        assert_eq!((tokens(None).tokens, tokens(None).beyond_context), (15, None));
        assert_eq!(tokens(None).characters_per_token, 1.0);
        assert_eq!(tokens(None).words_per_token, 4.0 / 15.0);
        // Each with its end of text.
        assert_eq!(
            [3, 4, 5, 9, 10].map(|n| tokens(Some(n)).beyond_context),
            [2, 2, 1, 1, 0].map(Some)
        );
    }

    #[test]
    fn spreads_and_bins_are_right_at_their_ends() {
        let spread = Spread::of(&[9, 1, 4, 2]);
        assert_eq!(spread, Spread { min: 1, median: 2, mean: 4.0, max: 9 });
        assert_eq!(Spread::of(&[]), Spread { min: 0, median: 0, mean: 0.0, max: 0 });
        let bins = |lengths: &[usize]| -> Vec<(usize, usize)> {
            histogram(lengths).iter().map(|bin| (bin.from, bin.documents)).collect()
        };
        assert_eq!(bins(&[0, 1, 2, 3, 4, 7, 8]), [(0, 1), (1, 1), (2, 2), (4, 2), (8, 1)]);
        assert_eq!(bins(&[100]), [(64, 1)]);
        assert_eq!(bins(&[]), []);
    }

    #[test]
    fn an_empty_set_has_a_report_too() {
        let found = Statistics::of(&[], None, None).unwrap();
        assert_eq!((found.documents, found.languages.len()), (0, 0));
        assert_eq!(found.tables().len(), 5);
    }
}

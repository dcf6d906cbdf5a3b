//! Documents made fit to learn from, step by step, and an account of what each step took away.
//!
//! The order of the steps is that of [`Step`]; each can be left out. Bytes come first, for a misread
//! "í" holds a soft hyphen that a later step would remove; then what is compared (duplicates) after
//! what is mended; then what is cut; lengths last, for they are of what will be learnt.

mod characters;
pub mod duplicates;
pub mod language;
mod mojibake;
mod report;
mod sentences;
mod speakers;

use std::borrow::Cow;
use std::collections::BTreeMap;

use rayon::prelude::*;

pub use language::Language;
pub use mojibake::repair;
pub use report::{CleaningReport, Step, StepReport};
pub use sentences::{Pieces, sentences, split_sentences};
pub use speakers::{Reduced, keep_speaker};

use super::Document;
use crate::{Error, Result};

/// A resemblance (Jaccard, of runs of five words) from which documents are near-duplicates.
pub const NEAR: f64 = 0.8;

/// Which steps are taken. The default mends characters and removes blanks, duplicates and
/// near-duplicates.
#[derive(Clone, Debug, PartialEq)]
pub struct Cleaning {
    pub mojibake: bool,
    pub line_ends: bool,
    pub spaces: bool,
    pub controls: bool,
    pub nfc: bool,
    pub blank: bool,
    /// Whose interventions are kept, of transcripts.
    pub keep_speaker: Option<String>,
    /// The language, and the share of it that a document has at least.
    pub language: Option<(Language, f64)>,
    pub duplicates: bool,
    /// The resemblance from which a document is one, in (0, 1].
    pub near_duplicates: Option<f64>,
    /// The most characters of the pieces that documents are split into, of whole sentences.
    pub split_sentences: Option<usize>,
    pub min_chars: Option<usize>,
    pub max_chars: Option<usize>,
}

impl Default for Cleaning {
    fn default() -> Self {
        Cleaning {
            mojibake: true,
            line_ends: true,
            spaces: true,
            controls: true,
            nfc: true,
            blank: true,
            duplicates: true,
            near_duplicates: Some(NEAR),
            ..Cleaning::none()
        }
    }
}

impl Cleaning {
    /// No step at all.
    pub fn none() -> Self {
        Cleaning {
            mojibake: false,
            line_ends: false,
            spaces: false,
            controls: false,
            nfc: false,
            blank: false,
            keep_speaker: None,
            language: None,
            duplicates: false,
            near_duplicates: None,
            split_sentences: None,
            min_chars: None,
            max_chars: None,
        }
    }

    fn check(&self) -> Result<()> {
        let share = |name: &str, value: f64, least: f64| match value > least && value <= 1.0 {
            true => Ok(()),
            false => Err(Error::usage(name, "a number above 0 and at most 1", value.to_string())),
        };
        if let Some(threshold) = self.near_duplicates {
            share("resemblance of near-duplicates", threshold, 0.0)?;
        }
        if let Some((_, least)) = self.language {
            share("language share", least, 0.0)?;
        }
        if self.split_sentences == Some(0) {
            return Err(Error::usage("characters of a piece", "at least 1", "0"));
        }
        match (self.min_chars, self.max_chars) {
            (Some(min), Some(max)) if min > max => {
                let expected = format!("at most the maximum of {max}");
                Err(Error::usage("minimum length", expected, min.to_string()))
            }
            _ => Ok(()),
        }
    }
}

/// What cleaning leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaned {
    /// The pieces of one document have its origin, by which a split keeps them together.
    pub documents: Vec<Document>,
    pub report: CleaningReport,
}

/// Takes the steps of `options`. The same documents give the same result. Authors and titles are
/// mended as texts are (mojibake to NFC), uncounted.
///
/// Usage error: a share outside (0, 1], a piece of 0 characters, a minimum above the maximum. Bad
/// data: nobody speaks whose interventions are to be kept (naming who does), nothing left.
pub fn clean(documents: Vec<Document>, options: &Cleaning) -> Result<Cleaned> {
    options.check()?;
    let documents_in = documents.len();
    let mut work =
        Work { documents, report: CleaningReport { documents_in, ..CleaningReport::default() } };
    work.report.characters_in = work.characters();
    type Mend = fn(&str) -> Cow<'_, str>;
    let mends: [(bool, Step, Mend); 5] = [
        (options.mojibake, Step::Mojibake, mojibake::repair),
        (options.line_ends, Step::LineEnds, characters::line_ends),
        (options.spaces, Step::Spaces, characters::spaces),
        (options.controls, Step::Controls, characters::controls),
        (options.nfc, Step::Nfc, characters::nfc),
    ];
    for (_, step, mend) in mends.into_iter().filter(|(wanted, ..)| *wanted) {
        work.mend(step, mend);
    }
    if options.blank {
        work.each(Step::Blank, |text| Fate::of(text, Cow::Borrowed(characters::blank(text))));
    }
    if let Some(name) = &options.keep_speaker {
        work.keep_speaker(name)?;
    }
    if let Some((language, least)) = options.language {
        work.each(Step::Language, |text| Fate::kept_if(language::share(text, language) >= least));
    }
    if options.duplicates {
        work.keep_first(Step::Duplicates, |texts| duplicates::exact(texts));
    }
    if let Some(threshold) = options.near_duplicates {
        work.keep_first(Step::NearDuplicates, |texts| duplicates::near(texts, threshold));
    }
    if let Some(max_chars) = options.split_sentences {
        work.split_sentences(max_chars);
    }
    if let Some(least) = options.min_chars {
        work.each(Step::MinChars, |text| Fate::kept_if(text.chars().count() >= least));
    }
    if let Some(most) = options.max_chars {
        work.each(Step::MaxChars, |text| Fate::kept_if(text.chars().count() <= most));
    }
    work.finish()
}

/// What a step makes of a document.
enum Fate {
    Stays,
    Goes,
    /// At least one text, each a document.
    Becomes(Vec<String>),
}

impl Fate {
    fn kept_if(keep: bool) -> Self {
        if keep { Fate::Stays } else { Fate::Goes }
    }

    /// For a text that was rewritten; an empty one is no document.
    fn of(before: &str, after: Cow<'_, str>) -> Self {
        match after {
            after if after.is_empty() => Fate::Goes,
            after if after == before => Fate::Stays,
            after => Fate::Becomes(vec![after.into_owned()]),
        }
    }
}

/// The documents and the account so far.
struct Work {
    documents: Vec<Document>,
    report: CleaningReport,
}

impl Work {
    fn characters(&self) -> usize {
        self.documents.iter().map(|document| document.text.chars().count()).sum()
    }

    fn finish(mut self) -> Result<Cleaned> {
        self.report.documents_out = self.documents.len();
        self.report.characters_out = self.characters();
        if self.documents.is_empty() {
            let most = self.report.steps.iter().max_by_key(|step| step.documents_removed);
            let by = most.map_or(String::new(), |step| {
                format!(
                    "; {} of {} removed by {:?}",
                    step.documents_removed,
                    self.report.documents_in,
                    step.step.name()
                )
            });
            return Err(Error::bad_data(
                "the cleaned documents",
                "at least one",
                format!("none{by}"),
            ));
        }
        Ok(Cleaned { documents: self.documents, report: self.report })
    }

    /// Rewrites texts, authors and titles.
    fn mend(&mut self, step: Step, mend: fn(&str) -> Cow<'_, str>) {
        self.documents.par_iter_mut().for_each(|document| {
            for field in [&mut document.author, &mut document.title] {
                if let Cow::Owned(mended) = mend(field) {
                    *field = mended;
                }
            }
        });
        // A text that held nothing is the next step's to remove.
        self.each(step, |text| match mend(text) {
            mended if mended == text => Fate::Stays,
            mended => Fate::Becomes(vec![mended.into_owned()]),
        });
    }

    fn each(&mut self, step: Step, fate: impl Fn(&str) -> Fate + Sync) {
        let fates = self.documents.par_iter().map(|document| fate(&document.text)).collect();
        self.apply(step, fates);
    }

    fn keep_first(&mut self, step: Step, group: impl FnOnce(&[&str]) -> duplicates::Groups) {
        let texts: Vec<&str> =
            self.documents.iter().map(|document| document.text.as_str()).collect();
        let groups = group(&texts);
        let fate = |number| Fate::kept_if(groups.first(number) == number);
        self.apply(step, (0..self.documents.len()).map(fate).collect());
    }

    fn keep_speaker(&mut self, name: &str) -> Result<()> {
        let mut speakers = BTreeMap::new();
        let mut fates = Vec::with_capacity(self.documents.len());
        for Document { text, .. } in &self.documents {
            let reduced = keep_speaker(text, name, &mut speakers);
            self.report.interventions_kept += reduced.kept;
            self.report.interventions_dropped += reduced.dropped;
            self.report.stage_directions += reduced.stage_directions;
            fates.push(Fate::of(text, reduced.text.into()));
        }
        if self.report.interventions_kept == 0 {
            return Err(unknown_speaker(name, speakers));
        }
        self.apply(Step::KeepSpeaker, fates);
        Ok(())
    }

    fn split_sentences(&mut self, max_chars: usize) {
        let mut cut = 0;
        let fate = |document: &Document| {
            let pieces = split_sentences(&document.text, max_chars);
            cut += pieces.cut;
            let texts = pieces.pieces.into_iter().map(str::trim_end);
            let texts: Vec<String> =
                texts.filter(|text| !text.is_empty()).map(str::to_string).collect();
            match texts.as_slice() {
                [] => Fate::Goes,
                [whole] if *whole == document.text => Fate::Stays,
                _ => Fate::Becomes(texts),
            }
        };
        let fates = self.documents.iter().map(fate).collect();
        self.report.sentences_cut = cut;
        self.apply(Step::SplitSentences, fates);
    }

    /// Carries out a step and keeps the account.
    fn apply(&mut self, step: Step, fates: Vec<Fate>) {
        let mut account = StepReport::of(step);
        let mut documents = Vec::with_capacity(self.documents.len());
        for (document, fate) in std::mem::take(&mut self.documents).into_iter().zip(fates) {
            let texts = match fate {
                Fate::Stays => {
                    documents.push(document);
                    continue;
                }
                Fate::Goes => {
                    account.documents_removed += 1;
                    Vec::new()
                }
                Fate::Becomes(texts) => {
                    account.documents_changed += 1;
                    account.documents_added += texts.len() - 1;
                    texts
                }
            };
            let before = document.text.chars().count();
            let after: usize = texts.iter().map(|text| text.chars().count()).sum();
            account.characters_removed += before.saturating_sub(after);
            account.characters_added += after.saturating_sub(before);
            let piece = |text| Document { text, ..document.clone() };
            documents.extend(texts.into_iter().map(piece));
        }
        self.documents = documents;
        self.report.steps.push(account);
    }
}

fn unknown_speaker(name: &str, speakers: BTreeMap<String, usize>) -> Error {
    const MOST: usize = 12;
    let mut found: Vec<(String, usize)> = speakers.into_iter().collect();
    found.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    let more = found.len().saturating_sub(MOST);
    let names: Vec<String> =
        found.into_iter().take(MOST).map(|(name, times)| format!("{name} ({times})")).collect();
    let found = match (names.is_empty(), more) {
        (true, _) => "no speakers at all".to_string(),
        (_, 0) => names.join(", "),
        _ => format!("{} and {more} more", names.join(", ")),
    };
    Error::bad_data("the transcripts", format!("a speaker {name:?}"), found)
}

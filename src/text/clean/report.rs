//! The account of a cleaning: what each step removed, added and changed.

use serde::Serialize;

use crate::report::table::Table;
use std::fmt;

/// The steps, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// UTF-8 that was read as Windows-1252 or Latin-1 is undone where that is certain.
    Mojibake,
    /// CR, CRLF and their like become LF.
    LineEnds,
    /// Spaces become the ordinary one; what has no width is removed.
    Spaces,
    /// Control characters are removed, LF and tab are not.
    Controls,
    /// Unicode's composed form.
    Nfc,
    /// Empty lines at either end are removed, and documents that hold nothing (or `null`, `NaN` ...).
    Blank,
    /// Only what one speaker says stays of a transcript.
    KeepSpeaker,
    /// Documents with too little of the language are removed.
    Language,
    /// Documents equal to an earlier one but for case and white space are removed.
    Duplicates,
    /// Documents that nearly repeat an earlier one are removed.
    NearDuplicates,
    /// A document becomes several, of whole sentences; the white space between them is removed.
    SplitSentences,
    MinChars,
    MaxChars,
}

impl Step {
    pub fn name(self) -> &'static str {
        match self {
            Step::Mojibake => "mojibake",
            Step::LineEnds => "line ends",
            Step::Spaces => "spaces",
            Step::Controls => "controls",
            Step::Nfc => "NFC",
            Step::Blank => "blank",
            Step::KeepSpeaker => "keep speaker",
            Step::Language => "language",
            Step::Duplicates => "duplicates",
            Step::NearDuplicates => "near-duplicates",
            Step::SplitSentences => "split sentences",
            Step::MinChars => "minimum length",
            Step::MaxChars => "maximum length",
        }
    }
}

/// What one step did. Characters are those of texts (not of authors and titles), and those of a
/// changed document count as what it lost or won.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepReport {
    pub step: Step,
    pub documents_removed: usize,
    /// By splitting: pieces beyond the first of each document.
    pub documents_added: usize,
    pub documents_changed: usize,
    pub characters_removed: usize,
    pub characters_added: usize,
}

impl StepReport {
    /// A step that has done nothing yet.
    pub(super) fn of(step: Step) -> Self {
        StepReport {
            step,
            documents_removed: 0,
            documents_added: 0,
            documents_changed: 0,
            characters_removed: 0,
            characters_added: 0,
        }
    }
}

/// The account: of documents and of characters alike, in − removed + added = out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CleaningReport {
    pub documents_in: usize,
    pub documents_out: usize,
    pub characters_in: usize,
    pub characters_out: usize,
    /// The steps that were taken, in their order.
    pub steps: Vec<StepReport>,
    /// Interventions of the speaker that was kept, and of the others.
    pub interventions_kept: usize,
    pub interventions_dropped: usize,
    /// Bracketed notes of stenographers, in what was kept.
    pub stage_directions: usize,
    /// Sentences longer than a piece.
    pub sentences_cut: usize,
}

impl CleaningReport {
    /// What no step's counts say.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        let remarks = [
            (self.interventions_kept, "interventions kept"),
            (self.interventions_dropped, "interventions of others"),
            (self.stage_directions, "stage directions removed"),
            (self.sentences_cut, "sentences longer than a piece, cut"),
        ];
        let told = remarks.into_iter().filter(|(count, _)| *count > 0);
        told.map(|(count, what)| format!("{what}: {count}"))
    }

    /// A row a step, between what came in and what went out.
    pub fn table(&self) -> Table {
        let header = ["step", "documents −", "+", "changed", "characters −", "+"];
        let ends = |name: &str, documents: usize, characters: usize| {
            [
                name.to_string(),
                documents.to_string(),
                String::new(),
                String::new(),
                characters.to_string(),
            ]
        };
        let table = Table::new(header).row(ends("in", self.documents_in, self.characters_in));
        let rows = self.steps.iter().map(|step| {
            let counts = [
                step.documents_removed,
                step.documents_added,
                step.documents_changed,
                step.characters_removed,
                step.characters_added,
            ];
            let cells = counts.map(|count| if count == 0 { "–".into() } else { count.to_string() });
            std::iter::once(step.step.name().to_string()).chain(cells)
        });
        let table = rows.fold(table, |table, row| table.row(row));
        table.row(ends("out", self.documents_out, self.characters_out))
    }
}

/// One line for a person: what each step did that did something.
impl fmt::Display for CleaningReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: usize, of: &str| match count {
            0 => None,
            count => Some(format!("{of}{count}")),
        };
        let told = |step: &StepReport| {
            let parts = [
                count(step.documents_removed, "−"),
                count(step.documents_added, "+"),
                count(step.documents_changed, "changed "),
            ];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            (!parts.is_empty()).then(|| format!("{} {}", step.step.name(), parts.join(" ")))
        };
        let steps: Vec<String> = self.steps.iter().filter_map(told).collect();
        if steps.is_empty() {
            return f.write_str("cleaning: nothing to mend or to remove");
        }
        let Self { documents_in, documents_out, characters_in, characters_out, .. } = self;
        write!(
            f,
            "cleaning: {documents_out} of {documents_in} documents, {characters_out} of \
             {characters_in} characters; documents: {}",
            steps.join(", ")
        )?;
        self.remarks().try_for_each(|remark| write!(f, "; {remark}"))
    }
}

//! How documents are cleaned: the options that all subcommands share which do so.

use copla::text::clean::{self, Language, NEAR};

#[derive(clap::Args)]
pub struct Cleaning {
    /// Leave every character as it is: no repair, no normal form, no removal
    #[arg(long)]
    keep_characters: bool,
    /// Keep documents equal to an earlier one
    #[arg(long)]
    keep_duplicates: bool,
    /// Share of common runs of five words from which documents are near-duplicates; 0 keeps them
    #[arg(long, value_name = "SHARE", default_value_t = NEAR)]
    near_duplicates: f64,
    /// Keep only what this speaker says in transcripts
    #[arg(long, value_name = "NAME")]
    keep_speaker: Option<String>,
    /// Language to keep: es, pt, ca, gl, fr, it, en, de
    #[arg(long)]
    language: Option<Language>,
    /// Share of the language that a document has at least
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, requires = "language")]
    min_language_share: f64,
    /// Split documents into whole sentences joined to at most so many characters
    #[arg(long, value_name = "CHARS")]
    split_sentences: Option<usize>,
    /// Fewest characters of a document
    #[arg(long, value_name = "CHARS")]
    min_chars: Option<usize>,
    /// Most characters of a document
    #[arg(long, value_name = "CHARS")]
    max_chars: Option<usize>,
}

impl Cleaning {
    /// The steps to take.
    pub fn steps(&self) -> clean::Cleaning {
        let characters = !self.keep_characters;
        clean::Cleaning {
            mojibake: characters,
            line_ends: characters,
            spaces: characters,
            controls: characters,
            nfc: characters,
            blank: true,
            keep_speaker: self.keep_speaker.clone(),
            language: self.language.map(|language| (language, self.min_language_share)),
            duplicates: !self.keep_duplicates,
            near_duplicates: Some(self.near_duplicates).filter(|&threshold| threshold != 0.0),
            split_sentences: self.split_sentences,
            min_chars: self.min_chars,
            max_chars: self.max_chars,
        }
    }
}

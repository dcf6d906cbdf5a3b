//! Spanish verse, checked line by line: what a title promises, the lines must keep.
//!
//! [`check`] reads the form off the first word of a title (*Romance de la niebla* is a romance) and looks at
//! every line's count of syllables and at its rhyme. It depends on nothing but the standard library.

mod forms;
mod metre;
mod rhyme;
mod syllables;

use std::fmt;

pub use forms::Form;
pub use metre::{Scansion, scan};
pub use rhyme::Rhyme;
pub use syllables::{Syllable, Word};

/// A line (from 1, blank lines counted) that does not keep what the title promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub line: usize,
    pub expected: String,
    pub found: String,
    /// The line as it was divided.
    pub syllables: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: expected {}, found {}", self.line, self.expected, self.found)?;
        if self.syllables.is_empty() { Ok(()) } else { write!(f, "  [{}]", self.syllables) }
    }
}

/// Checks a text against the form that its title names: the form, `None` where it names none, or all that is wrong.
///
/// A singular title is one poem, blank lines where it likes; a plural one (`Coplas de ...`) is one poem to each stanza.
///
/// ```
/// use copla::text::verse::{Form, check};
/// let haiku = "Niebla del puerto:\nla barca que se aleja\nborra su nombre.";
/// assert_eq!(check("Haiku de la barca", haiku), Ok(Some(Form::Haiku)));
/// assert_eq!(check("La barca", haiku), Ok(None));
/// assert!(check("Copla de la barca", haiku).is_err());
/// ```
pub fn check(title: &str, text: &str) -> Result<Option<Form>, Vec<Problem>> {
    let Some((form, several)) = Form::of(title) else { return Ok(None) };
    let problems = forms::problems(form, several, text);
    if problems.is_empty() { Ok(Some(form)) } else { Err(problems) }
}

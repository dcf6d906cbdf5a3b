//! A record's text becomes a document's: lines end in LF, and no line at either end is empty.

use std::borrow::Cow;

/// What was done to a text. Characters read are characters kept, and `crlf`, and `trimmed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Characters of the record.
    pub read: u64,
    /// Line ends of two characters, now of one.
    pub crlf: u64,
    /// Line ends that were a CR alone, now LF.
    pub lone_cr: u64,
    /// Characters of space taken from both ends.
    pub trimmed: u64,
}

/// The tidied text, empty for a blank one. The first line keeps its indentation.
pub(super) fn tidy(text: &str) -> (String, Changes) {
    let read = text.chars().count() as u64;
    let (mut crlf, mut lone_cr) = (0, 0);
    let mut lines = Cow::Borrowed(text);
    if text.contains('\r') {
        crlf = text.matches("\r\n").count() as u64;
        lone_cr = text.matches('\r').count() as u64 - crlf;
        lines = text.replace("\r\n", "\n").replace('\r', "\n").into();
    }
    let end = lines.trim_end().len();
    let start = lines[..end].find(|c: char| !c.is_whitespace()).unwrap_or(end);
    let start = lines[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let kept = if end == 0 { "" } else { &lines[start..end] };
    let trimmed = read - crlf - kept.chars().count() as u64;
    (kept.to_string(), Changes { read, crlf, lone_cr, trimmed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_its_stanzas_and_loses_its_edges() {
        let (text, changes) = tidy(" \r\n\n  uno \r\ndos\r\n\r\ntres\rcuatro\n \n");
        assert_eq!(text, "  uno \ndos\n\ntres\ncuatro");
        assert_eq!(changes, Changes { read: 34, crlf: 4, lone_cr: 1, trimmed: 6 });
        assert_eq!(tidy(" \n\t").1, Changes { read: 3, trimmed: 3, ..Changes::default() });
        assert_eq!(tidy(" \n\t").0, "");
        assert_eq!(tidy("\u{a0}ñ").0, "\u{a0}ñ");
    }
}

//! Line ends, spaces, invisible characters, control characters and composition: what each becomes.
//!
//! Every function gives the text back borrowed where there was nothing to do.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Whatever ends a line becomes LF: CRLF, CR, the vertical tab (Word's manual line break), NEL and
/// U+2028. U+2029 ends a paragraph and becomes two. A form feed is one line end, and none beside
/// another: pages break in the middle of stanzas.
pub fn line_ends(text: &str) -> Cow<'_, str> {
    let foreign = |c| matches!(c, '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    if !text.contains(foreign) {
        return Cow::Borrowed(text);
    }
    let mut lines = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            // The LF that follows ends the line.
            '\r' if rest.peek() == Some(&'\n') => {}
            '\r' | '\u{b}' | '\u{85}' | '\u{2028}' => lines.push('\n'),
            '\u{2029}' => lines.push_str("\n\n"),
            '\u{c}' if lines.ends_with('\n') || matches!(rest.peek(), Some('\n' | '\r')) => {}
            '\u{c}' => lines.push('\n'),
            _ => lines.push(c),
        }
    }
    Cow::Owned(lines)
}

/// Every space that is not the ordinary one (no-break, narrow, figure, em, ideographic ...) becomes
/// it; tabs and line ends stay. What has no width and says nothing is removed: the zero-width space,
/// the word joiner, the byte order mark, the soft hyphen and the marks of direction. The joiners
/// U+200C and U+200D stay where they follow a script or an emoji that needs them.
pub fn spaces(text: &str) -> Cow<'_, str> {
    let foreign = |c: char| is_wide_space(c) || is_invisible(c) || is_joiner(c);
    if !text.contains(foreign) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if is_wide_space(c) => plain.push(' '),
            _ if is_invisible(c) => {}
            _ if is_joiner(c) && !plain.ends_with(joins) => {}
            _ => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

fn is_wide_space(c: char) -> bool {
    matches!(
        c,
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
    )
}

/// Scripts from Hebrew on (before it stand Latin, Greek and Cyrillic) and emoji, not punctuation.
fn joins(c: char) -> bool {
    c >= '\u{590}' && !matches!(c, '\u{2000}'..='\u{206f}')
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Removes control characters (Unicode's Cc) except LF and tab, the marks of interlinear annotation,
/// and what Unicode says is no character. Line ends other than LF are control characters too:
/// [`line_ends`] comes first.
pub fn controls(text: &str) -> Cow<'_, str> {
    let unwanted = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t')
            || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{fdd0}'..='\u{fdef}')
            || (c as u32) & 0xfffe == 0xfffe
    };
    if !text.contains(unwanted) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter(|&c| !unwanted(c)).collect())
}

/// Unicode's composed form NFC: "n" and a combining tilde are one "ñ".
pub fn nfc(text: &str) -> Cow<'_, str> {
    if is_nfc(text) { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) }
}

/// Without empty lines at either end; the first line keeps its indentation. Blank, and what a
/// spreadsheet or a data frame writes for nothing (`null`, `NaN`, `None`, `N/A`), become empty.
pub fn blank(text: &str) -> &str {
    const NOTHING: [&str; 7] = ["null", "nan", "none", "n/a", "#n/a", "<na>", "nil"];
    let end = text.trim_end().len();
    let Some(start) = text[..end].find(|c: char| !c.is_whitespace()) else { return "" };
    if NOTHING.iter().any(|nothing| text[start..end].eq_ignore_ascii_case(nothing)) {
        return "";
    }
    &text[text[..start].rfind('\n').map_or(0, |newline| newline + 1)..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_stanzas_survive_every_kind_of_line_end() {
        let stanzas = "uno\ndos\n\ntres";
        for text in [
            "uno\ndos\n\ntres",
            "uno\r\ndos\r\n\r\ntres",
            "uno\rdos\r\rtres",
            "uno\u{b}dos\u{2029}tres",
            "uno\u{2028}dos\u{85}\u{85}tres",
            "uno\r\ndos\n\rtres",
        ] {
            assert_eq!(line_ends(text), stanzas, "{text:?}");
        }
        assert_eq!(line_ends("uno\n\u{c}dos\u{c}tres\u{c}\r\ncuatro"), "uno\ndos\ntres\ncuatro");
    }

    #[test]
    fn spaces_are_one_kind_and_nothing_is_invisible() {
        assert_eq!(spaces("\u{feff}10\u{202f}000\u{a0}€,\tsí\u{3000}no"), "10 000 €,\tsí no");
        assert_eq!(spaces("pa\u{ad}la\u{200b}bra\u{200f} y\u{200d}a\u{2060}"), "palabra ya");
        assert_eq!(spaces("👩\u{200d}🌾 y می\u{200c}خواهم"), "👩\u{200d}🌾 y می\u{200c}خواهم");
        assert!(matches!(spaces("una línea\n\n\tcon tabulador"), Cow::Borrowed(_)));
    }

    #[test]
    fn control_characters_go_and_the_text_around_them_stays() {
        let text = "a\0b\u{7}c\u{1b}[1m\u{7f}d\u{9d}e\u{fdd0}\u{fffe}\u{1ffff}f\n\tg";
        assert_eq!(controls(text), "abc[1mdef\n\tg");
        assert!(matches!(controls("¡Año!\n\t…"), Cow::Borrowed(_)));
        assert_eq!(controls("\u{fffd}"), "\u{fffd}", "a lost letter is not hidden");
    }

    #[test]
    fn letters_are_composed() {
        assert_eq!(nfc("an\u{303}o, pingu\u{308}ino, a\u{301}rbol"), "año, pingüino, árbol");
        assert!(matches!(nfc("año"), Cow::Borrowed(_)));
    }

    #[test]
    fn nothing_is_empty_whatever_it_is_called() {
        for nothing in ["", " \n\t ", "null", " NaN\n", "None", "<NA>", "#N/A"] {
            assert_eq!(blank(nothing), "", "{nothing:?}");
        }
        assert_eq!(blank("\n \n  un verso\n\notro \n\n"), "  un verso\n\notro");
        assert_eq!(blank("Null y nulo"), "Null y nulo");
    }
}

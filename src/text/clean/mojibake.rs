//! UTF-8 that was once read as Windows-1252 or Latin-1 ("AÃ±o"), undone where that is certain.
//!
//! A UTF-8 letter of n bytes then shows as n characters: a lead (`Ã`, `Â`, `â` ...) and what the
//! bytes 0x80 to 0xBF are in Windows-1252 (`±`, `€`, `œ` ...). Undoing it blindly breaks what is
//! right: the Portuguese "MANHÃ…", re-encoded, is "MANHÅ" too. So a sequence is certain only if right
//! text cannot hold it: it stands where no capital can (after a small letter, a digit, a stop),
//! or it goes on with a sign that follows no letter, or it has three bytes or more, or it is joined
//! to one that is certain. A text that holds a certain one, and in which every accented letter is
//! part of such a sequence, was misread as a whole: then the uncertain ones are undone too.

use std::borrow::Cow;

/// Bytes 0x80 to 0x9F in Windows-1252, as the WHATWG encoding standard has them.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];
/// Misread that often, a text is given up on.
const DEEPEST: usize = 4;
/// What may stand after a capital in right text, so that it proves nothing there.
const FOLLOWS_WORDS: &str = "\u{a0}»”’…–—›•™®²³¹´·“‘«„‚‹€°¨¸†‡";
/// Of these, what a letter may follow at once.
const STANDS_BETWEEN_WORDS: &str = "\u{a0}’–—…·•†‡";

/// The text as it was meant: read wrongly once, or several times over ("AÃƒÂ±o"). A C1 control
/// character, which no text holds, is the Windows-1252 sign of its byte (U+0093 is “).
pub fn repair(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..DEEPEST {
        match undo(&text) {
            Some(meant) => text = Cow::Owned(meant),
            None => break,
        }
    }
    if text.contains(is_c1) {
        let sign = |c: char| if is_c1(c) { WINDOWS_1252[c as usize - 0x80] } else { c };
        text = Cow::Owned(text.chars().map(sign).collect());
    }
    text
}

fn is_c1(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{9f}')
}

/// A letter that shows as the characters from `at` to `end`.
struct Sequence {
    at: usize,
    end: usize,
    meant: char,
    certain: bool,
}

/// One reading undone; `None` where nothing is.
fn undo(text: &str) -> Option<String> {
    if !text.contains(|c| length_of(c).is_some()) {
        return None;
    }
    let chars: Vec<char> = text.chars().collect();
    let mut found: Vec<Sequence> = Vec::new();
    let mut has_right_letters = false;
    let mut at = 0;
    while at < chars.len() {
        match sequence(&chars, at) {
            Some(next) => {
                at = next.end;
                found.push(next);
            }
            None => {
                has_right_letters |= matches!(chars[at], '\u{c0}'..='\u{ff}');
                at += 1;
            }
        }
    }
    if !found.iter().any(|sequence| sequence.certain) {
        return None;
    }
    for i in 1..found.len() {
        found[i].certain |= found[i - 1].certain && found[i - 1].end == found[i].at;
    }
    for i in (1..found.len()).rev() {
        found[i - 1].certain |= found[i].certain && found[i - 1].end == found[i].at;
    }
    let mut meant = String::with_capacity(text.len());
    let mut copied = 0;
    for sequence in found.iter().filter(|sequence| sequence.certain || !has_right_letters) {
        meant.extend(&chars[copied..sequence.at]);
        meant.push(sequence.meant);
        copied = sequence.end;
    }
    meant.extend(&chars[copied..]);
    Some(meant)
}

/// How many characters a letter shows as whose first byte shows as `lead`; only those leads that
/// western European texts need.
fn length_of(lead: char) -> Option<usize> {
    match lead {
        'Â' | 'Ã' | 'Å' | 'Æ' | 'Ë' | 'Ì' => Some(2),
        'â' | 'ï' => Some(3),
        'ð' => Some(4),
        _ => None,
    }
}

fn sequence(chars: &[char], at: usize) -> Option<Sequence> {
    let length = length_of(chars[at])?;
    let end = at + length;
    let mut bytes = [0; 4];
    for (byte, c) in bytes.iter_mut().zip(chars.get(at..end)?) {
        *byte = byte_of(*c)?;
    }
    let meant = std::str::from_utf8(&bytes[..length]).ok()?.chars().next()?;
    if !is_plausible(meant) {
        return None;
    }
    let before = at.checked_sub(1).map(|before| chars[before]);
    let after = chars.get(end).copied();
    let certain = length > 2 || is_certain(before, chars[at + 1], after, meant);
    Some(Sequence { at, end, meant, certain })
}

/// The byte from 0x80 that Windows-1252, or else Latin-1, writes for a character.
fn byte_of(c: char) -> Option<u8> {
    match c {
        '\u{80}'..='\u{ff}' => Some(c as u8),
        _ => WINDOWS_1252.iter().position(|&sign| sign == c).map(|i| 0x80 + i as u8),
    }
}

/// What western European texts hold beyond ASCII: letters, signs, punctuation, emoji.
fn is_plausible(c: char) -> bool {
    match c {
        'Ð' | 'ð' | 'Þ' | 'þ' => false,
        // From 0x80: a byte of a letter that was misread twice.
        '\u{80}'..='\u{ff}' | 'Œ' | 'œ' | 'Š' | 'š' | 'Ž' | 'ž' | 'Ÿ' => true,
        // Signs of Windows-1252, in what was misread twice.
        'ƒ' | 'ˆ' | '˜' => true,
        // Combining grave, acute, tilde, diaeresis and cedilla.
        '\u{300}' | '\u{301}' | '\u{303}' | '\u{308}' | '\u{327}' => true,
        '\u{2000}'..='\u{203f}' | '€' | '№' | '™' => true,
        '\u{2190}'..='\u{21ff}' | '\u{2200}'..='\u{22bf}' => true,
        '\u{2600}'..='\u{267f}' | '\u{2700}'..='\u{277f}' => true,
        // The ligatures of typesetting (ﬁ), what selects an emoji, the byte order mark, a lost letter.
        '\u{fb00}'..='\u{fb06}' | '\u{fe0f}' | '\u{feff}' | '\u{fffd}' => true,
        '\u{1f000}'..='\u{1faff}' => true,
        _ => false,
    }
}

/// Whether right text cannot hold a capital with accent and `second` between these neighbours.
fn is_certain(before: Option<char>, second: char, after: Option<char>, meant: char) -> bool {
    let within = before.is_some_and(|c| c.is_lowercase() || c.is_numeric() || ".,;:!?".contains(c));
    let after_letter = after.is_some_and(char::is_alphabetic);
    if within {
        return true;
    }
    if meant == '\u{ed}' && after_letter {
        // "í" is `Ã` and a soft hyphen, which may stand within a word of capitals.
        let is_capital = |c: Option<char>| c.is_some_and(char::is_uppercase);
        return !(is_capital(before) && is_capital(after));
    }
    match FOLLOWS_WORDS.contains(second) {
        true => after_letter && !STANDS_BETWEEN_WORDS.contains(second),
        false => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::philox;

    /// UTF-8 read as Windows-1252.
    fn misread(text: &str) -> String {
        let sign = |byte: u8| match byte {
            0x80..=0x9f => WINDOWS_1252[byte as usize - 0x80],
            _ => byte as char,
        };
        text.bytes().map(sign).collect()
    }

    /// UTF-8 read as Latin-1.
    fn misread_as_latin1(text: &str) -> String {
        text.bytes().map(|byte| byte as char).collect()
    }

    const RIGHT: [&str; 16] = [
        "El año que viene, mañana, el pingüino y la cigüeña volverán: ¿quién, yo? ¡Sí, tú!",
        "EL AÑO DE LA ESPAÑA VACÍA: «CANCIÓN», ÁFRICA, ÉPOCA, ÚLTIMO… PINGÜINO",
        "A IRMÃ… DO JOÃO, «AMANHû, disse “MANHÔ e ‘MAÇÒ — LÖ NÃO\u{a0}— A MAÇÃ\u{a0}É",
        "CORAÇÃO, MÃE, NAÇÕES, ROMÃS, «IRMû e “LÔ; IRMù e MANHò, LÃ³. ÇA ALORS",
        "la letra «Â» y la letra «Ã», o “”, ‘Ò; Â · Ã · Å; MANHÃ’S, LÃ®, SÃ€5",
        "« Ça va ? », dit-il… L’été, où l’âme s’égare – à Noël : cœur, œuvre, naïf, âge, pâte, Â… ",
        "À BIENTÔT, FORÊT, HÔTEL, Où ça ? L’ÂGE… «Â»",
        "Ärger, Öl, Übermut, Straße, „GRÖßE“, ‚Ã‘, „Ã“, SÄNGER–ÖSTERREICH… ÄÖÜ»",
        "Å, HALLÅ… “SMÅ” ÅÅ– GÅ’ PÅ´",
        "É… É» CAFÉ” OLÉ’ MARÍ– AQUÍ» È› Ì’ ÔÓ” Ñ° Ð²",
        "20 °C, 3 €, ½, ±1, 10 µm, ©2020, 1.º, 2.ª, n.º 3, §4",
        "L’hòmens d’aquí, col·legi, ÇÀ I LLÀ, açò és això",
        "NGHỆ THUẬT, ÂM NHẠC, Â… CẦN",
        "ROMÂNIA, ÎNTRE, „CÂND”, ȘI",
        "Ã",
        "ã¡ â ï ð",
    ];

    #[test]
    fn right_text_is_never_touched() {
        for text in RIGHT {
            assert_eq!(repair(text), text);
            assert!(matches!(repair(text), Cow::Borrowed(_)));
        }
    }

    /// Words of right texts in any order, single and joined, are right texts.
    #[test]
    fn right_words_in_any_order_are_never_touched() {
        let words: Vec<&str> = RIGHT.iter().flat_map(|text| text.split(' ')).collect();
        for case in 0..4000 {
            let [a, b, c, d] = philox(case, [0; 4]);
            let pick = |n: u32| words[n as usize % words.len()];
            let text =
                [pick(a), pick(b), pick(c), pick(d)].join([" ", "\n", " — "][a as usize % 3]);
            assert_eq!(repair(&text), text);
        }
    }

    #[test]
    fn what_was_misread_is_undone() {
        for (shown, meant) in [
            ("AÃ±o", "Año"),
            ("Â¿QuÃ© tal? Â¡MaÃ±ana!", "¿Qué tal? ¡Mañana!"),
            ("dÃ\u{ad}a", "día"),
            (
                "MARÃ\u{8d}A, ESPAÃ‘A, CANCIÃ“N, ÃšLTIMO, PINGÃœINO, Ã‰L, Ã\u{81}RBOL",
                "MARÍA, ESPAÑA, CANCIÓN, ÚLTIMO, PINGÜINO, ÉL, ÁRBOL",
            ),
            ("â€œholaâ€\u{9d} y â€˜adiÃ³sâ€™â€¦ â€” â€“ 3 â‚¬", "“hola” y ‘adiós’… — – 3 €"),
            ("20Â°C, 1.Âº, la 2.Âª; pan.Â»", "20°C, 1.º, la 2.ª; pan.»"),
            ("holaÂ\u{a0}mundo,Â\u{a0}sÃ\u{ad}", "hola\u{a0}mundo,\u{a0}sí"),
            ("cÅ“ur, Å“uvre, voilÃ\u{a0}", "cœur, œuvre, voilà"),
            ("ï»¿Hola ðŸ˜€ â\u{9d}¤ï¸\u{8f}", "\u{feff}Hola 😀 ❤\u{fe0f}"),
            ("an\u{cc}ƒo, a\u{cc}\u{81}rbol", "an\u{303}o, a\u{301}rbol"),
            ("\u{93}hola\u{94} \u{96} fin\u{85}", "“hola” – fin…"),
            ("TÃº y yo, JosÃ©, PEPÃ‰, SÃ\u{ad}.", "Tú y yo, José, PEPÉ, Sí."),
        ] {
            assert_eq!(repair(shown), meant, "{shown}");
        }
    }

    #[test]
    fn a_text_that_was_misread_as_a_whole_is_undone_as_a_whole() {
        for text in [
            "Ã la carte, À propos: PASÓ” y “PERDÓ”, Ó… À bientôt à la forêt",
            "El año que viene “JAMÁS” volverá… MANHÃ», «Â» fin",
            "¿Qué? —¡Sí! —dijo—. “Ándale”, ‘él’… 3 €, 20 °C, œuvre, l’été à Noël",
        ] {
            for shown in [misread(text), misread(&misread(text)), misread_as_latin1(text)] {
                assert_eq!(repair(&shown), text, "{shown}");
            }
        }
    }

    /// Half right, half misread: what is right stays, what is certain is undone.
    #[test]
    fn a_text_of_both_is_undone_where_it_is_certain() {
        assert_eq!(repair("El año: AÃ±o. “MANHÔ"), "El año: Año. “MANHÔ");
        for text in RIGHT {
            let both = format!("{text} | AÃ±o, â€œmaÃ±anaâ€\u{9d}");
            let meant = format!("{text} | Año, “mañana”");
            if text.chars().any(|c| matches!(c, '\u{c0}'..='\u{ff}') && length_of(c).is_none()) {
                assert_eq!(repair(&both), meant);
            }
        }
    }

    #[test]
    fn repairing_twice_changes_nothing_more() {
        for case in 0..4000 {
            let alphabet: Vec<char> = "ÃÂâÅ±©€œ™\u{a0}\u{ad}¡¿\u{9d}“ aÑñO.".chars().collect();
            let pick = |i: u32| alphabet[philox(9, [case, i, 0, 0])[0] as usize % alphabet.len()];
            let text: String = (0..12).map(pick).collect();
            let once = repair(&text).into_owned();
            assert!(once.chars().count() <= text.chars().count());
            assert_eq!(repair(&once), once, "{text:?}");
        }
    }
}

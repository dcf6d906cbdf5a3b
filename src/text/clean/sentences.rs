//! Where Spanish sentences end, and texts cut into pieces of whole sentences.
//!
//! A sentence ends after `.` `?` `!` `…` (any run of them, and the quotes and brackets that close
//! behind them) where white space follows, and then something that can begin a sentence; or before
//! an empty line. What follows begins none if it starts with a small letter, behind opening signs
//! and dashes too: *—¿Quién? —dijo él—. ¿Tú?* are two sentences. A stop ends none after an abbreviation
//! (*Sr. Pérez*, *pág. 3*), an initial (*J. L. Borges*) or a number that opens a list (*1. Pan*); after
//! those that may close a sentence (*etc.*, *EE. UU.*, *a. C.*) it does before a capital. In doubt
//! there is no end: a sentence too long is the smaller harm.

/// No stop of theirs ends a sentence. In lower case, without the stop.
const ABBREVIATIONS: &str = " sr sra srta sres sras srtas d dª dña dr dra dres dras prof profa lic licda ing arq abg \
    excmo excma ilmo ilma rvdo rvda mons fr sto sta gral cnel cap tte sgto alm pbro pdte pdta p pp pág págs pg núm núms nº nro \
    n vol vols t ts art arts fig figs ed eds cf cfr v vv gr ej p.ej aprox tel tfno telf av avda avd pza pl pº cta ctra dpto depto \
    izq izda dcha dcho ca ms mss trad coord coords comp dir bs hno hnos máx mín sec secc sección rte fdo cód párr prov vda st mr \
    mrs op cit ibíd íd ob ref ";
/// Theirs ends one where a capital follows.
const MAY_CLOSE: &str =
    " etc ud uds vd vds cía cia ltda km kg cm mm h min seg jr a.m p.m s.a s.l s.l.u d.c a.c ";
/// Words that open a sentence and no name: after one of these, an initial was none.
const OPENERS: &str = " el la los las lo un una unos unas en y a al de del con por para pero no se su sus es era fue como \
    cuando después luego entonces así también si sin sobre según esta este esto ese esa aquel aquella hay había yo él ella ellos \
    nosotros que qué quien más muy ya tras desde hasta entre durante aunque porque mientras todo todos nadie nada hoy ayer ";

/// The sentences of a text, each with the white space behind it: joined they are the text.
pub fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find(['.', '?', '!', '…', '\n']) {
        let mark = at + found;
        at = match end_at(text, start, mark) {
            End::After(end) => {
                sentences.push(&text[start..end]);
                start = end;
                end
            }
            End::None(resume) => resume,
        };
    }
    if start < text.len() {
        sentences.push(&text[start..]);
    }
    sentences
}

enum End {
    /// The next sentence begins here.
    After(usize),
    /// No end; the search goes on from here.
    None(usize),
}

/// Whether the sentence from `start` ends with the mark at `mark`.
fn end_at(text: &str, start: usize, mark: usize) -> End {
    if text[mark..].starts_with('\n') {
        // An empty line ends whatever stands before it.
        let space = space_from(text, mark);
        let empty_line = text[mark..space].matches('\n').count() > 1;
        let says_something = text[start..mark].contains(char::is_alphanumeric);
        return match empty_line && says_something {
            true => End::After(space),
            false => End::None(space),
        };
    }
    let marks = mark + run(&text[mark..], |c| matches!(c, '.' | '?' | '!' | '…'));
    let closed = marks + run(&text[marks..], |c| "»”’\"')]}›*_".contains(c));
    let next = space_from(text, closed);
    let says_something = text[start..mark].contains(char::is_alphanumeric);
    if !says_something {
        return End::None(marks);
    }
    // "¿Sí?¡No!": the opening sign is as good as a space.
    let opens_at_once =
        text[mark..].starts_with(['?', '!']) && text[closed..].starts_with(['¿', '¡']);
    if next == closed && next < text.len() && !opens_at_once {
        return End::None(closed);
    }
    let ends = match &text[mark..marks] {
        _ if text[closed..next].matches('\n').count() > 1 || next == text.len() => true,
        "." => begins_sentence(&text[next..]) && stop_ends(text, start, mark, next),
        _ => begins_sentence(&text[next..]),
    };
    if ends { End::After(next) } else { End::None(next) }
}

/// How many bytes at the beginning of `text` are such characters.
fn run(text: &str, is: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is(c)).unwrap_or(text.len())
}

fn space_from(text: &str, at: usize) -> usize {
    at + run(&text[at..], char::is_whitespace)
}

/// Whether what stands here, behind its opening signs, is no continuation.
fn begins_sentence(text: &str) -> bool {
    // A quotation of several paragraphs goes on with ».
    let opening = |c: char| "«»“‘\"'([¿¡*_—–―-•".contains(c) || c.is_whitespace();
    let first = text.trim_start_matches(opening).chars().next();
    first.is_some_and(|c| c.is_alphanumeric() && !c.is_lowercase())
}

/// Whether the single stop at `stop` ends the sentence from `start`, when `next` may begin another.
fn stop_ends(text: &str, start: usize, stop: usize, next: usize) -> bool {
    let before = &text[start..stop];
    let word_start = before
        .rfind(|c: char| c.is_whitespace() || "(«“\"'[¿¡—–/-".contains(c))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let word = &before[word_start..];
    let lower = word.to_lowercase();
    let listed = |list: &str| !word.is_empty() && list.contains(&format!(" {lower} "));
    let first_of_sentence = !before[..word_start].contains(char::is_alphanumeric);
    let is_number = word.chars().all(|c| c.is_ascii_digit());
    let is_roman = !word.is_empty() && word.chars().all(|c| "IVXLC".contains(c));
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    let next_word = &text[next..][..run(&text[next..], char::is_alphanumeric)];
    let next_opens = !text[next + next_word.len()..].starts_with('.')
        && OPENERS.contains(&format!(" {} ", next_word.to_lowercase()));
    let next_opens = next_opens || !text[next..].starts_with(char::is_alphanumeric);
    let previous = before[..word_start].trim_end().rsplit(char::is_whitespace).next().unwrap_or("");

    if first_of_sentence && (is_number || is_roman || letters == 1) {
        // "1. Pan", "IV. El río", "J. Gil".
        false
    } else if is_doubled(word) {
        // "EE. UU.": its second half may close a sentence.
        previous.strip_suffix('.').is_some_and(is_doubled) && !next_is_doubled(&text[next..])
    } else if letters == 1 && matches!(previous, "a." | "d." | "de") && lower == "c" {
        // "a. C.", "d. de C."
        true
    } else if lower == "m" && matches!(previous, "a." | "p.") {
        true
    } else if is_roman && letters == 1 && is_numbered(previous) && next_word.len() > 1 {
        // "Felipe V. Después", but "Juan V. Pérez".
        next_opens
    } else if listed(ABBREVIATIONS) {
        false
    } else if listed(MAY_CLOSE) {
        true
    } else if letters == 1 || is_dotted_initials(word) {
        next_opens
    } else {
        true
    }
}

/// What a Roman number follows: a name, a century.
fn is_numbered(word: &str) -> bool {
    word.starts_with(char::is_uppercase) || word == "siglo"
}

/// The same capital twice: half of the plural of an acronym.
fn is_doubled(word: &str) -> bool {
    let mut chars = word.chars();
    match (chars.next(), chars.next(), chars.next()) {
        // "II" and "XX" are numbers.
        (Some(a), Some(b), None) => a == b && a.is_uppercase() && !matches!(a, 'I' | 'X'),
        _ => false,
    }
}

fn next_is_doubled(text: &str) -> bool {
    text.split('.').next().is_some_and(is_doubled)
}

/// "J.L", "R.A.E"
fn is_dotted_initials(word: &str) -> bool {
    word.contains('.') && word.split('.').all(|part| part.chars().count() == 1)
}

/// A text in pieces of whole sentences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces<'a> {
    /// Each with the white space behind it: joined they are the text. Without it, none has more
    /// characters than was allowed.
    pub pieces: Vec<&'a str>,
    /// How many sentences were longer than a piece and had to be cut.
    pub cut: usize,
}

/// Joins whole sentences to pieces of at most `max_chars` characters (at least 1). A sentence that is
/// longer by itself is cut, in its second half if it can be: at a line end, else at `?`, `!` or `…`,
/// else at `;` or `:`, else at a comma or a dash, else between words, else anywhere.
pub fn split_sentences(text: &str, max_chars: usize) -> Pieces<'_> {
    let mut units = Vec::new();
    let mut cut = 0;
    for sentence in sentences(text) {
        let before = units.len();
        cut_to_length(sentence, max_chars, &mut units);
        cut += usize::from(units.len() > before + 1);
    }
    let mut pieces = Vec::new();
    let (mut start, mut end, mut length) = (0, 0, 0);
    for unit in units {
        let visible = unit.trim_end().chars().count();
        if end > start && length + visible > max_chars {
            pieces.push(&text[start..end]);
            (start, length) = (end, 0);
        }
        end += unit.len();
        length += unit.chars().count();
    }
    if end > start {
        pieces.push(&text[start..end]);
    }
    Pieces { pieces, cut }
}

fn cut_to_length<'a>(mut sentence: &'a str, max_chars: usize, units: &mut Vec<&'a str>) {
    while let Some((limit, _)) = sentence.trim_end().char_indices().nth(max_chars) {
        let at = best_cut(sentence, limit);
        units.push(&sentence[..at]);
        sentence = &sentence[at..];
    }
    units.push(sentence);
}

/// The best place to cut a text into a first part that is visible up to `limit` bytes at most.
fn best_cut(text: &str, limit: usize) -> usize {
    let half = text[..limit].char_indices().nth(text[..limit].chars().count() / 2);
    let half = half.map_or(0, |(at, _)| at);
    let mut best: Option<(u8, usize)> = None;
    let mut before = None;
    for (at, c) in text.char_indices().take_while(|&(at, _)| at <= limit) {
        let ends_space = before.is_some_and(char::is_whitespace) && !c.is_whitespace();
        let at_limit = at == limit && c.is_whitespace();
        if at > 0 && (ends_space || at_limit) {
            let (visible, space) = text[..at].split_at(text[..at].trim_end().len());
            let rank = match visible.chars().next_back() {
                _ if visible.is_empty() => 0,
                _ if space.contains('\n') || c == '\n' => 6,
                _ if visible.ends_with("..") => 5,
                Some('?' | '!' | '…') => 5,
                Some(';' | ':') => 4,
                Some(',' | ')' | '—' | '–' | '»') => 3,
                // A stop within a sentence is that of an abbreviation.
                Some('.') => 1,
                _ => 2,
            };
            // What lies in the second half is better than anything before it.
            let rank = if at > half { rank + 10 } else { rank };
            if rank % 10 > 0 && best.is_none_or(|(other, _)| rank >= other) {
                best = Some((rank, at));
            }
        }
        before = Some(c);
    }
    match best {
        // The white space belongs to the first part.
        Some((_, at)) => space_from(text, at),
        None => letters_end(text, limit),
    }
}

/// The last place up to `limit` that parts no letter from its combining marks, if there is one.
fn letters_end(text: &str, limit: usize) -> usize {
    use unicode_normalization::char::is_combining_mark;
    let places = text.char_indices().skip(1).take_while(|&(at, _)| at <= limit);
    places.filter(|&(_, c)| !is_combining_mark(c)).last().map_or(limit, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::philox;

    /// Sentences are parted by `|`.
    #[test]
    fn spanish_sentences_end_where_they_end() {
        for parted in [
            "Llueve. |Nadie sale.",
            "¿Vienes? |¡Ya voy! |Espera…",
            "Dijo que… no vendría. |Y no vino...",
            "Pensó... |Luego se fue.",
            "—¿Quién? —dijo él—. |¿Tú?",
            "—¿Quién es? —preguntó. |—Yo.",
            "- ¡Qué susto!- murmuró ella. |- No es nada- dijo él.",
            "El Sr. Pérez y la Sra. Gil viven en la Avda. Real, núm. 3. |Son amigos.",
            "D. Luis saludó al Dr. Soto. |Dª. Ana no.",
            "Cuesta 3.500 euros, o sea 3,5 miles. |Es caro.",
            "Es el 1.º de la clase y la 2.ª vez. |Bravo.",
            "Lo leyó J. L. Borges. |Luego lo tradujo.",
            "Toma vitamina C. |Luego descansa.",
            "Reinó Felipe V. |Después, nadie. |Felipe II. |Y en el siglo XX. |Fin.",
            "Nació en el 44 a. C. |Murió en el 20 d. C. en su casa.",
            "Viajó a EE. UU. |Volvió con pan, vino, etc. |Todo bien, etc., y más etc. y nada.",
            "Los EE. UU. de entonces y las FF. AA. de ahora. |Bien.",
            "Fundó la S.A. |Vino luego a EE.UU. |Dijo adiós.",
            "Frutas, p. ej. manzanas, y véase la pág. 20. |Aquí no.",
            "«Uno.\n|»Dos.» |Y tres.",
            "«Ven.» |Y fue. |«Ven». |Y fue (al fin). |Sí.",
            "\"¿Vienes?\", dijo. |\"No.\" |Se calló.",
            "Murió en 1900. |20 años después volvió.",
            "1. Pan. |2. Vino. |IV. El río.",
            "¿Qué?|¡No! |¡¿Cómo?! |Así.",
            "¿Quién vino? ¿quién se fue? |Nadie.",
            "Un título\n\n|Un verso sin punto\ny otro.\n\n|Fin",
            "Verso uno,\nverso dos.\n|Verso tres;\nverso cuatro.",
            "Mira www.ejemplo.es. |Es la versión 2.0.1 de ayer.",
            "* * *\n\nY al fin. |Se acabó.",
            "La vid. |El pan que da. |Todo.",
        ] {
            let expected: Vec<&str> = parted.split('|').collect();
            let text = expected.concat();
            assert_eq!(sentences(&text), expected);
        }
        assert!(sentences("").is_empty());
    }

    fn random_text(case: u32) -> String {
        const PARTS: [&str; 28] = [
            "a", "Ñu", "Sr", "etc", "EE", "UU", "J", "3", "1999", ".", ".", "...", "…", "?", "!",
            "¿", "¡", "—", "-", " ", " ", "\n", "\n\n", "«", "»", ",", "e\u{301}", "\u{301}",
        ];
        let pick = |i| PARTS[philox(5, [case, i, 0, 0])[0] as usize % PARTS.len()];
        (0..philox(6, [case, 0, 0, 0])[0] % 60).map(pick).collect()
    }

    #[test]
    fn sentences_and_pieces_are_the_text() {
        for case in 0..3000 {
            let text = random_text(case);
            assert_eq!(sentences(&text).concat(), text);
            for max_chars in [1, 7, 20] {
                let Pieces { pieces, cut } = split_sentences(&text, max_chars);
                assert_eq!(pieces.concat(), text);
                let longest = pieces.iter().map(|piece| piece.trim_end().chars().count()).max();
                assert!(longest.unwrap_or(0) <= max_chars, "{text:?}");
                assert!(pieces.iter().all(|piece| !piece.is_empty()));
                let whole = |s: &&str| s.trim_end().chars().count() > max_chars;
                assert_eq!(cut, sentences(&text).iter().copied().filter(whole).count());
            }
        }
    }

    #[test]
    fn pieces_are_as_long_as_they_may_be() {
        let text = "Uno dos. Tres cuatro. Cinco.\n\nSeis siete ocho. Nueve.";
        let pieces = |max| split_sentences(text, max);
        assert_eq!(pieces(100).pieces, [text]);
        assert_eq!(
            pieces(28).pieces,
            ["Uno dos. Tres cuatro. Cinco.\n\n", "Seis siete ocho. Nueve."]
        );
        assert_eq!(pieces(27).pieces[0], "Uno dos. Tres cuatro. ");
        assert_eq!(pieces(27).cut, 0);
    }

    #[test]
    fn a_sentence_that_is_too_long_is_cut_where_it_hurts_least() {
        let cut = |text, max| split_sentences(text, max).pieces;
        assert_eq!(
            cut("Vino ayer; trajo pan, vino y sal", 22),
            ["Vino ayer; trajo pan, ", "vino y sal"]
        );
        assert_eq!(
            cut("Vino con pan; trajo sal y vino", 19),
            ["Vino con pan; ", "trajo sal y vino"]
        );
        assert_eq!(
            cut("Vino anoche con el gran D. Alonso Gil", 28),
            ["Vino anoche con el gran ", "D. Alonso Gil"]
        );
        assert_eq!(cut("uno dos tres cuatro", 9), ["uno dos ", "tres ", "cuatro"]);
        assert_eq!(cut("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(cut("ae\u{301}io", 2), ["a", "e\u{301}", "io"]);
        let pieces = split_sentences("uno dos tres cuatro. Fin.", 9);
        assert_eq!((pieces.pieces, pieces.cut), (vec!["uno dos ", "tres ", "cuatro. ", "Fin."], 1));
    }
}

//! The forms: how many lines, how long each, which of them rhyme.

use super::Problem;
use super::metre::{Scansion, scan};
use super::rhyme::Rhyme;

/// A form that a title can name by its first word, in the singular or the plural.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    Copla,
    Cuarteta,
    Redondilla,
    Quintilla,
    Decima,
    Romance,
    Romancillo,
    Soneto,
    Seguidilla,
    Haiku,
    Lira,
    Octava,
    Terceto,
    Tercetos,
    Pareado,
}

impl Form {
    /// The form that the first word of `title` names, and whether in the plural.
    pub fn of(title: &str) -> Option<(Form, bool)> {
        let first = title
            .split_whitespace()
            .next()?
            .trim_matches(|c: char| !c.is_alphabetic())
            .to_lowercase();
        // chained tercets are one poem, whatever their number
        if first == "tercetos" {
            return Some((Form::Tercetos, false));
        }
        let singular = first.strip_suffix('s').unwrap_or(&first);
        let form = match singular {
            "copla" => Form::Copla,
            "cuarteta" => Form::Cuarteta,
            "redondilla" => Form::Redondilla,
            "quintilla" => Form::Quintilla,
            "décima" | "espinela" => Form::Decima,
            "romance" => Form::Romance,
            "romancillo" => Form::Romancillo,
            "soneto" => Form::Soneto,
            "seguidilla" => Form::Seguidilla,
            "haiku" => Form::Haiku,
            "lira" => Form::Lira,
            "octava" => Form::Octava,
            "terceto" => Form::Terceto,
            "pareado" => Form::Pareado,
            _ => return None,
        };
        Some((form, singular != first))
    }
}

struct Line<'a> {
    number: usize,
    text: &'a str,
    scansion: Scansion,
    rhyme: Option<Rhyme>,
}

impl<'a> Line<'a> {
    fn new(number: usize, text: &'a str) -> Self {
        let scansion = scan(text);
        let rhyme = scansion.last.as_ref().map(Rhyme::of);
        Line { number, text, scansion, rhyme }
    }

    fn problem(&self, expected: impl Into<String>, found: impl Into<String>) -> Problem {
        Problem {
            line: self.number,
            expected: expected.into(),
            found: found.into(),
            syllables: self.scansion.division.clone(),
        }
    }

    fn last_word(&self) -> &str {
        self.scansion.last.as_ref().map_or("", |word| &word.text)
    }

    fn consonant(&self) -> &str {
        self.rhyme.as_ref().map_or("", |r| &r.consonant)
    }

    fn assonant(&self) -> &str {
        self.rhyme.as_ref().map_or("", |r| &r.assonant)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Consonant,
    Assonant,
}

pub(super) fn problems(form: Form, several: bool, text: &str) -> Vec<Problem> {
    let mut stanzas: Vec<Vec<Line>> = vec![Vec::new()];
    for (i, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            stanzas.push(Vec::new());
        } else if let Some(stanza) = stanzas.last_mut() {
            stanza.push(Line::new(i + 1, line));
        }
    }
    stanzas.retain(|stanza| !stanza.is_empty());
    // a sonnet is itself printed in stanzas, so sonnets in a row are told apart by their fourteen lines
    let whole = !several || form == Form::Soneto;
    if whole {
        let mut lines: Vec<Line> = stanzas.into_iter().flatten().collect();
        stanzas = Vec::new();
        while several && lines.len() > 14 {
            let rest = lines.split_off(14);
            stanzas.push(std::mem::replace(&mut lines, rest));
        }
        stanzas.push(lines);
    }
    let mut found = Vec::new();
    for stanza in &stanzas {
        unreadable(stanza, &mut found);
        poem(form, stanza, &mut found);
    }
    found
}

/// Figures cannot be counted by a rule of letters.
fn unreadable(lines: &[Line], found: &mut Vec<Problem>) {
    for line in lines {
        if line.text.contains(|c: char| c.is_numeric()) || line.scansion.last.is_none() {
            found.push(line.problem("words", "figures or nothing to speak"));
        }
    }
}

fn poem(form: Form, lines: &[Line], found: &mut Vec<Problem>) {
    use Kind::{Assonant, Consonant};
    match form {
        Form::Copla => fixed(lines, &[8; 4], "-a-a", Assonant, found),
        Form::Cuarteta => fixed(lines, &[8; 4], "abab", Consonant, found),
        Form::Redondilla => fixed(lines, &[8; 4], "abba", Consonant, found),
        Form::Decima => fixed(lines, &[8; 10], "abbaaccddc", Consonant, found),
        Form::Haiku => fixed(lines, &[5, 7, 5], "---", Assonant, found),
        Form::Lira => fixed(lines, &[7, 11, 7, 7, 11], "ababb", Consonant, found),
        Form::Octava => fixed(lines, &[11; 8], "abababcc", Consonant, found),
        Form::Terceto => fixed(lines, &[11; 3], "a-a", Consonant, found),
        Form::Seguidilla if lines.len() == 7 => {
            fixed(lines, &[7, 5, 7, 5, 5, 7, 5], "-a-ab-b", Assonant, found)
        }
        Form::Seguidilla => fixed(lines, &[7, 5, 7, 5], "-a-a", Assonant, found),
        Form::Pareado => {
            if count(lines, 2, found) {
                scheme(lines, "aa", Consonant, found);
            }
        }
        Form::Romance => romance(lines, 8, found),
        Form::Romancillo => romance(lines, 6, found),
        Form::Quintilla => quintilla(lines, found),
        Form::Soneto => sonnet(lines, found),
        Form::Tercetos => chained_tercets(lines, found),
    }
}

fn count(lines: &[Line], expected: usize, found: &mut Vec<Problem>) -> bool {
    if lines.len() == expected {
        return true;
    }
    let line = lines.last().map_or(0, |line| line.number);
    let (expected, number) = (format!("{expected} lines"), lines.len().to_string());
    found.push(Problem { line, expected, found: number, syllables: String::new() });
    false
}

fn metre(lines: &[Line], lengths: impl Iterator<Item = usize>, found: &mut Vec<Problem>) {
    for (line, length) in lines.iter().zip(lengths) {
        let s = &line.scansion;
        if !s.admits(length) {
            let readings = match (s.fewest, s.most) {
                (a, b) if a == b => a.to_string(),
                (a, b) => format!("{a} to {b}"),
            };
            found.push(line.problem(format!("{length} syllables"), readings));
        }
    }
}

/// Lines with the same letter rhyme, with different letters do not (in consonance), with `-` are free.
fn scheme(lines: &[Line], pattern: &str, kind: Kind, found: &mut Vec<Problem>) {
    let letters: Vec<char> = pattern.chars().collect();
    for (j, line) in lines.iter().enumerate() {
        for (i, earlier) in lines[..j].iter().enumerate() {
            let same = letters[i] == letters[j];
            if letters[i] == '-' || letters[j] == '-' {
                continue;
            }
            let first_of_its_letter = letters.iter().position(|c| *c == letters[j]) == Some(i);
            let rhymes = match kind {
                Kind::Consonant => earlier.consonant() == line.consonant(),
                Kind::Assonant => earlier.assonant() == line.assonant(),
            };
            let (a, b) = (earlier.last_word(), line.last_word());
            if same && !rhymes && first_of_its_letter {
                let name = if kind == Kind::Consonant { "consonant" } else { "assonant" };
                found.push(line.problem(
                    format!("{name} rhyme with “{a}” (line {})", earlier.number),
                    format!("“{b}”"),
                ));
            } else if same && a == b {
                found.push(line.problem("another word", format!("“{b}” rhymed with itself")));
            } else if !same && rhymes && kind == Kind::Consonant {
                found.push(line.problem(
                    format!("another rhyme than “{a}” (line {})", earlier.number),
                    format!("“{b}”"),
                ));
            }
        }
    }
}

fn fixed(lines: &[Line], lengths: &[usize], pattern: &str, kind: Kind, found: &mut Vec<Problem>) {
    if count(lines, lengths.len(), found) {
        metre(lines, lengths.iter().copied(), found);
        scheme(lines, pattern, kind, found);
    }
}

/// Octosyllables (or shorter) with one assonance in all even lines.
fn romance(lines: &[Line], length: usize, found: &mut Vec<Problem>) {
    if lines.len() < 8 || lines.len() % 2 == 1 {
        let (line, number) = (lines.last().map_or(0, |line| line.number), lines.len().to_string());
        found.push(Problem {
            line,
            expected: "8 lines or more, even".into(),
            found: number,
            syllables: String::new(),
        });
    }
    metre(lines, std::iter::repeat(length), found);
    let Some(first) = lines.get(1) else { return };
    for line in lines.iter().skip(3).step_by(2) {
        if line.assonant() != first.assonant() {
            let expected = format!(
                "assonance {} (“{}”, line {})",
                first.assonant(),
                first.last_word(),
                first.number
            );
            found.push(
                line.problem(expected, format!("{} (“{}”)", line.assonant(), line.last_word())),
            );
        }
    }
}

/// The scheme that lines have: a letter for each consonance, in order of appearance.
fn letters(lines: &[Line]) -> String {
    let mut seen: Vec<&str> = Vec::new();
    let mut scheme = String::new();
    for line in lines {
        let at = seen.iter().position(|key| *key == line.consonant()).unwrap_or_else(|| {
            seen.push(line.consonant());
            seen.len() - 1
        });
        scheme.push((b'a' + at.min(25) as u8) as char);
    }
    scheme
}

fn quintilla(lines: &[Line], found: &mut Vec<Problem>) {
    if !count(lines, 5, found) {
        return;
    }
    metre(lines, std::iter::repeat(8), found);
    let scheme = letters(lines);
    let schemes = ["aabab", "aabba", "abaab", "ababa", "abbab"];
    if schemes.contains(&scheme.as_str()) {
        self::scheme(lines, &scheme, Kind::Consonant, found);
    } else {
        found.push(
            lines[4].problem("two rhymes, no three in a row alike, no final couplet", scheme),
        );
    }
}

fn sonnet(lines: &[Line], found: &mut Vec<Problem>) {
    if !count(lines, 14, found) {
        return;
    }
    metre(lines, std::iter::repeat(11), found);
    let crossed = lines[0].consonant() == lines[2].consonant();
    let quartets = if crossed { "abababab" } else { "abbaabba" };
    let tercets = letters(&lines[8..]);
    let rhymes = |c: char| tercets.matches(c).count();
    let unrhymed = tercets.chars().any(|c| rhymes(c) < 2);
    if unrhymed || rhymes('a') == 6 {
        scheme(&lines[..8], quartets, Kind::Consonant, found);
        found.push(lines[13].problem("tercets of two or three rhymes, none alone", tercets));
        return;
    }
    // the tercets take new rhymes: their letters follow those of the quartets
    let shifted = tercets.chars().map(|c| (c as u8 + 2) as char);
    let pattern: String = quartets.chars().chain(shifted).collect();
    scheme(lines, &pattern, Kind::Consonant, found);
}

/// aba bcb cdc … yzyz; up to 70 lines, where the letters end.
fn chained_tercets(lines: &[Line], found: &mut Vec<Problem>) {
    if lines.len() < 7 || lines.len() % 3 != 1 || lines.len() > 70 {
        let (line, number) = (lines.last().map_or(0, |line| line.number), lines.len().to_string());
        found.push(Problem {
            line,
            expected: "7, 10, 13 … 70 lines".into(),
            found: number,
            syllables: String::new(),
        });
        return;
    }
    metre(lines, std::iter::repeat(11), found);
    let letter = |i: usize| (b'a' + (i / 3 + i % 3 % 2) as u8) as char;
    let pattern: String = (0..lines.len()).map(letter).collect();
    scheme(lines, &pattern, Kind::Consonant, found);
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    /// Lines of `length` syllables (5 to 11) that end in the given words.
    fn poem_of(ends: &[&str], lengths: &[usize]) -> String {
        let line = |(i, end): (usize, &&str)| {
            let missing = lengths[i % lengths.len()] - scan(end).natural;
            format!("{}{end}", "tan ".repeat(missing))
        };
        ends.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
    }

    fn right(title: &str, ends: &str, lengths: &[usize]) -> bool {
        let ends: Vec<&str> = ends.split_whitespace().collect();
        check(title, &poem_of(&ends, lengths)).is_ok()
    }

    #[test]
    fn titles_name_forms() {
        assert_eq!(Form::of("Coplas de la mar"), Some((Form::Copla, true)));
        assert_eq!(Form::of("Décima: el tren"), Some((Form::Decima, false)));
        assert_eq!(Form::of("Tercetos del faro"), Some((Form::Tercetos, false)));
        assert_eq!(Form::of("Haikus"), Some((Form::Haiku, true)));
        assert_eq!(Form::of("La copla"), None);
        assert_eq!(Form::of(""), None);
    }

    #[test]
    fn forms_of_four_lines() {
        assert!(right("Copla", "viento mesa luz pena", &[8]));
        assert!(!right("Copla", "viento mesa luz pino", &[8]));
        assert!(!right("Copla", "viento mesa luz pena", &[7]));
        assert!(!right("Copla", "viento mesa luz mesa", &[8]));
        assert!(right("Cuarteta", "viento mesa lento presa", &[8]));
        assert!(!right("Cuarteta", "viento mesa lento pena", &[8]));
        assert!(!right("Cuarteta", "viento lento cuento tormento", &[8]));
        assert!(right("Redondilla", "viento mesa presa lento", &[8]));
        assert!(!right("Redondilla", "viento mesa lento presa", &[8]));
        assert!(right("Seguidilla", "viento mesa luz pena", &[7, 5]));
        assert!(!right("Seguidilla", "viento mesa luz pena", &[5, 7]));
        assert!(right("Seguidilla", "viento mesa luz pena mano sol alto", &[7, 5, 7, 5, 5, 7, 5]));
    }

    #[test]
    fn forms_of_five_lines_and_more() {
        assert!(right("Quintilla", "viento mesa lento presa cuento", &[8]));
        assert!(!right("Quintilla", "viento mesa lento presa pesa", &[8]));
        assert!(right("Lira", "viento mesa lento presa pesa", &[7, 11, 7, 7, 11]));
        assert!(!right("Lira", "viento mesa lento presa pesa", &[7, 11, 7, 7, 7]));
        let espinela = "viento mesa presa lento cuento mano llano sol farol verano";
        assert!(right("Décima", espinela, &[8]));
        assert!(!right("Décima", &espinela.replace("verano", "otoño"), &[8]));
        assert!(!right("Décima", &espinela.replace(" verano", ""), &[8]));
        assert!(right("Octava", "viento mesa lento presa cuento pesa sol farol", &[11]));
        assert!(right("Haiku", "viento mesa luz", &[5, 7, 5]));
        assert!(right("Pareado", "viento lento", &[7, 11]));
    }

    #[test]
    fn long_forms() {
        let sonnet = "viento mesa presa lento cuento pesa empresa tormento mano sol verano farol llano crisol";
        assert!(right("Soneto", sonnet, &[11]));
        assert!(!right("Soneto", &sonnet.replace("crisol", "cristal"), &[11]));
        assert!(!right("Soneto", &sonnet.replace("empresa", "pena"), &[11]));
        assert!(right("Sonetos", &format!("{sonnet} {sonnet}"), &[11]));
        assert!(!right("Soneto", &format!("{sonnet} {sonnet}"), &[11]));
        let romance = "viento mesa luz pena mano lleva sol vereda";
        assert!(right("Romance", romance, &[8]));
        assert!(right("Romancillo", romance, &[6]));
        assert!(!right("Romance", romance, &[6]));
        assert!(!right("Romance", &romance.replace("lleva", "lindo"), &[8]));
        assert!(!right("Romance", "viento mesa luz pena", &[8]));
        assert!(right("Tercetos", "viento mesa lento presa mano pesa llano", &[11]));
        assert!(!right("Tercetos", "viento mesa lento presa mano pesa sol", &[11]));
    }

    #[test]
    fn a_plural_title_is_checked_stanza_by_stanza() {
        let good = poem_of(&["viento", "mesa", "luz", "pena"], &[8]);
        let bad = poem_of(&["viento", "mesa", "luz", "pino"], &[8]);
        assert!(check("Coplas", &format!("{good}\n\n{good}")).is_ok());
        assert!(check("Copla", &format!("{good}\n\n{good}")).is_err());
        let problems = check("Coplas", &format!("{good}\n\n{bad}")).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!((problems[0].line, problems[0].found.as_str()), (9, "“pino”"));
    }

    #[test]
    fn figures_and_empty_lines_of_verse_are_refused() {
        assert!(!right("Pareado", "3 viento lento", &[2]));
        assert!(check("Pareado", "lento viento 1\nviento lento").is_err());
        assert!(check("Soneto", "").is_err());
    }
}

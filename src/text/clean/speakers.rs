//! Transcripts reduced to what one speaker says.
//!
//! An intervention begins with a label, at the beginning of a line or behind the end of a sentence:
//! words in capitals and a colon (`PRESIDENTE SÁNCHEZ:`, `El señor PRESIDENTE (Gil):`), a role and a
//! colon (`Pregunta:`), one of the letters P and R, or at the beginning of a line any name followed
//! by a stop and a dash (`Presidente.-`). It goes on to the next label, over paragraphs too; what
//! stands before the first label is nobody's.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::sentences::sentences;

/// Who speaks in transcripts, without accents and in lower case.
const ROLES: &str = " presidente presidenta vicepresidente vicepresidenta pregunta preguntas respuesta interlocutor \
    interlocutora periodista moderador moderadora ministro ministra portavoz entrevistador entrevistadora entrevistado \
    entrevistada secretario secretaria consejero consejera alcalde alcaldesa diputado diputada senador senadora p r ";
/// What a label may begin with and a name does not.
const TREATMENTS: &str = " el la senor senora sr sra srta don dona d excmo excma ";
/// What parentheses of stenographers begin with.
const STAGE_WORDS: &str = " aplausos risas rumores pausa inaudible ininteligible protestas murmullos silencio \
    interrupcion interrupciones asentimiento denegaciones continuan traduccion interviene habla prosiguen vitores ";
const LONGEST_LABEL: usize = 80;
const MOST_WORDS: usize = 8;

/// What one speaker says in a transcript.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reduced {
    /// The interventions, with an empty line between them; empty where there are none.
    pub text: String,
    pub kept: usize,
    pub dropped: usize,
    /// Stage directions taken out of what was kept: `[Aplausos]`, `(Risas.)`.
    pub stage_directions: usize,
}

/// Keeps the interventions of the speakers whose label begins with the words of `name`, whatever case,
/// accents and treatment (*el señor*): `presidente` keeps `PRESIDENTE SÁNCHEZ` and `El señor
/// PRESIDENTE`, and not `PRESIDENTA`. Labels are removed, and stage directions too, for nobody says
/// them: all in square brackets, and in round ones what stenographers write there (`(Risas)`). Counts
/// every label in `speakers`, as written.
pub fn keep_speaker(text: &str, name: &str, speakers: &mut BTreeMap<String, usize>) -> Reduced {
    let wanted = name_words(name);
    let labels = labels(text);
    let mut reduced = Reduced::default();
    for (i, label) in labels.iter().enumerate() {
        *speakers.entry(label.name.to_string()).or_default() += 1;
        let end = labels.get(i + 1).map_or(text.len(), |next| next.whole.start);
        let found = name_words(label.name);
        if wanted.is_empty() || !found.starts_with(&wanted) {
            reduced.dropped += 1;
            continue;
        }
        let (said, directions) = without_stage_directions(text[label.whole.end..end].trim());
        reduced.stage_directions += directions;
        reduced.kept += 1;
        if !said.is_empty() && !reduced.text.is_empty() {
            reduced.text.push_str("\n\n");
        }
        reduced.text.push_str(&said);
    }
    reduced
}

struct Label<'a> {
    name: &'a str,
    /// With its colon or dash.
    whole: Range<usize>,
}

fn labels(text: &str) -> Vec<Label<'_>> {
    let mut places = BTreeSet::new();
    for parts in [text.split_inclusive('\n').collect(), sentences(text)] {
        let mut at = 0;
        for part in parts {
            places.insert(at + part.len() - part.trim_start().len());
            at += part.len();
        }
    }
    let mut labels: Vec<Label> = Vec::new();
    for at in places {
        let before = text[..at].trim_end_matches([' ', '\t']);
        let begins_line = before.is_empty() || before.ends_with('\n');
        if labels.last().is_none_or(|last| last.whole.end <= at) {
            labels.extend(label_at(text, at, begins_line));
        }
    }
    labels
}

/// The label that begins exactly here.
fn label_at(text: &str, at: usize, begins_line: bool) -> Option<Label<'_>> {
    let line = text[at..].lines().next()?;
    let window = line.char_indices().nth(LONGEST_LABEL).map_or(line, |(end, _)| &line[..end]);
    let place = |end: &'static str| window.find(end).map(|at| (at, at + end.len()));
    let dash = [".-", ".–", ".—", ". -", ". –", ". —"].into_iter().filter_map(place).min();
    let (name_end, end, by_dash) = match (place(":"), dash) {
        (Some(colon), dash) if dash.is_none_or(|dash| colon < dash) => (colon.0, colon.1, false),
        (_, Some(dash)) => (dash.0, dash.1, true),
        _ => return None,
    };
    let ornament = |c: char| c.is_whitespace() || "*_.-–—•".contains(c);
    let name = window[..name_end].trim_matches(ornament);
    let is_label = name.starts_with(char::is_alphabetic)
        && name.split_whitespace().count() <= MOST_WORDS
        && !name.contains(['?', '!', ';', '«', '"', '“', '¿', '¡', ','])
        && (is_role(name)
            || (begins_line || !by_dash) && is_in_capitals(name)
            || (begins_line && by_dash) && is_name(name));
    let end = line.len() - line[end..].trim_start_matches(ornament).len();
    is_label.then_some(Label { name, whole: at..at + end })
}

/// Whether the label's name, without treatment and parentheses, is written in capitals.
fn is_in_capitals(label: &str) -> bool {
    let name = label.split('(').next().unwrap_or(label);
    let words: Vec<&str> = name
        .split_whitespace()
        .filter(|word| !is_one_of(TREATMENTS, word) && !matches!(*word, "de" | "del" | "y"))
        .collect();
    let capitals = |word: &&str| !word.contains(char::is_lowercase);
    let letters = name.chars().filter(|c| c.is_uppercase()).count();
    !words.is_empty() && words.iter().all(capitals) && letters >= 4
}

/// "Pregunta", "Presidente Sánchez", "P"
fn is_role(label: &str) -> bool {
    let mut words = label.split_whitespace().skip_while(|word| is_one_of(TREATMENTS, word));
    let Some(first) = words.next() else { return false };
    first.starts_with(char::is_uppercase)
        && is_one_of(ROLES, first)
        && words.all(|word| {
            !word.starts_with(char::is_lowercase) || matches!(word, "de" | "del" | "la")
        })
}

/// Words that all begin with a capital.
fn is_name(label: &str) -> bool {
    let particle = |word: &str| matches!(word, "de" | "del" | "la" | "y");
    label.split_whitespace().all(|word| word.starts_with(char::is_uppercase) || particle(word))
}

fn is_one_of(list: &str, word: &str) -> bool {
    let folded = fold(word);
    !folded.is_empty() && list.contains(&format!(" {folded} "))
}

/// Letters and digits without accents, in lower case.
fn fold(word: &str) -> String {
    let plain = word.nfd().filter(|c| !is_combining_mark(*c) && c.is_alphanumeric());
    plain.flat_map(char::to_lowercase).collect()
}

fn name_words(label: &str) -> Vec<String> {
    let words = label.split(|c: char| c.is_whitespace() || "().,:-".contains(c));
    let words: Vec<String> = words.map(fold).filter(|word| !word.is_empty()).collect();
    let named = words.iter().position(|word| !TREATMENTS.contains(&format!(" {word} ")));
    words[named.unwrap_or(0)..].to_vec()
}

/// Also returns how many there were.
fn without_stage_directions(text: &str) -> (String, usize) {
    let mut said = String::with_capacity(text.len());
    let mut count = 0;
    let mut rest = text;
    while let Some(open) = rest.find(['[', '(']) {
        let square = rest[open..].starts_with('[');
        let close = rest[open..].find([if square { ']' } else { ')' }, '\n']).map(|at| open + at);
        let inside =
            close.filter(|&at| !rest[at..].starts_with('\n')).map(|at| &rest[open + 1..at]);
        let stage = |inside: &str| {
            square
                || inside.split_whitespace().next().is_some_and(|word| is_one_of(STAGE_WORDS, word))
        };
        let Some(inside) = inside.filter(|inside| stage(inside)) else {
            said.push_str(&rest[..=open]);
            rest = &rest[open + 1..];
            continue;
        };
        count += 1;
        said.push_str(&rest[..open]);
        rest = &rest[open + inside.len() + 2..];
        // One space where it stood, none before a stop or at the beginning of a line.
        if said.is_empty()
            || said.ends_with(char::is_whitespace)
            || rest.starts_with(['.', ',', ';'])
        {
            rest = rest.trim_start_matches(' ');
        }
        if rest.is_empty() || rest.starts_with(['\n', '.', ',', ';']) {
            said.truncate(said.trim_end_matches(' ').len());
        }
    }
    said.push_str(rest);
    (said.trim().to_string(), count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str, name: &str) -> Reduced {
        keep_speaker(text, name, &mut BTreeMap::new())
    }

    const PRESS: &str = "Comparecencia en el palacio\n\n\
        PRESIDENTE SÁNCHEZ: Buenos días. [Aplausos] Hoy es lunes: empieza todo.\n\
        Segundo párrafo (en el original, breve).\n\n\
        PREGUNTA: ¿Y mañana? ¿Qué dirá la PRESIDENTA: nada?\n\
        PRESIDENTE SÁNCHEZ: (Risas.) Mañana, martes. Nota: y pasado, miércoles.\n\
        INTERLOCUTOR: Gracias.";

    #[test]
    fn one_speaker_is_kept_with_all_paragraphs() {
        let reduced = kept(PRESS, "presidente");
        let text = "Buenos días. Hoy es lunes: empieza todo.\nSegundo párrafo (en el original, breve).\n\n\
            Mañana, martes. Nota: y pasado, miércoles.";
        assert_eq!(
            reduced,
            Reduced { text: text.into(), kept: 2, dropped: 2, stage_directions: 2 }
        );
        for name in ["Presidente Sanchez", "PRESIDENTE SÁNCHEZ", "el señor Presidente"] {
            assert_eq!(kept(PRESS, name).text, text, "{name}");
        }
        assert_eq!(kept(PRESS, "interlocutor").text, "Gracias.");
        for nobody in ["president", "presidenta", "Sánchez", "", "·"] {
            assert_eq!((kept(PRESS, nobody).kept, kept(PRESS, nobody).dropped), (0, 4), "{nobody}");
        }
    }

    #[test]
    fn labels_come_in_many_forms() {
        let said = |label: &str, name| kept(&format!("{label} Sí.\nOTRO MÁS: No."), name).text;
        for label in [
            "El señor PRESIDENTE (Gil Robles):",
            "Presidente.-",
            "Presidente.—",
            "PRESIDENTE. -",
            "**PRESIDENTE:**",
            "- PRESIDENTE:",
            "  Sr. Presidente:",
            "Presidente del Gobierno:",
        ] {
            assert_eq!(said(label, "presidente"), "Sí.", "{label}");
        }
        assert_eq!(said("P.-", "P"), "Sí.");
        assert_eq!(said("R:", "r"), "Sí.");
        assert_eq!(said("Ana López.-", "ana"), "Sí.");
    }

    #[test]
    fn labels_may_stand_within_a_line() {
        let text = "PREGUNTA: ¿Hay pan? PRESIDENTE: Hay. Y vino. PREGUNTA: ¿Y sal? PRESIDENTE: No.";
        assert_eq!(kept(text, "presidente").text, "Hay. Y vino.\n\nNo.");
        let text = "P.- ¿Hay pan? R.- Hay, a 3.500. Bueno.- Y vino. P.- ¿Y sal? R.- No.";
        assert_eq!(kept(text, "R").text, "Hay, a 3.500. Bueno.- Y vino.\n\nNo.");
    }

    #[test]
    fn what_is_no_label_is_text() {
        let text = "PRESIDENTE: Digo: esto.\nY añado: IVA: 21 %.\nLa OTAN dice: no.\nA las 10:30 en el 3.-";
        let reduced = kept(text, "presidente");
        assert_eq!((reduced.kept, reduced.dropped), (1, 0));
        assert!(text.ends_with(&reduced.text));
        assert_eq!(kept("Sin nadie que hable.", "presidente"), Reduced::default());
    }

    #[test]
    fn speakers_are_counted_as_written() {
        let mut speakers = BTreeMap::new();
        keep_speaker(PRESS, "nadie", &mut speakers);
        let expected = [("INTERLOCUTOR", 1), ("PREGUNTA", 1), ("PRESIDENTE SÁNCHEZ", 2)];
        assert_eq!(speakers, expected.map(|(name, n)| (name.to_string(), n)).into());
    }

    #[test]
    fn only_stage_directions_are_taken_out() {
        for (text, said) in [
            ("Uno [risas] dos.", "Uno dos."),
            ("Uno (Aplausos). Dos (tres).", "Uno. Dos (tres)."),
            ("[Inaudible]\nUno (sin cerrar\ny dos", "Uno (sin cerrar\ny dos"),
            ("Fin. (Interrupción en la sala)", "Fin."),
        ] {
            assert_eq!(without_stage_directions(text).0, said);
        }
    }
}

//! What two lines must share to rhyme: everything from the last stressed vowel on.

use super::syllables::{Word, is_vowel, plain};

/// The sounds from the last stressed vowel on. Two lines rhyme in consonance when `consonant` is equal, in
/// assonance when `assonant` is. b and v are one sound, so are ll and y; h is none; z differs from s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rhyme {
    pub consonant: String,
    pub assonant: String,
}

impl Rhyme {
    pub fn of(word: &Word) -> Rhyme {
        let stressed = &word.syllables[word.stress];
        let peak = stressed.peak();
        let mut written: String = stressed.vowels()[peak..].iter().collect();
        written.push_str(&stressed.coda);
        written.extend(word.syllables[word.stress + 1..].iter().map(|s| s.text()));
        let mut assonant = plain(stressed.vowels()[peak]).to_string();
        if word.stress + 1 < word.syllables.len() {
            // between the stress and the end nothing counts (*pájaro* as *claro*), and a final i is heard as e, u as o
            let last = &word.syllables[word.syllables.len() - 1];
            assonant.push(match plain(last.vowels()[last.peak()]) {
                'i' => 'e',
                'u' => 'o',
                other => other,
            });
        }
        Rhyme { consonant: sounds(&written), assonant }
    }
}

/// Spelling to sounds: `k` for c and qu, `z` before e and i too, `j` for soft g, `y` for ll.
fn sounds(written: &str) -> String {
    let letters: Vec<char> = written.chars().collect();
    let at = |i: usize| letters.get(i).copied().unwrap_or(' ');
    let mut sounds = String::new();
    let mut i = 0;
    while i < letters.len() {
        let front = |k: usize| matches!(plain(at(k)), 'e' | 'i');
        let (sound, width) = match (at(i), at(i + 1)) {
            ('h', _) => ("", 1),
            ('c', 'h') => ("ch", 2),
            ('l', 'l') => ("y", 2),
            ('q', 'u') => ("k", 2),
            ('g', 'u') if front(i + 2) => ("g", 2),
            ('g', _) if front(i + 1) => ("j", 1),
            ('c', _) if front(i + 1) => ("z", 1),
            ('c', _) => ("k", 1),
            ('v', _) => ("b", 1),
            ('x', _) => ("ks", 1),
            ('y', next) if !is_vowel(next) => ("i", 1),
            ('m', 'b' | 'v') | ('n', 'b' | 'v') => ("m", 1),
            _ => ("", 0),
        };
        match width {
            0 => {
                sounds.push(plain(at(i)));
                i += 1;
            }
            _ => {
                sounds.push_str(sound);
                i += width;
            }
        }
    }
    sounds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rhyme(word: &str) -> Rhyme {
        Rhyme::of(&Word::new(word).unwrap())
    }

    #[test]
    fn consonance_is_of_sounds() {
        for (a, b) in [
            ("cielo", "suelo"),
            ("nube", "tuve"),
            ("calla", "playa"),
            ("rey", "seis"),
            ("ley", "rey"),
            ("ahora", "señora"),
            ("cruces", "luces"),
            ("paz", "capaz"),
            ("coja", "hoja"),
            ("gente", "lentamente"),
            ("ruge", "empuje"),
            ("canción", "razón"),
        ] {
            assert_eq!(rhyme(a).consonant == rhyme(b).consonant, a != "rey", "{a} {b}");
        }
        for (a, b) in [
            ("caza", "casa"),
            ("mar", "paz"),
            ("pena", "peña"),
            ("guerra", "cera"),
            ("pájaro", "claro"),
        ] {
            assert_ne!(rhyme(a).consonant, rhyme(b).consonant, "{a} {b}");
        }
    }

    #[test]
    fn assonance_is_of_the_vowels_that_carry() {
        assert_eq!(rhyme("agua").assonant, "aa");
        assert_eq!(rhyme("viento").assonant, "eo");
        assert_eq!(rhyme("reina").assonant, "ea");
        assert_eq!(rhyme("pájaro").assonant, "ao");
        assert_eq!(rhyme("limpio").assonant, "io");
        assert_eq!(rhyme("fácil").assonant, "ae");
        assert_eq!(rhyme("marfil").assonant, "i");
        assert_eq!(rhyme("hoy").assonant, "o");
        assert_eq!(rhyme("ría").assonant, "ia");
        assert_eq!(rhyme("ruido").assonant, "io");
    }
}

//! A word divided into syllables, and where its stress falls.
//!
//! The division is the orthographic one of the *Ortografía de la lengua española* (RAE 2010, I, 3.2): a closed
//! vowel without accent makes a diphthong with its neighbour, two open vowels never do, and an accent on the
//! closed one parts it from the open one (*río*, *baúl*).

/// One syllable as written: `onset + nucleus + coda`. The nucleus may hold a silent h (*prohi-bir*).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Syllable {
    pub onset: String,
    pub nucleus: String,
    pub coda: String,
}

impl Syllable {
    pub fn text(&self) -> String {
        format!("{}{}{}", self.onset, self.nucleus, self.coda)
    }

    /// The vowels of the nucleus, a final y as i.
    pub fn vowels(&self) -> Vec<char> {
        let spoken = self.nucleus.chars().filter(|c| *c != 'h');
        spoken.map(|c| if c == 'y' { 'i' } else { c }).collect()
    }

    /// The position in [`Syllable::vowels`] of the one that carries the syllable: the accented one, else the
    /// open one, else the second of two closed ones (*viu-da*).
    pub fn peak(&self) -> usize {
        let vowels = self.vowels();
        let accented = vowels.iter().position(|c| plain(*c) != *c && *c != 'ü');
        let open = vowels.iter().position(|c| is_open(*c));
        accented.or(open).unwrap_or(vowels.len().saturating_sub(1))
    }
}

/// A word in lower case, divided; `stress` is the index of the stressed syllable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    pub syllables: Vec<Syllable>,
    pub stress: usize,
}

impl Word {
    /// `None` for what has no vowel (an abbreviation, say).
    pub fn new(word: &str) -> Option<Word> {
        let text = word.to_lowercase();
        let syllables = divide(&text);
        if syllables.is_empty() {
            return None;
        }
        let stress = stressed_syllable(&text, &syllables);
        Some(Word { text, syllables, stress })
    }

    /// Whether the word leans on its neighbour in speech: articles, prepositions, conjunctions and the like.
    pub fn is_clitic(&self) -> bool {
        const CLITICS: &str = " a al ante aunque bajo con conque contra cual cuales cuando cuyo cuya cuyos cuyas de del desde \
            donde e el en entre hacia hasta la las le les lo los mas me mi mis ni nos nuestra nuestras nuestro nuestros o os \
            para pero por porque pues que quien quienes se según si sin sino sobre su sus te tras tu tus u y ";
        CLITICS.contains(&format!(" {} ", self.text))
    }

    /// Whether some syllable is by custom spoken as two (*su-a-ve*, *hu-i-da*); its index.
    pub fn customary_hiatus(&self) -> Option<usize> {
        const STEMS: [(&str, &str); 18] = [
            ("cruel", "ue"),
            ("criado", "ia"),
            ("criatura", "ia"),
            ("criar", "ia"),
            ("cliente", "ie"),
            ("diablo", "ia"),
            ("diamante", "ia"),
            ("diario", "ia"),
            ("diaria", "ia"),
            ("guion", "io"),
            ("jesuita", "ui"),
            ("juicio", "ui"),
            ("piano", "ia"),
            ("ruido", "ui"),
            ("ruin", "ui"),
            ("suav", "ua"),
            ("viaj", "ia"),
            ("viuda", "iu"),
        ];
        const ENDINGS: [&str; 6] = ["uir", "uirse", "uido", "uida", "uidos", "uidas"];
        let pair =
            STEMS.iter().find(|(stem, _)| self.text.starts_with(stem)).map(|(_, pair)| *pair);
        let of_a_verb = !self.text.contains("cuid")
            && (self.text.contains("uí") || ENDINGS.iter().any(|e| self.text.ends_with(e)));
        let pair = pair.or(of_a_verb.then_some("ui"))?;
        let holds = |s: &Syllable| s.nucleus.chars().map(plain).collect::<String>().contains(pair);
        self.syllables.iter().position(holds)
    }
}

/// The vowel without its accent; other letters as they are.
pub fn plain(c: char) -> char {
    match c {
        'á' => 'a',
        'é' => 'e',
        'í' => 'i',
        'ó' => 'o',
        'ú' | 'ü' => 'u',
        other => other,
    }
}

pub fn is_vowel(c: char) -> bool {
    matches!(plain(c), 'a' | 'e' | 'i' | 'o' | 'u')
}

pub fn is_open(c: char) -> bool {
    matches!(plain(c), 'a' | 'e' | 'o')
}

/// A closed vowel that can lean on another: i, u without accent, and y as a vowel.
pub fn is_glide(c: char) -> bool {
    matches!(c, 'i' | 'u' | 'ü' | 'y')
}

/// What stands as one letter: a vowel, or a consonant that may be written with two.
struct Unit {
    text: String,
    vowel: bool,
}

impl Unit {
    fn letter(&self) -> char {
        self.text.chars().next().unwrap_or(' ')
    }
}

fn units(word: &str) -> Vec<Unit> {
    let letters: Vec<char> = word.chars().collect();
    let at = |i: usize| letters.get(i).copied().unwrap_or(' ');
    let mut units = Vec::new();
    let mut i = 0;
    while i < letters.len() {
        let front = matches!(plain(at(i + 2)), 'e' | 'i') && at(i + 1) == 'u';
        let width = match (at(i), at(i + 1)) {
            ('c', 'h') | ('l', 'l') | ('r', 'r') => 2,
            ('q', 'u') => 2,
            ('g', 'u') if front => 2,
            _ => 1,
        };
        let vowel = is_vowel(at(i)) || (at(i) == 'y' && !is_vowel(at(i + 1)));
        units.push(Unit { text: letters[i..i + width].iter().collect(), vowel });
        i += width;
    }
    units
}

/// Whether vowel `b` belongs to the syllable of `a` before it; `after` is the vowel that follows `b`, if one does.
fn joins(a: char, b: char, after: Option<char>) -> bool {
    let same = plain(a) == plain(b);
    match (is_open(a), is_open(b)) {
        (true, true) => false,
        (false, false) => !same,
        (false, true) => is_glide(a),
        // the closed one between two open ones opens the second syllable
        (true, false) => is_glide(b) && !after.is_some_and(is_open),
    }
}

/// The range of units of each nucleus.
fn nuclei(units: &[Unit]) -> Vec<(usize, usize)> {
    let vowel = |i: usize| units.get(i).filter(|u| u.vowel).map(Unit::letter);
    let mut nuclei = Vec::new();
    let mut i = 0;
    while i < units.len() {
        let start = i;
        let Some(mut last) = vowel(i) else {
            i += 1;
            continue;
        };
        i += 1;
        loop {
            let h = units.get(i).is_some_and(|u| u.text == "h");
            let next = if h { i + 1 } else { i };
            let Some(letter) = vowel(next) else { break };
            // *ca-ca-hue-te*: h before a glide opens a syllable
            let opens = h && is_glide(letter) && vowel(next + 1).is_some();
            if opens || !joins(last, letter, vowel(next + 1)) {
                break;
            }
            last = letter;
            i = next + 1;
        }
        nuclei.push((start, i));
    }
    nuclei
}

/// How many of these consonants, from the end, open the next syllable.
fn onset_width(consonants: &[Unit]) -> usize {
    let Some((last, before)) = consonants.split_last() else { return 0 };
    let Some(before) = before.last() else { return 1 };
    let liquid = match last.text.as_str() {
        "l" => matches!(before.text.as_str(), "p" | "b" | "f" | "c" | "g" | "k"),
        "r" => matches!(before.text.as_str(), "p" | "b" | "f" | "c" | "g" | "k" | "t" | "d"),
        _ => false,
    };
    if liquid { 2 } else { 1 }
}

fn divide(word: &str) -> Vec<Syllable> {
    let units = units(word);
    let nuclei = nuclei(&units);
    let text = |from: usize, to: usize| {
        units[from..to].iter().map(|u| u.text.as_str()).collect::<String>()
    };
    let mut syllables: Vec<Syllable> = Vec::new();
    let mut end = 0;
    for (from, to) in nuclei {
        let mut onset = end;
        if let Some(last) = syllables.last_mut() {
            onset = from - onset_width(&units[end..from]);
            last.coda = text(end, onset);
        }
        syllables.push(Syllable {
            onset: text(onset, from),
            nucleus: text(from, to),
            coda: String::new(),
        });
        end = to;
    }
    if let Some(last) = syllables.last_mut() {
        last.coda = text(end, units.len());
    }
    syllables
}

fn stressed_syllable(word: &str, syllables: &[Syllable]) -> usize {
    let last = syllables.len() - 1;
    // an adverb keeps the accent of its adjective, but its verse stress is that of -mente
    let adverb = word.ends_with("mente") && syllables.len() > 2;
    let accent = |s: &Syllable| s.nucleus.chars().any(|c| plain(c) != c && c != 'ü');
    if let Some(marked) = syllables.iter().position(accent).filter(|_| !adverb) {
        return marked;
    }
    let ending = word.chars().last().unwrap_or(' ');
    if is_vowel(ending) || matches!(ending, 'n' | 's') { last.saturating_sub(1) } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(word: &str) -> String {
        let word = Word::new(word).unwrap();
        let mark = |(i, s): (usize, &Syllable)| {
            if i == word.stress { s.text().to_uppercase() } else { s.text() }
        };
        word.syllables.iter().enumerate().map(mark).collect::<Vec<_>>().join("-")
    }

    #[test]
    fn words_divide_and_bear_their_stress() {
        let cases = "CA-sa ca-MIÓN PÁ-ja-ro MAR RE-loj|re-LOJ cons-truc-CIÓN obs-TÁ-cu-lo al-re-de-DOR PRO-a o-CÉ-a-no \
            RÍ-o pa-ÍS ba-ÚL BÚ-ho a-HO-ra prohi-BIR ca-ca-HUE-te a-ve-RI-guáis|a-ve-ri-GUÁIS BUEY REY RE-yes \
            U-ru-GUAY|u-ru-GUAY ci-GÜE-ña pin-GÜI-no GUE-rra QUIE-to que-RER GUI-a|GUÍ-a viu-DA|VIU-da ciu-DAD \
            le-ÍAIS|le-Í-ais ha-BÍ-a ES-pe-ra|es-PE-ra fá-cil-MEN-te len-ta-MEN-te pe-RRO|PE-rro mu-CHA-cho \
            in-EX|a-bril|a-BRIL ma-DRU-ga-da|ma-dru-GA-da des-ha-CER al-HA-ja hie-LO|HIE-lo Y HOY cu-ÍDA-te|CUÍ-da-te \
            YER-ba ca-er|ca-ER po-E-ta hé-RO-e|HÉ-ro-e can-CIO-nes é-XI-to|É-xi-to trans-por-TAR fluí-A|FLUÍ-a \
            de-SAHU-cio sa-HU-me-rio|sahu-ME-rio ma-ÍZ ju-LIO|JU-lio en-VÍ-o es-tu-DIÁIS a-é-RE-o|a-É-re-o sub-ma-RI-no \
            a-TLE-ta|at-LE-ta ins-TAN-te ne-BLI-na vuel-VE|VUEL-ve a-HÍ a-ÚN AUN guion|GUION cruel|CRUEL";
        for case in cases.split_whitespace() {
            let right = case.split('|').next_back().unwrap();
            let word = right.replace('-', "").to_lowercase();
            assert_eq!(divided(&word), right);
        }
    }

    #[test]
    fn what_has_no_vowel_is_no_word() {
        assert_eq!(Word::new("Sr"), None);
    }

    #[test]
    fn some_diphthongs_are_two_syllables_by_custom() {
        let at = |w: &str| Word::new(w).unwrap().customary_hiatus();
        assert_eq!(at("suave"), Some(0));
        assert_eq!(at("construido"), Some(1));
        assert_eq!(at("huía"), Some(0));
        assert_eq!(at("cuidado"), None);
        assert_eq!(at("viento"), None);
    }
}

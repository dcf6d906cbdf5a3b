//! How many metrical syllables a line has: synalepha joins words, the last stress decides the end.
//!
//! Source of the rules: T. Navarro Tomás, *Métrica española*, introduction. The count is that of the syllables
//! up to the last stress, plus one, so an acute line gains one and a proparoxytone loses what follows.

use super::syllables::{Syllable, Word, is_glide, is_open, plain};

/// A line as it is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scansion {
    /// The syllables of the natural reading; `‿` where words are joined.
    pub division: String,
    /// The count with every synalepha made.
    pub natural: usize,
    /// The least and the greatest count of a legitimate reading.
    pub fewest: usize,
    pub most: usize,
    /// The last word that can be spoken: it carries the rhyme.
    pub last: Option<Word>,
}

impl Scansion {
    pub fn admits(&self, syllables: usize) -> bool {
        (self.fewest..=self.most).contains(&syllables)
    }
}

/// A word of a line and whether a strong pause parts it from the one before.
struct Spoken {
    word: Word,
    after_pause: bool,
}

fn spoken(line: &str) -> Vec<Spoken> {
    let mut words = Vec::new();
    let mut after_pause = false;
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        if end > 0 {
            words.extend(Word::new(&rest[..end]).map(|word| Spoken { word, after_pause }));
            after_pause = false;
        }
        let next = rest[end..].find(char::is_alphabetic).map_or(rest.len(), |i| end + i);
        after_pause |=
            rest[end..next].contains(['.', ';', ':', '!', '?', '…', '—', '(', ')', '¡', '¿']);
        rest = &rest[next..];
    }
    words
}

/// Counts a line. Beyond the natural reading it allows one liberty in a line of up to nine syllables and two in
/// a longer one: a meeting of vowels kept apart where one of them is stressed or a strong pause stands between, a
/// customary hiatus (*su-a-ve*), or two open vowels without stress run together inside a word (*aho-gar*).
pub fn scan(line: &str) -> Scansion {
    let words = spoken(line);
    let Some(last) = words.last().map(|s| s.word.clone()) else { return Scansion::default() };

    let mut division = String::new();
    let (mut groups, mut kept_apart, mut run_together) = (0, 0, 0);
    let mut heights: Vec<u8> = Vec::new();
    let mut at_last_stress = (0, 0, 0);
    for (i, Spoken { word, after_pause }) in words.iter().enumerate() {
        let before = i.checked_sub(1).map(|j| &words[j].word);
        let after = words.get(i + 1).map(|s| &s.word);
        let joined = before.is_some_and(|before| meets(before, word, after, &heights));
        if joined {
            division.push('‿');
            let stressed =
                before.is_some_and(ends_stressed) || (!word.is_clitic() && word.stress == 0);
            kept_apart += usize::from(stressed || *after_pause);
        } else if i > 0 {
            division.push(' ');
        }
        let hiatus = word.customary_hiatus();
        for (k, syllable) in word.syllables.iter().enumerate() {
            let same_group = joined && k == 0;
            if !same_group {
                groups += 1;
                heights.clear();
            }
            heights.extend(syllable.vowels().into_iter().map(height));
            if k > 0 {
                division.push('-');
                run_together += usize::from(can_run_together(word, k));
            }
            division.push_str(&syllable.text());
            kept_apart += usize::from(hiatus == Some(k));
            if k == word.stress {
                at_last_stress = (groups, kept_apart, run_together);
            }
        }
    }
    let (stress, kept_apart, run_together) = at_last_stress;
    let natural = stress + 1;
    let liberties = if natural <= 9 { 1 } else { 2 };
    Scansion {
        division,
        natural,
        fewest: natural - run_together.min(1),
        most: natural + kept_apart.min(liberties),
        last: Some(last),
    }
}

/// Openness of a vowel: a 3, e and o 2, i and u 1.
fn height(c: char) -> u8 {
    match plain(c) {
        'a' => 3,
        _ if is_open(c) => 2,
        _ => 1,
    }
}

fn opens_with_vowel(word: &Word) -> bool {
    let Some(first) = word.syllables.first() else { return false };
    let vowels = first.vowels();
    // *hielo*, *huerto*, *ion*: the glide sounds as a consonant
    let glide = vowels.len() > 1 && is_glide(vowels[0]);
    matches!(first.onset.as_str(), "" | "h") && !glide
}

fn ends_stressed(word: &Word) -> bool {
    !word.is_clitic() && word.stress + 1 == word.syllables.len()
}

/// Whether the last syllable of `before`, whose group so far has vowels of these `heights`, and the first of `word` are one.
fn meets(before: &Word, word: &Word, after: Option<&Word>, heights: &[u8]) -> bool {
    let (Some(end), Some(start)) = (before.syllables.last(), word.syllables.first()) else {
        return false;
    };
    let ends_with_vowel = matches!(end.coda.as_str(), "" | "h");
    if !ends_with_vowel || !opens_with_vowel(word) {
        return false;
    }
    let vowels = end.vowels();
    let ends_in_glide = vowels.len() > 1 && vowels.last().is_some_and(|c| is_glide(*c));
    if ends_in_glide {
        return word.text == "y" && !after.is_some_and(opens_with_vowel); // *ha-yun*, but *ley‿y fe*
    }
    if word.text == "y" && after.is_some_and(opens_with_vowel) {
        return false; // *a-sí-ya-llí*: y sounds as a consonant before the next vowel
    }
    let all: Vec<u8> =
        heights.iter().copied().chain(start.vowels().into_iter().map(height)).collect();
    !has_valley(&all)
}

/// A closer vowel between two more open ones never fits in one syllable (*ha-bla‿o-ca-lla*, *a|u|o*).
fn has_valley(heights: &[u8]) -> bool {
    (1..heights.len()).any(|j| {
        let higher = |h: &u8| *h > heights[j];
        heights[..j].iter().any(higher) && heights[j + 1..].iter().any(higher)
    })
}

/// Whether syllables `k - 1` and `k` are two unstressed open vowels in hiatus.
fn can_run_together(word: &Word, k: usize) -> bool {
    let (a, b): (&Syllable, &Syllable) = (&word.syllables[k - 1], &word.syllables[k]);
    let open = |s: &Syllable| s.vowels().len() == 1 && s.vowels().iter().all(|c| is_open(*c));
    let hiatus = a.coda.is_empty() && matches!(b.onset.as_str(), "" | "h");
    hiatus && open(a) && open(b) && word.stress != k && word.stress != k - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(line: &str) -> (usize, usize, usize) {
        let scansion = scan(line);
        (scansion.fewest, scansion.natural, scansion.most)
    }

    #[test]
    fn the_last_stress_decides_the_end() {
        assert_eq!(counted("casa"), (2, 2, 2));
        assert_eq!(counted("camión"), (3, 3, 3));
        assert_eq!(counted("pájaro"), (2, 2, 2));
        assert_eq!(counted("sol"), (2, 2, 2));
        assert_eq!(counted("dígamelo"), (2, 2, 2));
        assert_eq!(counted(""), (0, 0, 0));
    }

    #[test]
    fn vowels_of_two_words_join() {
        assert_eq!(scan("la casa encendida").division, "la ca-sa‿en-cen-di-da");
        assert_eq!(counted("la casa encendida"), (6, 6, 6));
        assert_eq!(counted("vuelve a Europa"), (4, 4, 4));
        assert_eq!(counted("no quiso ahogarse"), (5, 6, 6));
    }

    #[test]
    fn glides_and_valleys_keep_words_apart() {
        assert_eq!(counted("la hierba"), (3, 3, 3));
        assert_eq!(counted("mi huerto"), (3, 3, 3));
        assert_eq!(counted("muy alto"), (3, 3, 3));
        assert_eq!(counted("canta y amasa"), (5, 5, 5));
        assert_eq!(counted("plata u oro"), (4, 4, 4));
        assert_eq!(counted("ley y mandato"), (4, 4, 5));
    }

    #[test]
    fn a_stressed_vowel_may_stand_apart_but_only_once() {
        assert_eq!(counted("la hora"), (2, 2, 3));
        assert_eq!(counted("la hora de ella"), (4, 4, 5));
        assert_eq!(counted("de esa pena"), (4, 4, 5));
        assert_eq!(counted("de esperanza"), (4, 4, 4));
        assert_eq!(counted("vino. Entraba"), (4, 4, 5));
        assert_eq!(counted("un suave viento"), (5, 5, 6));
    }

    #[test]
    fn what_follows_the_last_stress_changes_nothing() {
        assert_eq!(counted("océano"), (3, 3, 3));
        assert_eq!(counted("viento aéreo"), (4, 4, 4));
    }
}

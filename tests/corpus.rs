//! The corpus keeps its promises: enough of it, no filler, and every verse what its title says.

use std::collections::{BTreeMap, HashMap, HashSet};

use copla::text::verse::{Form, check};

struct Text {
    author: String,
    title: String,
    content: String,
}

fn corpus() -> Vec<Text> {
    let file = include_str!("../src/text/corpus/coplas.csv");
    let mut reader = csv::Reader::from_reader(file.as_bytes());
    assert_eq!(reader.headers().unwrap(), vec!["author", "title", "content"]);
    let text = |record: csv::StringRecord| Text {
        author: record[0].to_string(),
        title: record[1].to_string(),
        content: record[2].to_string(),
    };
    reader.records().map(|record| text(record.unwrap())).collect()
}

#[test]
fn it_is_large_enough() {
    let characters: usize = corpus().iter().map(|text| text.content.chars().count()).sum();
    assert!(characters >= 120_000, "{characters} characters");
}

/// Filler made from a template repeats runs of words: here next to none comes twice.
#[test]
fn it_does_not_repeat_itself() {
    let (mut all, mut distinct) = (0, HashSet::new());
    let mut lines: HashMap<String, usize> = HashMap::new();
    for text in corpus() {
        let words = text.content.split(|c: char| !c.is_alphanumeric());
        let words: Vec<String> =
            words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
        for run in words.windows(8) {
            all += 1;
            distinct.insert(run.join(" "));
        }
        for line in text.content.lines().map(str::trim).filter(|line| !line.is_empty()) {
            *lines.entry(line.to_string()).or_default() += 1;
        }
    }
    let share = distinct.len() as f64 / all as f64;
    assert!(share >= 0.95, "distinct word 8-grams: {share:.4}");
    let often: Vec<_> = lines.iter().filter(|(_, times)| **times > 3).collect();
    assert!(often.is_empty(), "lines that come more than three times: {often:?}");
}

#[test]
fn every_text_that_names_a_form_keeps_it() {
    let mut kept: BTreeMap<Form, usize> = BTreeMap::new();
    for text in corpus() {
        match check(&text.title, &text.content) {
            Ok(Some(form)) => *kept.entry(form).or_default() += 1,
            Ok(None) => {}
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                panic!("{}:\n{}", text.title, problems.join("\n"));
            }
        }
    }
    for (form, at_least) in [
        (Form::Copla, 25),
        (Form::Romance, 30),
        (Form::Decima, 20),
        (Form::Soneto, 15),
        (Form::Seguidilla, 10),
        (Form::Quintilla, 5),
        (Form::Redondilla, 5),
        (Form::Romancillo, 5),
        (Form::Cuarteta, 4),
        (Form::Haiku, 4),
    ] {
        let texts = kept.get(&form).copied().unwrap_or(0);
        assert!(texts >= at_least, "{form:?}: {texts} texts, expected {at_least}");
    }
}

/// The check above is worth what it refuses: no poem here survives the loss of its last line.
#[test]
fn a_poem_that_loses_a_line_is_refused() {
    for text in corpus().iter().filter(|text| Form::of(&text.title).is_some()) {
        let (shorter, _) = text.content.rsplit_once('\n').unwrap();
        assert!(check(&text.title, shorter).is_err(), "{}", text.title);
    }
}

/// Titles name one text; letters are composed (NFC) and Spanish; no spaces are left over.
#[test]
fn it_is_cleanly_written() {
    const SIGNS: &str = "áéíóúüñÁÉÍÓÚÜÑ .,;:…!¡?¿«»—()";
    let mut titles = HashSet::new();
    for text in corpus() {
        assert!(titles.insert(text.title.clone()), "two texts called {}", text.title);
        for part in [&text.author, &text.title, &text.content] {
            assert!(!part.is_empty(), "{}: an empty field", text.title);
            assert!(!part.contains("\n\n\n"), "{}: two blank lines", text.title);
            assert_eq!(part.trim(), part, "{}", text.title);
            for line in part.split('\n') {
                assert_eq!(line.trim(), line, "{}", text.title);
                assert!(!line.contains("  "), "{}: {line}", text.title);
                let spanish = |c: char| c.is_ascii_alphanumeric() || SIGNS.contains(c);
                assert_eq!(line.chars().find(|c| !spanish(*c)), None, "{}: {line}", text.title);
            }
        }
    }
}

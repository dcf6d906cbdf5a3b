//! Documents come out of every kind of file as they went in, with what was recognised and left out told;
//! and a file that is not what it should be is refused with its place.

use copla::text::sources::{Documents, Options, Report, read};
use copla::text::{Document, Source};
use copla::{Error, Kind, Result};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn read_all(given: &str, options: Options) -> Result<(Vec<Document>, Report)> {
    let sources = [Source::parse(given)?];
    let mut documents: Documents = read(&sources, options);
    let all = documents.by_ref().collect::<Result<Vec<_>>>()?;
    Ok((all, documents.report().clone()))
}

fn of_path(path: &Path) -> Result<(Vec<Document>, Report)> {
    read_all(&path.display().to_string(), Options::default())
}

type Texts = (String, String, String);

fn texts(documents: &[Document]) -> Vec<Texts> {
    let texts = |d: &Document| (d.author.clone(), d.title.clone(), d.text.clone());
    documents.iter().map(texts).collect()
}

fn expected() -> Vec<Texts> {
    let file = fs::read(golden("sources.json")).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&file).unwrap();
    let text = |row: &serde_json::Value, name: &str| row[name].as_str().unwrap().to_string();
    rows.iter().map(|r| (text(r, "author"), text(r, "title"), text(r, "text"))).collect()
}

fn is_parquet(name: &str) -> bool {
    name.contains(".parquet")
}

#[test]
fn what_pandas_and_pyarrow_write_is_read() {
    let found = [
        ("spreadsheet.csv", "windows-1252", ";"),
        ("pandas.csv", "UTF-8", ","),
        ("bom.csv", "UTF-8 with BOM", ","),
        ("utf16.tsv", "UTF-16LE with BOM", "tab"),
        ("utf16be.csv", "UTF-16BE", ","),
        ("members.csv.gz", "UTF-8", ","),
        ("escaped.json", "UTF-8", ""),
        ("pretty.json", "UTF-8", ""),
        ("lines.jsonl", "UTF-8", ""),
        ("lines.jsonl.zst", "UTF-8", ""),
        ("snappy.parquet", "", ""),
        ("large.parquet", "", ""),
        ("delta.parquet", "", ""),
        ("required.parquet", "", ""),
    ];
    for (name, encoding, delimiter) in found {
        if is_parquet(name) && cfg!(not(feature = "parquet")) {
            continue;
        }
        let (documents, report) = of_path(&golden("sources").join(name)).unwrap();
        assert_eq!(texts(&documents), expected(), "{name}");
        assert_eq!(documents.iter().map(|d| d.origin.row).collect::<Vec<_>>(), [1, 2, 3, 6, 7]);
        let report = &report.sources[0];
        assert_eq!((report.rows, report.blank, report.documents), (7, 2, 5), "{name}");
        let keys = |counts: &std::collections::BTreeMap<String, u64>| {
            counts.keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(keys(&report.encodings), encoding, "{name}");
        assert_eq!(keys(&report.delimiters), delimiter, "{name}");
        assert_eq!(keys(&report.columns), "content", "{name}");
        let crlf = if name == "spreadsheet.csv" { 14 } else { 0 };
        assert_eq!((report.crlf, report.lone_cr), (crlf, 0), "{name}");
    }
}

#[cfg(feature = "parquet")]
#[test]
fn a_directory_and_a_pattern_stand_for_their_files_in_order() {
    let directory = golden("sources");
    let (documents, report) = of_path(&directory).unwrap();
    let mut names: Vec<PathBuf> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert_eq!(documents.len(), 5 * names.len());
    for (documents, name) in documents.chunks(5).zip(&names) {
        assert_eq!(texts(documents), expected(), "{}", name.display());
        assert!(documents.iter().all(|d| *d.origin.file == *name.display().to_string()));
    }
    assert_eq!(report.sources[0].files, names.len() as u64);
    let bytes: u64 = names.iter().map(|name| fs::metadata(name).unwrap().len()).sum();
    assert_eq!(report.sources[0].bytes, bytes);

    let (documents, report) = of_path(&directory.join("l*.[jp]*")).unwrap();
    assert_eq!((documents.len(), report.sources[0].files), (15, 3));

    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("b/.git")).unwrap();
    for (name, text) in [("z.txt", "z"), ("b/a.txt", "a"), ("b/.git/x.txt", "no"), ("b/c.md", "no")]
    {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let (documents, report) = of_path(dir.path()).unwrap();
    assert_eq!(documents.iter().map(|d| &*d.text).collect::<String>(), "az");
    assert_eq!((report.sources[0].files, report.sources[0].ignored_files), (2, 1));
}

/// Sebastiano Vigna's splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A text of what breaks readers, of Spanish, and of all Unicode but NUL, or of Windows-1252 alone.
    fn text(&mut self, longest: usize, is_narrow: bool) -> String {
        const SIGNS: [&str; 14] =
            ["\"", "\"\"", "'", ",", ";", "\t", "|", "\\", "\n", "\n\n", "\r\n", "\r", "{\"", "]"];
        let mut text = String::new();
        for _ in 0..self.below(longest) {
            match self.below(8) {
                0 | 1 => text.push_str(SIGNS[self.below(SIGNS.len())]),
                2 | 3 => text.push(['á', 'ñ', '¿', 'Ü', '«', '—', '…', 'é'][self.below(8)]),
                4 if !is_narrow => {
                    text.push(char::from_u32(self.below(0x11_0000) as u32).unwrap_or('ϕ'))
                }
                4 => text.push(['€', 'Á', 'ü', '”'][self.below(4)]),
                _ => text.push(char::from(b' ' + self.below(95) as u8)),
            }
        }
        text.replace('\0', "0")
    }
}

/// What a text is once its line ends are LF and its edges are gone.
fn tidied(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    let blank = |line: &&&str| line.trim().is_empty();
    let before = lines.iter().take_while(blank).count();
    lines[before.min(lines.len() - 1)..].join("\n").trim_end().to_string()
}

fn delimited(rows: &[Texts], delimiter: u8) -> String {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    writer.write_record(["author", "title", "content"]).unwrap();
    for (author, title, text) in rows {
        writer.write_record([author, title, text]).unwrap();
    }
    String::from_utf8(writer.into_inner().unwrap()).unwrap()
}

fn objects(rows: &[Texts]) -> Vec<String> {
    let object = |(author, title, text): &Texts| serde_json::json!({"title": title, "n": [1, {"text": null}], "text": text, "author": author});
    rows.iter().map(|row| object(row).to_string()).collect()
}

fn encoded(text: &str, encoding: usize) -> Vec<u8> {
    let wide = |bom: &str, bytes: fn(u16) -> [u8; 2]| {
        format!("{bom}{text}").encode_utf16().flat_map(bytes).collect()
    };
    match encoding {
        0 => text.into(),
        1 => format!("\u{feff}{text}").into(),
        2 => wide("\u{feff}", u16::to_le_bytes),
        3 => wide("\u{feff}", u16::to_be_bytes),
        _ => {
            let (bytes, _, has_unmappable) = encoding_rs::WINDOWS_1252.encode(text);
            assert!(!has_unmappable);
            bytes.into()
        }
    }
}

fn packed(bytes: &[u8], packing: usize) -> (Vec<u8>, &'static str) {
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    match packing {
        0 => (bytes.to_vec(), ""),
        1 => (gzip(bytes), ".gz"),
        2 => {
            let (front, back) = bytes.split_at(bytes.len() / 3);
            ([gzip(front), gzip(&[]), gzip(back)].concat(), ".gz")
        }
        _ => (zstd::encode_all(bytes, 1).unwrap(), ".zst"),
    }
}

#[test]
fn any_text_comes_back_from_every_format_encoding_and_packing() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(5);
    for case in 0..300 {
        let encoding = case % 5;
        let is_narrow = encoding == 4;
        // The first row settles that a narrow file is Windows-1252, and no file is only blank.
        let mut rows = vec![(
            "Íñigo".to_string(),
            "día".to_string(),
            "¡Él cantó, señor, la canción del jardín!".to_string(),
        )];
        for _ in 0..random.below(6) {
            let mut text = |longest| random.text(longest, is_narrow);
            rows.push((text(9), text(9), text(if case % 50 == 0 { 100_000 } else { 60 })));
        }
        let lines = objects(&rows);
        let strings: Vec<String> =
            rows.iter().map(|row| serde_json::Value::from(row.2.as_str()).to_string()).collect();
        let (end, content, has_names) = match random.below(8) {
            0 => (".csv", delimited(&rows, b','), true),
            1 => (".csv", delimited(&rows, b';'), true),
            2 => (".tsv", delimited(&rows, b'\t'), true),
            3 => (".csv", delimited(&rows, b'|'), true),
            4 => (".jsonl", lines.join("\n") + "\n", true),
            5 => (".json", format!(" [\n{}\n]\n", lines.join(",\n ")), true),
            6 => (".json", lines.join(" "), true),
            _ => (".json", format!("[{}]", strings.join(",")), false),
        };
        let (bytes, packing) = packed(&encoded(&content, encoding), random.below(4));
        let path = dir.path().join(format!("{case}{end}{packing}"));
        fs::write(&path, bytes).unwrap();
        let (documents, report) =
            of_path(&path).unwrap_or_else(|error| panic!("{error}: {content}"));
        let expected: Vec<Texts> = rows
            .iter()
            .filter(|(.., text)| !text.trim().is_empty())
            .map(|(author, title, text)| match has_names {
                true => (author.trim().into(), title.trim().into(), tidied(text)),
                false => (String::new(), String::new(), tidied(text)),
            })
            .collect();
        assert_eq!(texts(&documents), expected, "{}: {content}", path.display());
        accounts(&report, &rows.iter().map(|row| &*row.2).collect::<Vec<_>>(), &documents);
    }
}

/// Every character that went in came out or is counted.
fn accounts(report: &Report, read: &[&str], documents: &[Document]) {
    let report = &report.sources[0];
    let count = |text: &str| text.chars().count() as u64;
    assert_eq!(report.characters_read, read.iter().map(|text| count(text)).sum::<u64>());
    assert_eq!(report.characters, documents.iter().map(|d| count(&d.text)).sum::<u64>());
    let crlf: u64 = read.iter().map(|text| text.matches("\r\n").count() as u64).sum();
    assert_eq!(report.crlf, crlf);
    let gone = report.crlf + report.trimmed + report.characters_not_taken;
    assert_eq!(report.characters_read, report.characters + gone);
    assert_eq!(report.rows, report.documents_found + report.blank + report.skipped_rows);
}

#[cfg(feature = "parquet")]
#[test]
fn any_text_comes_back_from_parquet() {
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(6);
    for case in 0..40 {
        let schema = "message m { required binary text (UTF8); optional binary author (UTF8); }";
        let mut texts: Vec<String> =
            (0..random.below(300)).map(|_| random.text(40, false)).collect();
        texts.push("fin".to_string());
        let authors: Vec<i16> = texts.iter().map(|_| random.below(2) as i16).collect();
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(case % 2 == 0)
            .set_data_page_row_count_limit(1 + random.below(50))
            .set_write_batch_size(1 + random.below(50))
            .build();
        let path = dir.path().join(format!("{case}.parquet"));
        let mut writer = SerializedFileWriter::new(
            fs::File::create(&path).unwrap(),
            parse_message_type(schema).unwrap().into(),
            properties.into(),
        )
        .unwrap();
        let per_group = 1 + random.below(200);
        for (texts, levels) in texts.chunks(per_group).zip(authors.chunks(per_group)) {
            let mut group = writer.next_row_group().unwrap();
            let texts: Vec<ByteArray> = texts.iter().map(|text| text.as_str().into()).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
            column.close().unwrap();
            let ana: Vec<ByteArray> =
                levels.iter().filter(|level| **level == 1).map(|_| "Ana".into()).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&ana, Some(levels), None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
        let (bytes, packing) = packed(&fs::read(&path).unwrap(), case % 4);
        let path = dir.path().join(format!("{case}.parquet{packing}"));
        fs::write(&path, bytes).unwrap();
        let (documents, report) = of_path(&path).unwrap();
        let kept = texts.iter().zip(&authors).filter(|(text, _)| !text.trim().is_empty());
        let author = |level: i16| if level == 1 { "Ana" } else { "" };
        let expected: Vec<(String, String)> =
            kept.map(|(text, level)| (author(*level).into(), tidied(text))).collect();
        let found: Vec<(String, String)> =
            documents.iter().map(|d| (d.author.clone(), d.text.clone())).collect();
        assert_eq!(found, expected, "{case}");
        accounts(&report, &texts.iter().map(String::as_str).collect::<Vec<_>>(), &documents);
    }
}

#[test]
fn a_plain_text_is_cut_as_told() {
    let dir = tempfile::tempdir().unwrap();
    let cut = |text: &str, options: &str| {
        let path = dir.path().join("a.txt");
        fs::write(&path, text).unwrap();
        let given = format!("{}{options}", path.display());
        let (documents, report) = read_all(&given, Options::default()).unwrap();
        accounts(&report, &[text], &documents);
        documents.into_iter().map(|d| (d.text, d.origin.row)).collect::<Vec<_>>()
    };
    let parts = |parts: &[(&str, u64)]| -> Vec<(String, u64)> {
        parts.iter().map(|(text, row)| (text.to_string(), *row)).collect()
    };
    // By default at the widest break that there is.
    assert_eq!(cut("\u{a0}\n\n\nuno\r\ndos\r\n\n\n\n", ""), parts(&[("uno\ndos", 4)]));
    assert_eq!(cut("uno\ndos\n \t\n  tres\n", ""), parts(&[("uno\ndos", 1), ("  tres", 4)]));
    let text = "uno\n\ndos\n\n\n\ntres\n\n\n";
    assert_eq!(cut(text, ""), parts(&[("uno\n\ndos", 1), ("tres", 7)]));
    assert_eq!(cut(text, ":split=blank"), parts(&[("uno", 1), ("dos", 3), ("tres", 7)]));
    assert_eq!(cut(text, ":split=file"), parts(&[("uno\n\ndos\n\n\n\ntres", 1)]));
    assert_eq!(cut("\ra\r\rb\r\n\nc", ":split=line"), parts(&[("a", 2), ("b", 4), ("c", 6)]));

    let mut random = Random(7);
    for _ in 0..200 {
        let text = random.text(200, false) + "x";
        assert_eq!(cut(&text, ":split=file")[0].0, tidied(&text));
        let lines = cut(&text, ":split=line");
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let whole: Vec<&str> = text.split('\n').filter(|line| !line.trim().is_empty()).collect();
        assert_eq!(lines.len(), whole.len(), "{text:?}");
        for ((line, _), expected) in lines.iter().zip(whole) {
            assert_eq!(line, expected.trim_end());
        }
    }
}

#[test]
fn a_sample_is_exact_and_a_function_of_the_seed() {
    let dir = tempfile::tempdir().unwrap();
    for part in 0..3 {
        let rows: String = (0..200).map(|row| format!("verso {part} {row}\n \n")).collect();
        fs::write(dir.path().join(format!("{part}.csv")), format!("text\n{rows}")).unwrap();
    }
    let sample = |take: &str, seed| {
        let given = format!("{}:take={take}", dir.path().display());
        let (documents, report) = read_all(&given, Options { seed, skip_bad_rows: false }).unwrap();
        let report = &report.sources[0];
        assert_eq!((report.documents_found, report.blank), (600, 600));
        assert_eq!(report.documents, documents.len() as u64);
        let gone = report.characters_not_taken + report.trimmed;
        assert_eq!(report.characters_read, report.characters + gone);
        documents.into_iter().map(|d| d.text).collect::<Vec<_>>()
    };
    let all = sample("100%", 0);
    for (take, count) in
        [("1%", 6), ("0.1%", 1), ("33.3%", 200), ("7", 7), ("600", 600), ("9999", 600)]
    {
        let taken = sample(take, 3);
        assert_eq!(taken.len(), count, "{take}");
        assert_eq!(taken, sample(take, 3));
        let in_order: Vec<&String> = all.iter().filter(|text| taken.contains(text)).collect();
        assert_eq!(in_order, taken.iter().collect::<Vec<_>>(), "each once and in order");
    }
    let set = |take, seed| sample(take, seed).into_iter().collect::<BTreeSet<_>>();
    assert_ne!(set("50%", 1), set("50%", 2));
    assert!(set("10%", 1).is_subset(&set("20%", 1)));
    // 300 of 600 come about equally from each file: 100 ± 5 standard deviations.
    let from_first = set("50%", 1).iter().filter(|text| text.starts_with("verso 0")).count();
    assert!((65..=135).contains(&from_first), "{from_first}");
}

#[test]
fn several_sources_are_read_in_order_each_by_its_options() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::write(path("a.csv"), "verso:autor\nuno:Ana\n").unwrap();
    fs::write(path("b.data"), "dos\n\ntres").unwrap();
    let sources = [
        format!("{}:column=Verso,delimiter=:,weight=0.25", path("a.csv")),
        format!("{}:format=text,take=1", path("b.data")),
    ];
    let sources: Vec<Source> = sources.iter().map(|given| Source::parse(given).unwrap()).collect();
    let mut documents = read(&sources, Options::default());
    let all: Vec<Document> = documents.by_ref().collect::<Result<_>>().unwrap();
    assert_eq!((all[0].text.as_str(), all[0].author.as_str()), ("uno", "Ana"));
    assert_eq!((all.len(), all[0].origin.source, all[1].origin.source), (2, 0, 1));
    let report = documents.report();
    assert_eq!((report.sources[0].weight, report.sources[1].weight), (0.25, 1.0));
    let line = report.sources[1].to_string();
    assert!(line.contains("b.data:format=text,take=1: 1 documents"), "{line}");
    assert!(line.contains("(of 2 documents); 1 file, text, UTF-8, cut at blank lines"), "{line}");
}

fn refused(given: &str) -> Error {
    match read_all(given, Options::default()) {
        Ok((documents, _)) => panic!("{given}: {documents:?}"),
        Err(error) => {
            assert_eq!(error.to_string().lines().count(), 1);
            error
        }
    }
}

#[test]
fn a_file_that_is_not_what_it_should_be_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let gzip = |text: &str| packed(text.as_bytes(), 1).0;
    let zst = |text: &str| packed(text.as_bytes(), 3).0;
    let half = |bytes: Vec<u8>| bytes[..bytes.len() / 2].to_vec();
    let long = "verso ".repeat(100_000);
    let deep = format!("{{\"text\": {}1{}}}", "[".repeat(200), "]".repeat(200));
    let cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("a.csv", "author,verso\nx,y\n".into(), "", "found the columns \"author\", \"verso\""),
        (
            "a.csv",
            "author,text\nx,y\n".into(),
            ":column=content",
            "expected a column \"content\", found",
        ),
        (
            "a.csv",
            "author,content\nAna,\"a\nb\"\nLuis\n".into(),
            "",
            "row 2 (line 4): expected 2 fields, found 1",
        ),
        (
            "a.csv",
            "author,content\nAna,\"a\n".into(),
            "",
            "row 1 (line 2): expected a closing quote",
        ),
        (
            "a.csv",
            "author,content\nAna,\"a\nLuis,b".into(),
            "",
            "row 1 (line 2): expected a closing quote",
        ),
        ("a.csv", "content\n\"a".into(), "", "row 1 (line 2): expected a closing quote"),
        ("a.csv", "author,\"content\nAna,a\n".into(), "", "its header: expected a closing quote"),
        ("a.csv", "author,content\nAna,  \n".into(), "", "expected some text, found 1 blank rows"),
        (
            "a.csv",
            "author,content\n".into(),
            "",
            "expected some text, found an empty or blank file",
        ),
        ("a.csv", "\u{feff} \r\n\t\n".into(), "", "found an empty or blank file"),
        ("a.csv", "content\nuno\nd\0os\n".into(), "", "row 2: expected a text, found a NUL"),
        (
            "a.csv",
            format!("content\nuno\n\"{long}\"\n").into(),
            ":max-bytes=1000",
            "row 2 (line 3): expected at most 1000 bytes",
        ),
        (
            "a.csv",
            long.clone().into(),
            ":max-bytes=1000",
            "its header: expected at most 1000 bytes",
        ),
        ("a.txt", "".into(), "", "expected some text, found an empty or blank file"),
        ("a.txt", long.clone().into(), ":max-bytes=1000", "line 1: expected at most 1000 bytes"),
        (
            "a.txt",
            long.clone().into(),
            ":max-bytes=1000,split=line",
            "line 1: expected at most 1000 bytes",
        ),
        (
            "a.txt",
            "a\n".repeat(100_000).into(),
            ":max-bytes=1000,split=file",
            "expected at most 1000 bytes",
        ),
        // Broken UTF-8, Spanish of DOS and of old Macs: no Windows-1252.
        (
            "a.txt",
            b"ma\xc3\xb1ana, d\xc3\xada \xf1 x".to_vec(),
            "",
            "expected UTF-8 text, found 0xf1 at byte 14",
        ),
        (
            "a.txt",
            b"ma\xa4ana en c\xa2rdoba, a\x82reo".to_vec(),
            "",
            "expected UTF-8 text, found 0xa4 at byte 2",
        ),
        (
            "a.txt",
            b"ma\x96ana en C\x97rdoba, a\x8ereo".to_vec(),
            "",
            "expected UTF-8 text, found 0x96 at byte 2",
        ),
        (
            "a.txt",
            b"ma\xf1ana".to_vec(),
            ":encoding=utf-8",
            "expected UTF-8 text, found a byte at 2",
        ),
        (
            "a.txt",
            b"\xff\xfea\0\x00\xd8b\0".to_vec(),
            "",
            "expected UTF-16LE text, found a byte at 4",
        ),
        ("a.txt", vec![0; 100], "", "row 1: expected a text, found a NUL"),
        (
            "a.csv.gz",
            half(gzip(&long)),
            "",
            "expected a whole gzip file, found its end too early (truncated)",
        ),
        (
            "a.csv.zst",
            half(zst(&long)),
            "",
            "expected a whole zstd file, found its end too early (truncated)",
        ),
        ("a.csv.gz", "content\nx\n".into(), "", "expected a whole gzip file, found other bytes"),
        ("a.txt.zst", "".into(), "", "expected a whole zstd file, found an empty file"),
        ("a.json", "7".into(), "", "row 1 (line 1): expected an object or a text, found a number"),
        (
            "a.json",
            "[\"a\",\n[1]]".into(),
            "",
            "row 2 (line 2): expected an object or a text, found an array",
        ),
        ("a.json", "[{\"verso\": 1}]".into(), "", "found the columns \"verso\""),
        (
            "a.json",
            "[{\"text\": \"a\"},\n{\"verso\": 1}]".into(),
            "",
            "row 2 (line 2): expected a column \"text\", found the columns \"verso\"",
        ),
        (
            "a.json",
            "[{\"text\": 5}]".into(),
            "",
            "row 1 (line 1): expected a text in \"text\", found a number",
        ),
        (
            "a.json",
            "[{\"text\": \"a\"}, {\"text\": \"b\"".into(),
            "",
            "expected a whole value, found the end of the file (truncated)",
        ),
        (
            "a.json",
            "[{\"text\": \"a\"}\n".into(),
            "",
            "line 2: expected `]`, found the end of the file (truncated)",
        ),
        ("a.json", "[\"a\" \"b\"]".into(), "", "expected `,` or `]`, found another sign"),
        ("a.json", "[\"a\"] \"b\"".into(), "", "expected the end of the file"),
        ("a.json", "[,]".into(), "", "expected a value"),
        ("a.json", deep.clone().into(), "", "expected JSON, found recursion limit exceeded"),
        ("a.json", "[\"\\ud800\"]".into(), "", "row 1 (line 1): expected JSON, found"),
        (
            "a.json",
            format!("[\"{long}\"]").into(),
            ":max-bytes=1000",
            "row 1 (line 1): expected at most 1000 bytes",
        ),
        (
            "a.json",
            b"[\"a\xc3\xa1 \xff\xc3\xb1\"]".to_vec(),
            "",
            "expected UTF-8 text, found 0xff at byte 6",
        ),
        ("a.json", "[\"\\u0000\"]".into(), "", "row 1: expected a text, found a NUL"),
        (
            "a.jsonl",
            "{\"text\": \"a\"}\n\n{\"text\": \n".into(),
            "",
            "row 2 (line 3): expected JSON, found EOF while parsing a value",
        ),
        ("a.jsonl", "[\"a\",\n\"b\"]\n".into(), "", "row 1 (line 1): expected JSON"),
        ("a.doc", "x".into(), "", "expected a file that ends in .csv, .tsv"),
        ("poemas", "x".into(), "", "or format=, found another end"),
    ];
    for (name, bytes, options, words) in cases {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = refused(&format!("{}{options}", path.display()));
        assert_eq!(error.kind(), Kind::BadData, "{error}");
        let message = error.to_string();
        assert!(message.contains(words) && message.contains(name), "no `{words}` in {message}");
        fs::remove_file(path).unwrap();
    }

    let message = refused("/nowhere/poemas.txt").to_string();
    assert!(message.contains("expected a readable file of text, found no such file"), "{message}");
    assert!(refused("/nowhere/*.csv").to_string().contains("found no file"));
    assert_eq!(refused("a/***/b.csv").kind(), Kind::Usage);
    let message = refused(&dir.path().display().to_string()).to_string();
    assert!(message.contains("found no file"), "{message}");
    fs::write(dir.path().join("LICENSE"), "x").unwrap();
    let message = refused(&dir.path().display().to_string()).to_string();
    assert!(message.contains("found none among 1 files"), "{message}");
    let message = refused("/dev/null:format=csv").to_string();
    assert!(message.contains("found no regular file"), "{message}");
    assert_eq!(refused("hf:org/name").kind(), Kind::Usage);
}

#[cfg(feature = "parquet")]
#[test]
fn a_parquet_file_that_is_not_what_it_should_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = fs::read(golden("sources/snappy.parquet")).unwrap();
    let path = dir.path().join("a.parquet");
    let says = |bytes: &[u8], options: &str, words: &str| {
        fs::write(&path, bytes).unwrap();
        let error = refused(&format!("{}{options}", path.display()));
        assert_eq!(error.kind(), Kind::BadData, "{error}");
        assert!(error.to_string().contains(words), "no `{words}` in {error}");
    };
    says(&good[..good.len() - 5], "", "footer: expected a whole Parquet file");
    says(&good[..3], "", "footer: expected a whole Parquet file");
    says(&good, ":column=verso", "found the columns \"id\", \"tags\", \"author\"");
    says(&good, ":column=id", "expected texts in the column \"id\", found INT64");
    says(&good, ":column=tags", "found a nested column");
    says(&good, ":max-bytes=20", "row 1: expected at most 20 bytes");
}

#[test]
fn broken_rows_are_counted_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("a.csv", "author,content\nx,uno\ny\nx,d\0s\nx,tres\nx,\"cuatro"),
        ("a.jsonl", "{\"text\": \"uno\"}\n{\n{\"text\": 2}\n{\"text\": \"tres\"}\n[]\n"),
        ("a.json", "[{\"text\": \"uno\"}, {\"a\" 1}, 2, {\"text\": \"tres\"}, [{}]]"),
    ];
    for (name, text) in files {
        let path = dir.path().join(name).display().to_string();
        fs::write(&path, text).unwrap();
        let options = Options { seed: 0, skip_bad_rows: true };
        let (documents, report) = read_all(&path, options).unwrap();
        let found: Vec<&str> = documents.iter().map(|d| d.text.as_str()).collect();
        assert_eq!(found, ["uno", "tres"], "{name}");
        let report = &report.sources[0];
        assert_eq!((report.rows, report.skipped_rows), (5, 3), "{name}");
        assert!(report.first_skipped.as_ref().unwrap().contains("row 2 (line"), "{report:?}");
        let line = report.to_string();
        assert!(line.contains("; broken rows skipped: 3 (the first: "), "{line}");
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for (name, row) in [("a.csv", "un verso\n"), ("a.txt", "un verso\n\n")] {
        let path = dir.path().join(name);
        let text = format!("content\n\n{}", row.repeat(50_000));
        fs::write(&path, &text).unwrap();
        let sources = [Source::parse(&path.display().to_string()).unwrap()];
        let mut documents = read(&sources, Options::default());
        assert!(documents.next().unwrap().is_ok());
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"otro\n").unwrap();
        let error = documents.by_ref().find_map(Result::err).unwrap();
        assert_eq!(error.kind(), Kind::BadData);
        assert!(error.to_string().contains("stays as it is while it is read"), "{error}");
        assert!(documents.next().is_none(), "an error is the last");
    }
}

/// Whatever bytes a file holds, reading it ends in documents or in one line of refusal.
#[test]
fn no_change_of_a_good_file_makes_a_reader_panic() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(8);
    for entry in fs::read_dir(golden("sources")).unwrap() {
        let good = entry.unwrap().path();
        let name = good.file_name().unwrap().to_str().unwrap();
        if is_parquet(name) && cfg!(not(feature = "parquet")) {
            continue;
        }
        let bytes = fs::read(&good).unwrap();
        for _ in 0..150 {
            let mut bytes = bytes.clone();
            for _ in 0..1 + random.below(3) {
                let at = random.below(bytes.len().max(1));
                match random.below(5) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, random.next() as u8),
                    2 if !bytes.is_empty() => drop(bytes.remove(at)),
                    _ if bytes.is_empty() => {}
                    3 => bytes[at] = random.next() as u8,
                    _ => bytes[at] ^= 1 << random.below(8),
                }
            }
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            if let Err(error) = of_path(&path) {
                assert_eq!(error.kind(), Kind::BadData, "{error}");
                assert_eq!(error.to_string().lines().count(), 1, "{error}");
            }
        }
    }
}

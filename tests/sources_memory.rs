//! Reading holds a document and buffers, whatever the size of the file: counted by the allocator, so one
//! test in a process of its own.

use copla::text::Source;
use copla::text::sources::{Options, read};
use counted::peak_of;
use std::fs::File;
use std::io::{Read, Write};

mod counted;

const MIB: usize = 1 << 20;
/// Documents of 10 kB, 50 MB in all.
const DOCUMENTS: usize = 5000;

/// The most bytes held while all of the source is read, and how many documents it has.
fn peak(given: &str) -> (usize, usize) {
    let (count, bytes) = peak_of(|| {
        let sources = [Source::parse(given).unwrap()];
        let documents = read(&sources, Options::default());
        documents.map(|document| assert!(document.unwrap().text.len() > 9_000)).count()
    });
    (bytes, count)
}

#[test]
fn a_file_of_fifty_megabytes_takes_a_few() {
    let dir = tempfile::tempdir().unwrap();
    let verse = "la niña canta en la orilla, ¡ay!\n".repeat(290);
    let path = |name: &str| dir.path().join(name).display().to_string();
    let gzip = |name: &str, row: &str| {
        let file = File::create(path(name)).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        for _ in 0..DOCUMENTS {
            encoder.write_all(row.as_bytes()).unwrap();
        }
        encoder.finish().unwrap();
    };
    gzip("a.csv.gz", &format!("\"{verse}\"\n"));
    gzip("a.jsonl.gz", &format!("{}\n", serde_json::json!({ "text": verse })));
    gzip("a.txt.gz", &format!("{verse}\n"));
    // A header for the table, in a member of its own.
    let table = std::fs::read(path("a.csv.gz")).unwrap();
    let mut header = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    header.write_all(b"content\n").unwrap();
    std::fs::write(path("a.csv.gz"), [header.finish().unwrap(), table].concat()).unwrap();

    for name in ["a.csv.gz", "a.jsonl.gz", "a.txt.gz", "a.csv.gz:take=100%"] {
        let (bytes, count) = peak(&path(name));
        assert_eq!(count, DOCUMENTS, "{name}");
        assert!(bytes < MIB, "{name}: {bytes} bytes");
    }

    // A row, a line or a value without end is given up at its bound.
    let zeros = zstd::encode_all(std::io::repeat(b'a').take(200 << 20), 1).unwrap();
    for end in ["txt", "csv", "jsonl", "json"] {
        let head = if end == "json" { "[\"" } else { "" };
        let head = zstd::encode_all(head.as_bytes(), 1).unwrap();
        std::fs::write(path(&format!("b.{end}.zst")), [head, zeros.clone()].concat()).unwrap();
        let given = path(&format!("b.{end}.zst:max-bytes=4000000"));
        let (error, bytes) = peak_of(|| {
            let sources = [Source::parse(&given).unwrap()];
            read(&sources, Options::default()).find_map(Result::err).unwrap()
        });
        assert!(error.to_string().contains("expected at most 4000000 bytes"), "{error}");
        assert!(bytes < 24 * MIB, "{end}: {bytes} bytes");
    }
}

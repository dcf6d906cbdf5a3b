//! Reading holds a document and buffers, whatever the size of the file: counted by the allocator, so one
//! test in a process of its own.

use copla::text::Source;
use copla::text::sources::{Options, read};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

static CURRENT: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counted.
struct Counted;

// SAFETY: every call is passed on as it came, so `System`'s promises are this one's; the counters
// touch no memory of it. (`realloc` is the trait's own: a new block, a copy, the old one freed.)
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = CURRENT.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promises for `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        CURRENT.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `place` came from `alloc` above, that is from `System`, with this `layout`.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

const MIB: usize = 1 << 20;
/// Documents of 10 kB, 50 MB in all.
const DOCUMENTS: usize = 5000;

/// Bytes above those held before while all of the source is read, and how many documents it has.
fn peak(given: &str) -> (usize, usize) {
    let before = CURRENT.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let sources = [Source::parse(given).unwrap()];
    let documents = read(&sources, Options::default());
    let count = documents.map(|document| assert!(document.unwrap().text.len() > 9_000)).count();
    (PEAK.load(Ordering::Relaxed) - before, count)
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
        let before = CURRENT.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let given = path(&format!("b.{end}.zst:max-bytes=4000000"));
        let sources = [Source::parse(&given).unwrap()];
        let error = read(&sources, Options::default()).find_map(Result::err).unwrap();
        assert!(error.to_string().contains("expected at most 4000000 bytes"), "{error}");
        let bytes = PEAK.load(Ordering::Relaxed) - before;
        assert!(bytes < 24 * MIB, "{end}: {bytes} bytes");
    }
}

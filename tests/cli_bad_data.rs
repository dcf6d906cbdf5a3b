//! Every command that reads documents ends with exit code 5 and one line where they are not what they
//! should be, or counts what it passes over and tells it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

const GOOD: &str = "author,title,content\nAna,Pan,La luna baja a la orilla del río.\n\
    Luis,Sal,El pan y la sal de cada día.\n";

/// What stands before the data, for each command. `m` is a directory and no model: the documents are
/// read first.
const COMMANDS: [&[&str]; 4] = [
    &["train", "--max-steps", "1", "--data"],
    &["evaluate", "--model", "m", "--data"],
    &["data", "report"],
    &["data", "prepare", "--output", "b.jsonl"],
];

fn copla(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_copla")).current_dir(dir).args(arguments).output().unwrap()
}

fn refused(output: &Output, words: &[&str]) {
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(5), "{line}");
    assert!(line.starts_with("copla: ") && line.lines().count() == 1, "{line}");
    assert!(words.iter().all(|word| line.contains(word)), "{words:?}: {line}");
}

fn packed(text: &str) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(text.as_bytes()).unwrap();
    packer.finish().unwrap()
}

#[test]
fn every_command_refuses_in_one_line() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    fs::create_dir(dir.join("m")).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).unwrap();
    write("columns.csv", b"autor,verso\nAna,La luna.\n");
    write("broken.csv", b"author,title,content\nAna,Pan,La luna.\nLuis,Sal\n");
    write("broken.jsonl", b"{\"text\": \"La luna.\"}\n{\"text\": \n");
    let whole = packed(&GOOD.repeat(50));
    write("cut.csv.gz", &whole[..whole.len() / 2]);
    write("giant.txt", "la luna ".repeat(25_000).as_bytes());
    write("nul.jsonl", b"{\"text\": \"La \\u0000luna.\"}\n");
    write("blank.csv", b"author,title,content\nAna,Pan,\nLuis,Sal,  \n");
    for command in COMMANDS {
        for (data, words) in [
            ("columns.csv", &["columns.csv", "the columns \"autor\", \"verso\""][..]),
            ("columns.csv:column=texto", &["a column \"texto\"", "\"verso\""]),
            ("broken.csv", &["broken.csv, row 2 (line 3)", "3 fields"]),
            ("broken.jsonl", &["broken.jsonl, row 2 (line 2)", "JSON"]),
            ("cut.csv.gz", &["cut.csv.gz", "a whole gzip file", "truncated"]),
            ("giant.txt:max-bytes=1000", &["giant.txt", "at most 1000 bytes", "max-bytes"]),
            ("nul.jsonl", &["nul.jsonl, row 1", "a NUL"]),
            ("blank.csv", &["blank.csv", "some text", "2 blank rows"]),
        ] {
            refused(&copla(dir, &[command, &[data]].concat()), words);
        }
        if command[0] != "evaluate" {
            let short = [command, &["giant.txt", "--max-chars", "9"]].concat();
            refused(&copla(dir, &short), &["cleaned documents", "1 of 1", "maximum length"]);
        }
    }
    assert!(!dir.join("b.jsonl").exists() && !dir.join("runs").exists());
}

#[test]
fn broken_rows_are_counted_and_told() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    fs::write(dir.join("a.csv"), format!("{GOOD}Eva,Mar\n")).unwrap();
    for command in [COMMANDS[2], COMMANDS[3]] {
        let output = copla(dir, &[command, &["a.csv", "--skip-bad-rows"]].concat());
        let told = String::from_utf8(output.stdout).unwrap();
        let words = "broken rows skipped: 1 (the first: a.csv, row 3 (line 4)";
        assert!(output.status.success() && told.contains(words), "{told}");
    }
}

#[test]
fn a_file_that_grows_while_it_is_read_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let path = dir.join("a.csv");
    fs::write(&path, GOOD.to_string() + &"Ana,Pan,La luna.\n".repeat(20_000)).unwrap();
    let mut file: File = OpenOptions::new().append(true).open(&path).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                file.write_all(b"Ana,Sal,El mar.\n").unwrap();
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
        });
        let output = copla(dir, &["data", "report", "a.csv:take=50%"]);
        over.store(true, Ordering::SeqCst);
        refused(&output, &["a.csv", "stays as it is while it is read"]);
    });
}

//! A data set of the hub does wherever a file of documents does.

use super::command::{copla, text};
use super::server::{Reply, Server, Site};
use super::{Client, names};
use copla::formats::hub::{DataFiles, Part, Repo, RepoKind};
use copla::{Kind, Result};
use std::fs;

const ROWS: &[u8] = b"author,title,content\nAna,Pan,La luna baja.\nLuis,Sal,El mar sube.\n";
const LINE: &[u8] = b"{\"texto\": \"Una copla.\"}\n";

impl Client {
    fn dataset(&mut self, name: &str, part: Option<(&str, &str)>) -> Result<DataFiles> {
        let part = part.map(|(config, split)| Part { config: config.into(), split: split.into() });
        let repo = Repo::parse(RepoKind::Dataset, name)?;
        self.hub.dataset(&repo, part.as_ref(), &mut self.told)
    }
}

fn verses() -> Site {
    let files = [
        ("README.md", &b"# Verses"[..]),
        ("dataset_infos.json", b"{}"),
        ("es/train-00000-of-00002.csv", ROWS),
        ("es/train-00001-of-00002.csv", ROWS),
        ("es/test-00000-of-00001.csv", ROWS),
        ("gl/train/a.jsonl", LINE),
    ];
    Site::new("datasets/org/verses", &files)
}

/// A repository that holds a program, beside the branch into which the hub has converted it.
fn program(converted: &'static [(&'static str, &'static [u8])]) -> Server {
    let site = Site::new("datasets/org/program", &[("program.py", b"import os"), ("a.zip", b"PK")]);
    let mut branch = Site::new("datasets/org/program", converted);
    branch.commit = "d".repeat(40);
    Server::start(move |request| match request.path.strip_suffix("refs%2Fconvert%2Fparquet") {
        Some(_) if branch.files.is_empty() => {
            Reply::new(404, "").with("X-Error-Code", "RevisionNotFound")
        }
        Some(api) => branch.answer(&request.to(format!("{api}main"))),
        None if request.path.contains(&branch.commit) => branch.answer(request),
        None => site.answer(request),
    })
}

#[test]
fn the_files_of_a_part_are_downloaded_once() {
    let site = verses();
    let commit = site.commit.clone();
    let server = site.start();
    let mut client = Client::new(&server);
    let train = client.dataset("org/verses", Some(("es", "train"))).unwrap();
    assert_eq!(train.files, ["es/train-00000-of-00002.csv", "es/train-00001-of-00002.csv"]);
    let folder = client.hub.cache.join("datasets--org--verses");
    assert_eq!(train.dir, folder.join("snapshots").join(&commit));
    assert_eq!(fs::read(train.dir.join(&train.files[1])).unwrap(), ROWS);
    assert_eq!(names(&train.dir), ["es"]);
    assert_eq!(names(&train.dir.join("es")).len(), 2, "nothing of another part");
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), commit);

    // From now on nobody is asked, offline or not, for the branch or for the commit.
    let asked = server.asked().len();
    let again = client.dataset("org/verses", Some(("es", "train"))).unwrap();
    client.hub.offline = true;
    let name = format!("org/verses@{commit}");
    assert_eq!(client.dataset(&name, Some(("es", "train"))).unwrap(), again);
    assert_eq!((again, server.asked().len()), (train, asked));
    // A part that is not in the cache is another matter.
    let error = client.dataset("org/verses", Some(("gl", "train"))).unwrap_err();
    assert_eq!(error.kind(), Kind::BadData);
    assert!(error.to_string().contains("HF_HUB_OFFLINE is set"), "{error}");
    client.hub.offline = false;
    let other = client.dataset("org/verses", Some(("gl", "train"))).unwrap();
    assert_eq!(other.files, ["gl/train/a.jsonl"]);
    assert_eq!(client.told.notes, [""; 0]);
}

#[test]
fn parts_are_listed_where_none_is_named() {
    let server = verses().start();
    let mut client = Client::new(&server);
    for part in [None, Some(("es", "validation"))] {
        let line = client.dataset("org/verses", part).unwrap_err().to_string();
        assert!(line.contains("expected one of the parts es/test, es/train, gl/train"), "{line}");
    }
    assert!(!client.hub.cache.join("datasets--org--verses/blobs").exists(), "nothing was loaded");

    let files = [("train.csv", ROWS), ("test.csv", ROWS), ("data/train.jsonl", LINE)];
    let server = Site::new("datasets/org/verses", &files).start();
    let mut client = Client::new(&server);
    assert_eq!(client.dataset("org/verses", None).unwrap().files, ["data/train.jsonl"]);
    let expected = [
        "org/verses: default/train of the parts default/test, default/train",
        "org/verses: default/train is there as jsonl, csv; the first is read",
    ];
    assert_eq!(client.told.notes, expected);
}

#[test]
fn what_a_program_makes_is_had_as_the_hub_has_converted_it() {
    let server = program(&[("default/train/0000.jsonl", LINE), ("default/test/0000.jsonl", LINE)]);
    let mut client = Client::new(&server);
    let train = client.dataset("org/program", None).unwrap();
    assert_eq!(train.files, ["default/train/0000.jsonl"]);
    assert!(train.dir.ends_with("d".repeat(40)));
    client.hub.offline = true;
    assert_eq!(client.dataset("org/program", None).unwrap(), train);

    let server = program(&[]);
    let mut client = Client::new(&server);
    let error = client.dataset("org/program", None).unwrap_err();
    let page = format!("{}/datasets/org/program offers can be downloaded by hand", server.address);
    assert_eq!(error.kind(), Kind::BadData);
    assert!(error.to_string().contains(&page), "{error}");
}

#[test]
fn a_cache_that_another_program_filled_must_do_where_nobody_answers() {
    let site = verses();
    let commit = site.commit.clone();
    let server = site.start();
    let mut client = Client::new(&server);
    let train = client.dataset("org/verses", Some(("es", "train"))).unwrap();
    fs::remove_dir_all(client.hub.cache.join("datasets--org--verses/.listings")).unwrap();
    server.stop();
    assert_eq!(client.dataset("org/verses", None).unwrap(), train);
    let note = client.told.notes.last().unwrap();
    assert!(note.contains("no answer; using what is in") && note.contains(&commit), "{note}");
    let error = client.dataset("org/verses@v2", None).unwrap_err();
    assert_eq!(error.kind(), Kind::Failure, "{error}");
}

#[test]
fn a_name_on_the_hub_does_for_a_file_of_documents() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let server = verses().start();
    let there = [("HF_ENDPOINT", server.address.as_str())];
    let prepared = "data prepare hf:org/verses:es/train:take=3 --keep-duplicates \
        --near-duplicates 0 --output a.jsonl";
    let output = copla(home, prepared, &there);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert!(told.contains("3 documents, ") && told.contains("2 files, csv"), "{told}");
    assert_eq!(fs::read_to_string(home.join("a.jsonl")).unwrap().lines().count(), 3);

    // A column that is not there, of a file by its name on the hub; and what cannot be had.
    for (data, code, words) in [
        (
            "hf:org/verses:gl/train:column=verso",
            5,
            "hf:org/verses/gl/train/a.jsonl, row 1 (line 1)",
        ),
        ("hf:org/verses", 5, "es/test, es/train, gl/train, found none named"),
        ("hf:org/other", 5, "org/other: expected"),
        ("hf:org/verses:train", 2, "hf:organisation/name[@revision][:config/split]"),
    ] {
        let output = copla(home, &format!("data report {data}"), &there);
        let lines = text(&output.stderr);
        let line = lines.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(code), "{lines}");
        assert!(line.starts_with("copla: ") && line.contains(words), "{line}");
    }
}

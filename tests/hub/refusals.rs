//! What cannot be had is one line with its remedy; a stranger's names write nowhere else.

use super::server::{Reply, Server, Site};
use super::{CONFIG, Client, TOKENIZER};
use copla::Kind;
use copla::formats::hub::{Repo, RepoKind};
use std::fs;

#[test]
fn what_is_not_there_or_not_open_is_said() {
    for (status, code, token, words) in [
        (404, "RepoNotFound", false, "no such repository"),
        (404, "RevisionNotFound", false, "no such revision"),
        (404, "", false, "no such repository or revision"),
        (401, "RepoNotFound", false, "none, or a private or gated one (then set HF_TOKEN)"),
        (403, "", true, "one that the token of HF_TOKEN may not read"),
        (401, "GatedRepo", false, "accept its terms"),
        (403, "GatedRepo", true, "accept its terms"),
    ] {
        let server = Server::start(move |_| {
            Reply::new(status, "<html>\nno</html>").with("X-Error-Code", code)
        });
        let mut client = Client::new(&server);
        client.hub.token = token.then(|| "hf_secret".to_string());
        let (error, line) = client.refused("org/verso@v1");
        assert_eq!(error.kind(), Kind::BadData, "{line}");
        assert!(line.starts_with("org/verso@v1: ") && line.contains(words), "{line}");
        assert!(line.contains(&format!("HTTP {status}")) && !line.contains("hf_secret"), "{line}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[test]
fn what_is_no_hub_is_said() {
    for body in ["<html>Sign in to the Wi-Fi</html>", "[]", r#"{"sha": "main", "siblings": []}"#] {
        let server = Server::start(move |_| Reply::new(200, body));
        let (error, line) = Client::new(&server).refused("verso");
        assert_eq!(error.kind(), Kind::Failure);
        assert!(line.contains("is HF_ENDPOINT right?"), "{line}");
    }
    // A listing, but files without a checksum, or with one that is a path.
    for etag in ["", "\"md5\"", "\"../../../../evil\""] {
        let site = Site::new("verso", &[CONFIG, ("model.safetensors", b"x")]);
        let server = Server::start(move |request| match request.path.ends_with("config.json") {
            true => Reply::new(200, "<html></html>").with("ETag", etag),
            false => site.answer(request),
        });
        let mut client = Client::new(&server);
        let (error, line) = client.refused("verso");
        assert_eq!(error.kind(), Kind::Failure);
        assert!(line.starts_with("verso: config.json: expected a checksum"), "{line}");
        assert_eq!(client.names("models--verso"), [""; 0]);
    }
}

#[test]
fn a_model_that_cannot_be_read_is_not_downloaded() {
    for (files, words) in [
        (&[CONFIG, TOKENIZER, ("flax_model.msgpack", &b"x"[..])][..], "save_pretrained"),
        (&[CONFIG, ("tf_model.h5", b"x")], "only tf_model.h5"),
        (&[CONFIG, ("README.md", b"x")], "expected model.safetensors or pytorch_model.bin"),
        (&[TOKENIZER, ("model.safetensors", b"x")], "expected config.json"),
    ] {
        let server = Site::new("verso", files).start();
        let (error, line) = Client::new(&server).refused("verso");
        assert_eq!(error.kind(), Kind::BadData);
        assert!(line.starts_with("verso at http://") && line.contains(words), "{line}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[test]
fn a_strangers_names_write_nowhere_else() {
    // In a listing: a data set's files are fetched by the names that it has.
    let names = ["../evil.csv", "/tmp/evil.csv", "a/../../evil.csv", "..", "evil\u{1b}[2J.csv"];
    let files: Vec<(&str, &[u8])> = names.iter().map(|&name| (name, &b"x"[..])).collect();
    let server = Site::new("datasets/coplas", &files).start();
    let mut client = Client::new(&server);
    let repo = Repo::parse(RepoKind::Dataset, "coplas").unwrap();
    let snapshot = client.hub.ask(&repo, &mut client.told).unwrap();
    for name in names {
        let error = client.hub.fetch(&snapshot, &[name], &mut client.told).unwrap_err();
        assert_eq!(error.kind(), Kind::BadData);
        let line = error.to_string();
        assert!(line.contains("a path inside the repository"), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
    assert_eq!(server.asked().len(), 1);
    assert_eq!(super::names(client.home.path()), [""; 0]);
    // In the index of the weights.
    for file in ["../evil.bin", "/tmp/evil.bin", "a/evil.bin"] {
        let index = format!(r#"{{"weight_map": {{"a": "{file}"}}}}"#);
        let index = ("pytorch_model.bin.index.json", index.as_bytes());
        let server = Site::new("verso", &[CONFIG, TOKENIZER, index, (file, b"x")]).start();
        let (error, line) = Client::new(&server).refused("verso");
        assert_eq!(error.kind(), Kind::BadData);
        assert!(line.contains("names of files in the same directory"), "{line}");
    }
}

#[test]
fn an_index_of_files_that_are_not_there_is_said() {
    let index = br#"{"weight_map": {"a": "part.bin"}}"#;
    let index = ("pytorch_model.bin.index.json", &index[..]);
    let server = Site::new("verso", &[CONFIG, TOKENIZER, index]).start();
    let (error, line) = Client::new(&server).refused("verso");
    assert_eq!(error.kind(), Kind::BadData);
    assert!(line.starts_with("verso: part.bin") && line.contains("no such file"), "{line}");
}

#[test]
fn a_cache_that_cannot_be_written_is_said() {
    let server = Site::new("verso", &[CONFIG, TOKENIZER, ("model.safetensors", b"x")]).start();
    let mut client = Client::new(&server);
    let file = client.home.path().join("file");
    fs::write(&file, "").unwrap();
    client.hub.cache = file.join("hub");
    let (error, line) = client.refused("verso");
    assert_eq!(error.kind(), Kind::Failure);
    assert!(line.contains("HF_HUB_CACHE puts it elsewhere"), "{line}");
}

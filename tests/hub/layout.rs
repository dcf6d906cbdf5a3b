//! What is downloaded, where it lies, and when nobody is asked.

use super::server::{Reply, Server, Site, etag};
use super::{CONFIG, Client, TOKENIZER, names, weights};
use copla::formats::hub::{Location, Repo, RepoKind, locate};
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn a_model_lies_where_huggingface_hub_looks_for_it() {
    let model = weights(5000);
    let site = Site::new(
        "org/verso",
        &[
            CONFIG,
            TOKENIZER,
            ("vocab.json", b"{}"),
            ("merges.txt", b""),
            ("model.safetensors", &model),
            ("pytorch_model.bin", b"the same, larger"),
            ("model.safetensors.index.json", b"of other files"),
            ("tf_model.h5", b"the same again"),
            ("README.md", b"# Verso"),
            ("onnx/config.json", b"{}"),
        ],
    );
    let commit = site.commit.clone();
    let server = site.start();
    let mut client = Client::new(&server);
    let dir = client.model("org/verso").unwrap();

    let folder = client.hub.cache.join("models--org--verso");
    assert_eq!(dir, folder.join("snapshots").join(&commit));
    let needed = ["config.json", "merges.txt", "model.safetensors", "tokenizer.json", "vocab.json"];
    assert_eq!(names(&dir), needed);
    assert_eq!(fs::read(dir.join("model.safetensors")).unwrap(), model);
    let files = [("model.safetensors", &model[..]), CONFIG, ("merges.txt", b"")];
    for (name, bytes) in files {
        let target = Path::new("../../blobs").join(etag(name, bytes));
        assert_eq!(fs::read_link(dir.join(name)).unwrap(), target);
    }
    // The tokenizer's two files of the same bytes are one.
    assert_eq!(client.names("models--org--verso/blobs").len(), 4);
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), commit);

    // Each file is told from its first byte to its last.
    let told: Vec<(u64, Option<u64>)> = client
        .told
        .received
        .iter()
        .filter(|(file, ..)| file == "model.safetensors")
        .map(|(_, bytes, size)| (*bytes, *size))
        .collect();
    assert_eq!(told.first(), Some(&(0, Some(5000))));
    assert_eq!(told.last(), Some(&(5000, Some(5000))));
    assert_eq!(client.told.notes, [""; 0]);

    // From now on nobody is asked, for the branch or for the commit.
    let asked = server.asked().len();
    assert_eq!(client.model("org/verso").unwrap(), dir);
    assert_eq!(client.model(&format!("org/verso@{commit}")).unwrap(), dir);
    assert_eq!(server.asked().len(), asked);
}

#[test]
fn weights_in_several_files_come_by_their_index() {
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors",
        "c": "model-1.safetensors"}}"#;
    let (first, second) = (weights(70), weights(90));
    let site = Site::new(
        "verso",
        &[
            CONFIG,
            TOKENIZER,
            ("model.safetensors.index.json", index),
            ("model-1.safetensors", &first),
            ("model-2.safetensors", &second),
            ("model-3.safetensors", b"of another index"),
        ],
    );
    let server = site.start();
    let mut client = Client::new(&server);
    let dir = client.model("verso").unwrap();
    assert_eq!(fs::read(dir.join("model-1.safetensors")).unwrap(), first);
    assert_eq!(fs::read(dir.join("model-2.safetensors")).unwrap(), second);
    assert!(!dir.join("model-3.safetensors").exists());

    // A cache without one of them has not the whole model.
    let asked = server.asked().len();
    fs::remove_file(dir.join("model-2.safetensors")).unwrap();
    client.model("verso").unwrap();
    assert!(dir.join("model-2.safetensors").exists());
    let again = server.asked().split_off(asked);
    let methods: Vec<&str> = again.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["GET", "HEAD"], "the listing and the checksum: the bytes are still there");
}

#[test]
fn another_revision_has_its_own_name() {
    let bytes = weights(30);
    let site = Site::new("verso", &[CONFIG, TOKENIZER, ("pytorch_model.bin", &bytes)]);
    let commit = site.commit.clone();
    let server = site.start();
    let mut client = Client::new(&server);
    let dir = client.model("verso@refs/pr/1").unwrap();
    assert!(dir.ends_with(&commit));
    let kept = client.hub.cache.join("models--verso/refs/refs/pr/1");
    assert_eq!(fs::read_to_string(kept).unwrap(), commit);
    assert_eq!(client.names("models--verso/refs"), ["refs"]);
    // A commit needs no branch to be found.
    let mut other = Client::new(&server);
    other.model(&format!("verso@{commit}")).unwrap();
    assert_eq!(other.names("models--verso"), ["blobs", "snapshots"]);
}

#[test]
fn a_data_set_has_its_own_addresses_and_folder() {
    let bytes = b"content\nuno\n";
    let listed = Site::new("datasets/org/coplas", &[("data/año.csv", bytes)]);
    let addressed = Site::new("datasets/org/coplas", &[("data/a%C3%B1o.csv", bytes)]);
    let server = Server::start(move |request| match request.path.contains("/resolve/") {
        true => addressed.answer(request),
        false => listed.answer(request),
    });
    let mut client = Client::new(&server);
    let repo = Repo::parse(RepoKind::Dataset, "org/coplas").unwrap();
    assert_eq!(client.hub.cached(&repo), None);
    let snapshot = client.hub.ask(&repo, &mut client.told).unwrap();
    assert_eq!(snapshot.files(), ["data/año.csv"]);
    let dir = client.hub.fetch(&snapshot, snapshot.files(), &mut client.told).unwrap();
    assert_eq!(fs::read(dir.join("data/año.csv")).unwrap(), bytes);
    assert!(dir.starts_with(client.hub.cache.join("datasets--org--coplas")));
    assert!(dir.ends_with(snapshot.commit()));
    assert_eq!(client.hub.cached(&repo), Some(dir));
    assert!(server.asked()[0].path.starts_with("/api/datasets/org/coplas/"));
}

#[test]
fn a_repository_that_moved_is_followed_and_told() {
    let bytes = weights(30);
    let site = Site::new("openai/verso", &[CONFIG, TOKENIZER, ("model.safetensors", &bytes)]);
    let server = Server::start(move |request| match request.path.contains("openai") {
        true => site.answer(request),
        false => {
            Reply::new(307, "").with("Location", request.path.replace("verso", "openai/verso"))
        }
    });
    let mut client = Client::new(&server);
    let dir = client.model("verso").unwrap();
    assert_eq!(client.told.notes, ["verso is called openai/verso today"]);
    // Under the name asked for, as `huggingface_hub` keeps it: the next time it is found there.
    assert!(dir.starts_with(client.hub.cache.join("models--verso")));
    assert_eq!(fs::read(dir.join("model.safetensors")).unwrap(), bytes);
}

#[test]
fn without_a_network_the_cache_must_do() {
    let bytes = weights(30);
    let site = Site::new("verso", &[CONFIG, ("model.safetensors", &bytes)]);
    let server = site.start();
    let mut client = Client::new(&server);
    // A model without a tokenizer might have one on the hub, which is asked each time.
    let dir = client.model("verso").unwrap();
    let asked = server.asked().len();
    client.model("verso").unwrap();
    assert_eq!(server.asked().len(), asked + 1);

    server.stop();
    assert_eq!(client.model("verso").unwrap(), dir);
    let note = client.told.notes.pop().unwrap();
    assert!(note.starts_with("verso: the hub gives no answer; using /"), "{note}");
    client.hub.offline = true;
    assert_eq!(client.model("verso").unwrap(), dir);

    let (error, line) = client.refused("otro");
    assert_eq!(error.kind().exit_code(), 5);
    assert!(line.contains("HF_HUB_OFFLINE is set, found none"), "{line}");
    client.hub.offline = false;
    let (error, line) = client.refused("otro");
    assert_eq!(error.kind().exit_code(), 1);
    assert!(line.contains("or its files in /") && line.contains("refused"), "{line}");

    // Half a model is no model.
    fs::remove_file(dir.join("model.safetensors")).unwrap();
    client.hub.offline = true;
    let (_, line) = client.refused("verso");
    assert!(line.ends_with("found not all"), "{line}");
}

#[test]
fn a_directory_goes_before_a_name() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    let dir = at("m@x");
    fs::create_dir(&dir).unwrap();
    fs::write(at("file"), "").unwrap();
    assert_eq!(locate(&dir).unwrap(), Location::Directory(PathBuf::from(&dir)));
    assert_eq!(locate("src").unwrap(), Location::Directory("src".into()));
    let repo = Repo::parse(RepoKind::Model, "gpt2@v1").unwrap();
    assert_eq!(locate("gpt2@v1").unwrap(), Location::Repository(repo));
    for (model, found) in [
        (at("nowhere").as_str(), "no such directory"),
        ("./gpt2", "no such directory"),
        ("../gpt2", "no such directory"),
        ("a/b/c", "no such directory, and no repository can have that name"),
        ("mi modelo", "no such directory, and no repository can have that name"),
        ("", "no such directory, and no repository can have that name"),
        (at("file").as_str(), "a file"),
    ] {
        let line = locate(model).unwrap_err().to_string();
        assert!(line.contains("or a name on the hub") && line.ends_with(found), "{line}");
    }
}

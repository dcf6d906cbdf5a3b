//! The promise: a model named as on the hub is there, whole and right, or one line says why not,
//! however the server behaves; and `huggingface_hub` finds what copla downloaded.

mod command;
mod datasets;
mod layout;
mod misbehaviour;
mod refusals;
mod server;

use copla::formats::hub::{Hub, Observer, Patience, Repo, RepoKind};
use copla::{Error, Result};
use server::Server;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A cache of its own, and a client of the server that waits for nothing.
struct Client {
    home: TempDir,
    hub: Hub,
    told: Told,
}

#[derive(Default)]
struct Told {
    notes: Vec<String>,
    received: Vec<(String, u64, Option<u64>)>,
}

impl Observer for Told {
    fn note(&mut self, line: &str) {
        self.notes.push(line.to_string());
    }

    fn received(&mut self, file: &str, bytes: u64, size: Option<u64>) {
        self.received.push((file.to_string(), bytes, size));
    }
}

impl Client {
    fn new(server: &Server) -> Self {
        let home = tempfile::tempdir().unwrap();
        let patience = Patience {
            connect: Duration::from_secs(5),
            silence: Duration::from_secs(5),
            tries: 3,
            pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(2),
        };
        let hub = Hub {
            endpoint: server.address.clone(),
            cache: home.path().join("hub"),
            token: None,
            offline: false,
            proxy: None,
            patience,
        };
        Client { home, hub, told: Told::default() }
    }

    fn model(&mut self, name: &str) -> Result<PathBuf> {
        self.hub.model(&Repo::parse(RepoKind::Model, name)?, &mut self.told)
    }

    /// The error of a model that cannot be had: one line.
    fn refused(&mut self, name: &str) -> (Error, String) {
        let error = self.model(name).unwrap_err();
        let line = error.to_string();
        assert!(!line.contains('\n') && !line.contains("<html"), "{line}");
        (error, line)
    }

    /// Names in a folder of the cache, sorted.
    fn names(&self, folder: &str) -> Vec<String> {
        names(&self.hub.cache.join(folder))
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Some bytes that no other length begins with by chance.
fn weights(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * i / 7 + i) as u8).collect()
}

const CONFIG: (&str, &[u8]) = ("config.json", br#"{"model_type": "gpt2"}"#);
const TOKENIZER: (&str, &[u8]) = ("tokenizer.json", b"{}");

//! A hub on the loopback: a small HTTP server that behaves, unless a test tells it otherwise.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A request as it came, headers in lower case.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(&name.to_lowercase()).map(String::as_str)
    }

    /// The same for another address.
    pub fn to(&self, path: String) -> Self {
        Request { path, ..self.clone() }
    }

    /// Whether the bytes of this file are asked for.
    pub fn gets(&self, file: &str) -> bool {
        self.method == "GET" && self.path.ends_with(&format!("/{file}"))
    }

    /// The first byte of the range asked for.
    pub fn begin(&self) -> Option<usize> {
        let range = self.header("Range")?.strip_prefix("bytes=")?.strip_suffix('-')?;
        Some(range.parse().unwrap())
    }
}

pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// After so many bytes of the body the connection is closed.
    pub cut: Option<usize>,
    /// After what is sent, nothing more comes and nothing is closed.
    pub hangs: bool,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Reply { status, headers: Vec::new(), body: body.into(), cut: None, hangs: false }
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_string(), value.to_string()));
        self
    }

    pub fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }

    pub fn hanging(mut self) -> Self {
        self.hangs = true;
        self
    }
}

/// Runs until it is dropped; keeps what it was asked.
pub struct Server {
    pub address: String,
    asked: Arc<Mutex<Vec<Request>>>,
    closed: Arc<AtomicBool>,
    door: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let closed = Arc::new(AtomicBool::new(false));
        let (keep, over, answer) = (asked.clone(), closed.clone(), Arc::new(answer));
        let door = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let (keep, answer) = (keep.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, &keep, &*answer));
            }
        });
        Server { address, asked, closed, door: Mutex::new(Some(door)) }
    }

    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    /// Closes the door: whoever comes later is refused a connection.
    pub fn stop(&self) {
        if let Some(door) = self.door.lock().unwrap().take() {
            self.closed.store(true, Ordering::SeqCst);
            let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
            door.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One request, one answer. Where the client has gone away, nobody is to be told.
fn serve(mut stream: TcpStream, keep: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Reply) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let mut words = first.split(' ').map(str::to_string);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_string()))
        })
        .collect();
    let request = Request { method, path, headers };
    keep.lock().unwrap().push(request.clone());
    let reply = answer(&request);
    let mut head = format!("HTTP/1.1 {} Reply\r\nConnection: close\r\n", reply.status);
    if !reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Content-Length")) {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let body = if request.method == "HEAD" { &[][..] } else { &reply.body };
    let body = &body[..reply.cut.unwrap_or(body.len()).min(body.len())];
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
    let _ = stream.write_all(body);
    if reply.hangs {
        // Until the client has had enough.
        let _ = stream.read(&mut [0]);
    }
}

/// A repository with its files, and how the hub answers for it.
pub struct Site {
    /// `name` or `org/name`; with `datasets/` before it, a data set.
    pub id: String,
    pub commit: String,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Site {
    pub fn new(id: &str, files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect();
        Site { id: id.to_string(), commit: "c0ffee".repeat(7)[..40].to_string(), files }
    }

    pub fn start(self) -> Server {
        Server::start(move |request| self.answer(request))
    }

    /// As <https://huggingface.co> answers: a listing, files of git with their `ETag`, large files
    /// with `X-Linked-Etag`, ranges, and an `X-Error-Code` beside a 404.
    pub fn answer(&self, request: &Request) -> Reply {
        let refuse = |code| Reply::new(404, "<html>404</html>").with("X-Error-Code", code);
        let listing = match self.id.strip_prefix("datasets/") {
            Some(id) => format!("/api/datasets/{id}/revision/"),
            None => format!("/api/models/{}/revision/", self.id),
        };
        if let Some(revision) = request.path.strip_prefix(&listing) {
            if !["main", "refs%2Fpr%2F1", &self.commit].contains(&revision) {
                return refuse("RevisionNotFound");
            }
            let files: Vec<_> =
                self.files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
            let listing = serde_json::json!({ "sha": self.commit, "siblings": files });
            return Reply::new(200, listing.to_string());
        }
        let files = format!("/{}/resolve/{}/", self.id, self.commit);
        let Some(name) = request.path.strip_prefix(&files) else { return refuse("RepoNotFound") };
        let Some(bytes) = self.files.get(name) else { return refuse("EntryNotFound") };
        let reply = content(bytes, request).with("X-Repo-Commit", &self.commit);
        match is_large(name) {
            true => reply
                .with("ETag", "\"of the pointer\"")
                .with("X-Linked-Etag", format!("\"{}\"", etag(name, bytes)))
                .with("X-Linked-Size", bytes.len()),
            false => reply.with("ETag", format!("\"{}\"", etag(name, bytes))),
        }
    }
}

/// The bytes, or the range of them that is asked for.
pub fn content(bytes: &[u8], request: &Request) -> Reply {
    match request.begin() {
        None => Reply::new(200, bytes),
        Some(begin) if begin >= bytes.len() => Reply::new(416, ""),
        Some(begin) => {
            let (last, length) = (bytes.len() - 1, bytes.len());
            let range = format!("bytes {begin}-{last}/{length}");
            Reply::new(206, &bytes[begin..]).with("Content-Range", range)
        }
    }
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

/// The checksum that the hub gives a file: SHA-256 of a large one, else git's SHA-1.
pub fn etag(name: &str, bytes: &[u8]) -> String {
    let digits = match is_large(name) {
        true => Sha256::digest(bytes).to_vec(),
        false => Sha1::new_with_prefix(format!("blob {}\0", bytes.len()))
            .chain_update(bytes)
            .finalize()
            .to_vec(),
    };
    digits.iter().map(|byte| format!("{byte:02x}")).collect()
}

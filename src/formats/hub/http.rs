//! Requests to the hub: redirects, the token that only the hub sees, and what is worth another try.

use super::{Hub, Observer};
use crate::error::{Error, Kind, Result};
use std::time::Duration;
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

/// A redirect more than these is a circle.
const MOST_REDIRECTS: usize = 10;

/// How long the hub is waited for, and how often it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// Without a byte from the server.
    pub silence: Duration,
    /// Tries in a row that bring nothing new, before it is given up.
    pub tries: u32,
    /// After the first try that failed; twice as long after each further one.
    pub pause: Duration,
    /// The longest pause, even where the server asks for more (`Retry-After`).
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            tries: 5,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
        }
    }
}

/// Why a request brought nothing.
pub(super) enum Trouble {
    /// Asking again would change nothing.
    Refused(Error),
    /// There is no way to the server.
    Unreachable(String),
    /// It may be better soon: after so long, where the server said how long. `progress`: bytes came
    /// that had never come before.
    Passing { why: String, after: Option<Duration>, progress: bool },
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Refused(error)
    }
}

/// What a single try gives.
pub(super) type Tried<T> = std::result::Result<T, Trouble>;

/// An answer that is no refusal, after all redirects that were followed.
pub(super) struct Answer {
    /// Who gave it.
    pub url: String,
    pub response: Response<Body>,
    /// What the hub itself said of the file on the way; another host's word counts for nothing.
    pub file: FileFacts,
}

/// A file as the hub's headers describe it.
#[derive(Default)]
pub(super) struct FileFacts {
    /// `X-Linked-Etag` (of a large file its SHA-256), else `ETag` (the SHA-1 of a git blob).
    pub etag: Option<String>,
    /// `X-Linked-Size`, else the length of the answer, in bytes.
    pub size: Option<u64>,
    /// `X-Repo-Commit`.
    pub commit: Option<String>,
}

#[derive(Clone, Copy)]
pub(super) enum Ask {
    /// What the hub itself says, wherever the file is.
    Head,
    Get,
    /// From this byte on.
    GetFrom(u64),
}

/// The hub's server.
pub(super) struct Client<'a> {
    hub: &'a Hub,
    agent: Agent,
}

impl<'a> Client<'a> {
    pub fn new(hub: &'a Hub) -> Self {
        let Patience { connect, silence, .. } = hub.patience;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // No redirect leads an encrypted transfer into the open.
            .https_only(hub.endpoint.starts_with("https://"))
            .proxy(hub.proxy.clone())
            .user_agent(concat!("copla/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(connect))
            .timeout_connect(Some(connect))
            .timeout_per_read(Some(silence))
            .timeout_per_write(Some(silence))
            .build();
        Client { hub, agent: config.into() }
    }

    /// Asks for `url`; `thing` is what the messages call it. Redirects are followed; with [`Ask::Head`]
    /// only those within the hub.
    pub fn send(&self, ask: Ask, url: &str, thing: &str) -> Tried<Answer> {
        let mut url = url.to_string();
        let mut file = FileFacts::default();
        for _ in 0..=MOST_REDIRECTS {
            let at_home = is_same_origin(&url, &self.hub.endpoint);
            let mut request = match ask {
                Ask::Head => self.agent.head(&url),
                Ask::Get => self.agent.get(&url),
                Ask::GetFrom(begin) => {
                    self.agent.get(&url).header("Range", format!("bytes={begin}-"))
                }
            };
            request = request.header("Accept-Encoding", "identity");
            if let Some(token) = self.hub.token.as_ref().filter(|_| at_home) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let response = request.call().map_err(trouble)?;
            let status = response.status().as_u16();
            if status >= 400 {
                return Err(self.refusal(&response, &url, thing));
            }
            if at_home {
                file.learn(response.headers(), status);
            }
            let next = match header(response.headers(), "Location") {
                Some(location) if (300..400).contains(&status) => join(&url, location),
                _ => return Ok(Answer { url, response, file }),
            };
            let leads_away = !is_same_origin(&next, &self.hub.endpoint);
            if matches!(ask, Ask::Head) && leads_away {
                return Ok(Answer { url, response, file });
            }
            url = next;
        }
        let found = format!("more than {MOST_REDIRECTS} redirects");
        Err(Error::new(Kind::Failure, thing, "an answer", found).into())
    }

    /// Tries until it works, or is refused, or patience is at its end: then `failed` makes the error of
    /// the reason.
    pub fn retry<T>(
        &self,
        thing: &str,
        observer: &mut dyn Observer,
        failed: impl Fn(String) -> Error,
        mut attempt: impl FnMut(&mut dyn Observer) -> Tried<T>,
    ) -> Result<T> {
        let Patience { tries, pause, longest_pause, .. } = self.hub.patience;
        let mut failures = 0;
        loop {
            let (why, after) = match attempt(observer) {
                Ok(done) => return Ok(done),
                Err(Trouble::Refused(error)) => return Err(error),
                Err(Trouble::Unreachable(why)) => return Err(failed(why)),
                Err(Trouble::Passing { why, after, progress }) => {
                    failures = if progress { 1 } else { failures + 1 };
                    (why, after)
                }
            };
            if failures >= tries {
                return Err(failed(why));
            }
            observer.note(&format!("{thing}: {why}; trying again"));
            let pause = after.unwrap_or(pause * 2u32.saturating_pow(failures - 1));
            std::thread::sleep(pause.min(longest_pause));
        }
    }

    /// What a status from 400 up means, and what can be done about it.
    fn refusal(&self, response: &Response<Body>, url: &str, thing: &str) -> Trouble {
        let headers = response.headers();
        let status = response.status();
        let why = format!("HTTP {}", status.as_u16());
        let at_home = is_same_origin(url, &self.hub.endpoint);
        let code = header(headers, "X-Error-Code").unwrap_or_default();
        let endpoint = &self.hub.endpoint;
        let found = match status.as_u16() {
            408 | 429 | 500.. => {
                let after = header(headers, "Retry-After").and_then(|after| after.parse().ok());
                let after = after.map(Duration::from_secs);
                return Trouble::Passing { why, after, progress: false };
            }
            // The signed address of another host has run out: the hub gives a new one.
            _ if !at_home => {
                let why = format!("{why} from {}", origin(url));
                return Trouble::Passing { why, after: None, progress: false };
            }
            401 | 403 if code == "GatedRepo" => {
                format!("{why}: gated (accept its terms on its page there, then set HF_TOKEN)")
            }
            401 | 403 if self.hub.token.is_some() => {
                format!("{why}: none, or one that the token of HF_TOKEN may not read")
            }
            401 | 403 => format!("{why}: none, or a private or gated one (then set HF_TOKEN)"),
            404 => match code {
                "RevisionNotFound" => format!("{why}: no such revision"),
                "EntryNotFound" => format!("{why}: no such file"),
                "RepoNotFound" => format!("{why}: no such repository"),
                _ => format!("{why}: no such repository or revision"),
            },
            _ => {
                let expected = format!("an answer of {endpoint}");
                return Error::new(Kind::Failure, thing, expected, why).into();
            }
        };
        Error::bad_data(thing, format!("something to read at {endpoint}"), found).into()
    }
}

impl FileFacts {
    fn learn(&mut self, headers: &HeaderMap, status: u16) {
        let number = |name| header(headers, name).and_then(|text| text.parse().ok());
        let here = (200..300).contains(&status);
        let linked = header(headers, "X-Linked-Etag");
        let etag = linked.or(header(headers, "ETag").filter(|_| here && self.etag.is_none()));
        if let Some(etag) = etag {
            self.etag = Some(etag.trim_start_matches("W/").trim_matches('"').to_string());
        }
        let size = number("X-Linked-Size");
        self.size = self.size.or(size).or_else(|| number("Content-Length").filter(|_| here));
        let commit = header(headers, "X-Repo-Commit").map(str::to_string);
        self.commit = self.commit.take().or(commit);
    }
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A failure of the network, in words. What breaks a connection passes; that there is none (no network,
/// no such host, nobody there, a certificate that is not right) does not.
pub(super) fn trouble(error: ureq::Error) -> Trouble {
    use std::io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof,
    };
    match error {
        ureq::Error::Io(error) => match error.kind() {
            UnexpectedEof => passing("the connection was cut"),
            ConnectionReset | ConnectionAborted | BrokenPipe | TimedOut => {
                passing(error.to_string())
            }
            _ => Trouble::Unreachable(error.to_string()),
        },
        ureq::Error::Timeout(which) => passing(format!("no answer in time ({which})")),
        ureq::Error::Protocol(_) | ureq::Error::BodyStalled => passing(error.to_string()),
        other => Trouble::Unreachable(other.to_string()),
    }
}

fn passing(why: impl Into<String>) -> Trouble {
    Trouble::Passing { why: why.into(), after: None, progress: false }
}

/// `scheme://host:port` of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find(['/', '?', '#']).map_or(url, |end| &url[..host + end])
}

fn is_same_origin(a: &str, b: &str) -> bool {
    origin(a).eq_ignore_ascii_case(origin(b))
}

/// The address that `location` means in an answer of `url`.
fn join(url: &str, location: &str) -> String {
    if location.contains("://") {
        location.to_string()
    } else if location.starts_with("//") {
        let scheme = url.find("//").unwrap_or(0);
        format!("{}{location}", &url[..scheme])
    } else if location.starts_with('/') {
        format!("{}{location}", origin(url))
    } else {
        let path = url.split(['?', '#']).next().unwrap_or(url);
        let folder = path.rfind('/').map_or(path, |at| &path[..at]);
        format!("{folder}/{location}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_joined_to_the_address_it_came_from() {
        let at = "https://hub.example:8443/api/models/a/revision/main?x=/1";
        for (location, joined) in [
            ("/b?c", "https://hub.example:8443/b?c"),
            ("//cdn.example/b", "https://cdn.example/b"),
            ("http://cdn.example/b", "http://cdn.example/b"),
            ("other", "https://hub.example:8443/api/models/a/revision/other"),
        ] {
            assert_eq!(join(at, location), joined);
        }
    }

    #[test]
    fn only_the_very_same_host_is_the_hub() {
        let hub = "https://huggingface.co";
        assert!(is_same_origin("https://HuggingFace.co/gpt2/resolve/main/a?b=c", hub));
        for other in [
            "http://huggingface.co/gpt2",
            "https://huggingface.co:8443/gpt2",
            "https://huggingface.co.example/gpt2",
            "https://huggingface.co@example.com/gpt2",
            "https://example.com/https://huggingface.co",
        ] {
            assert!(!is_same_origin(other, hub), "{other}");
        }
    }
}

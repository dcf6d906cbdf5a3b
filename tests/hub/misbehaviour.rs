//! Servers and networks that break off, hang, lie and forget.

use super::server::{Reply, Request, Server, Site, content, etag};
use super::{CONFIG, Client, TOKENIZER, weights};
use copla::Kind;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const FILE: &str = "model.safetensors";
const LENGTH: usize = 300_000;

fn site() -> Site {
    Site::new("verso", &[CONFIG, TOKENIZER, (FILE, &weights(LENGTH))])
}

/// A hub that answers as it should, but for the bytes of the weights: `answer` changes that reply, by
/// how often they were asked for before.
fn server(answer: impl Fn(usize, Reply) -> Reply + Send + Sync + 'static) -> Server {
    let (site, count) = (site(), AtomicUsize::new(0));
    Server::start(move |request| {
        let reply = site.answer(request);
        match request.gets(FILE) {
            true => answer(count.fetch_add(1, Ordering::SeqCst), reply),
            false => reply,
        }
    })
}

fn part(client: &Client) -> PathBuf {
    let name = format!("models--verso/blobs/{}.incomplete", etag(FILE, &weights(LENGTH)));
    client.hub.cache.join(name)
}

/// From which byte on the weights were asked for, each time.
fn begins(server: &Server) -> Vec<Option<usize>> {
    let asked = server.asked();
    asked.iter().filter(|request| request.gets(FILE)).map(Request::begin).collect()
}

fn assert_whole(client: &mut Client) {
    let dir = client.model("verso").unwrap();
    assert!(fs::read(dir.join(FILE)).unwrap() == weights(LENGTH));
    assert!(!part(client).exists());
}

#[test]
fn a_transfer_that_is_cut_goes_on_from_there() {
    let server = server(|time, reply| if time < 2 { reply.cut(100_000) } else { reply });
    let mut client = Client::new(&server);
    assert_whole(&mut client);
    // No byte was fetched twice.
    assert_eq!(begins(&server), [None, Some(100_000), Some(200_000)]);
    let notes = &client.told.notes;
    assert_eq!(notes.len(), 2);
    assert_eq!(notes[0], "verso: model.safetensors: the connection was cut; trying again");
}

#[test]
fn the_next_download_goes_on_from_the_last() {
    let server = server(|time, reply| if time == 0 { reply.cut(100_000) } else { reply });
    let mut client = Client::new(&server);
    client.hub.patience.tries = 1;
    let (error, line) = client.refused("verso");
    assert_eq!(error.kind(), Kind::Failure);
    assert!(line.contains("verso: model.safetensors") && line.contains("is kept"), "{line}");
    assert_eq!(fs::metadata(part(&client)).unwrap().len(), 100_000);
    assert!(!client.hub.cache.join("models--verso/refs/main").exists());
    client.told.received.clear();
    assert_whole(&mut client);
    assert_eq!(begins(&server), [None, Some(100_000)]);
    assert_eq!(client.told.received[0], (FILE.to_string(), 100_000, Some(LENGTH as u64)));
}

#[test]
fn a_part_that_is_whole_is_only_checked_and_one_too_long_begins_anew() {
    let server = server(|_, reply| reply);
    for (kept, asked) in [(weights(LENGTH), &[][..]), (weights(LENGTH + 1), &[None])] {
        let before = begins(&server).len();
        let mut client = Client::new(&server);
        fs::create_dir_all(part(&client).parent().unwrap()).unwrap();
        fs::write(part(&client), kept).unwrap();
        assert_whole(&mut client);
        assert_eq!(begins(&server)[before..], *asked);
    }
}

/// The whole file, whatever was asked for.
fn without_ranges(mut reply: Reply) -> Reply {
    (reply.status, reply.body) = (200, weights(LENGTH));
    reply.headers.retain(|(name, _)| name != "Content-Range");
    reply
}

#[test]
fn a_server_that_knows_no_ranges_starts_over() {
    let server = server(|time, reply| match time {
        0 => reply.cut(100_000),
        _ => without_ranges(reply),
    });
    let mut client = Client::new(&server);
    assert_whole(&mut client);
    assert_eq!(begins(&server), [None, Some(100_000)]);
}

#[test]
fn what_never_gets_further_is_given_up() {
    let server = server(|_, reply| without_ranges(reply).cut(100_000));
    let (error, _) = Client::new(&server).refused("verso");
    assert_eq!(error.kind(), Kind::Failure);
    assert_eq!(begins(&server).len(), 3);
}

#[test]
fn another_range_than_the_one_asked_for_is_not_taken() {
    let server = server(|time, reply| match time {
        0 => reply.cut(100_000),
        _ => reply.with("Content-Range", format!("bytes 99999-{}/{LENGTH}", LENGTH - 1)),
    });
    let (error, line) = Client::new(&server).refused("verso");
    assert_eq!(error.kind(), Kind::Failure);
    assert!(line.contains("another range"), "{line}");
}

#[test]
fn wrong_bytes_are_deleted() {
    for file in [FILE, "config.json"] {
        let site = site();
        let right = etag(file, &site.files[file]);
        let server = Server::start(move |request| {
            let mut reply = site.answer(request);
            if request.gets(file) {
                reply.body[7] ^= 1;
            }
            reply
        });
        let mut client = Client::new(&server);
        let (error, line) = client.refused("verso");
        assert_eq!(error.kind(), Kind::BadData);
        let words = format!("verso: {file}: expected bytes with the checksum {right}, found ");
        assert!(line.starts_with(&words) && line.ends_with("download it again)"), "{line}");
        let blobs = client.names("models--verso/blobs");
        assert!(!blobs.iter().any(|name| name.starts_with(&right)), "{blobs:?}");
    }
}

#[test]
fn lengths_that_lie_are_found_out() {
    // It promises more than the file has: all of the file came before the line went dead.
    let more = server(|_, reply| reply.with("Content-Length", 2 * LENGTH));
    assert_whole(&mut Client::new(&more));
    // It ends as it promised, too early.
    let fewer = server(|time, mut reply| {
        if time == 0 {
            reply.body.pop();
        }
        reply
    });
    let mut client = Client::new(&fewer);
    assert_whole(&mut client);
    assert!(client.told.notes[0].contains("ended after 299999 of 300000 bytes"));
    // It sends more than the file has.
    let longer = server(|_, mut reply| {
        reply.body.push(0);
        reply
    });
    let mut client = Client::new(&longer);
    let (error, line) = client.refused("verso");
    assert_eq!(error.kind(), Kind::Failure);
    assert!(line.contains("more than its 300000 bytes"), "{line}");
    assert_eq!(fs::metadata(part(&client)).unwrap().len(), 0);
    // The hub itself has the length wrong.
    for (claimed, words) in [(LENGTH - 1, "more than its 299999"), (LENGTH + 1, "HTTP 416")] {
        let site = site();
        let server = Server::start(move |request| match request.path.ends_with(FILE) {
            true => site.answer(request).with("X-Linked-Size", claimed),
            false => site.answer(request),
        });
        let (_, line) = Client::new(&server).refused("verso");
        assert!(line.contains(words), "{line}");
    }
}

#[test]
fn a_file_of_another_commit_is_not_taken() {
    let site = site();
    let other = "d".repeat(40);
    let server = Server::start(move |request| match request.path.ends_with("config.json") {
        true => site.answer(request).with("X-Repo-Commit", &other),
        false => site.answer(request),
    });
    let (error, line) = Client::new(&server).refused("verso");
    assert_eq!(error.kind(), Kind::Failure);
    assert!(line.contains("found another commit, dddd"), "{line}");
}

#[test]
fn silence_has_an_end() {
    let slow = [
        // A listing that does not come, bytes that stop coming, and not even a status.
        Server::start(|_| Reply::new(200, "").with("Content-Length", 10).hanging()),
        server(|time, reply| reply.cut(if time == 0 { 100_000 } else { 0 }).hanging()),
        Server::start(|_| {
            std::thread::sleep(Duration::from_millis(400));
            Reply::new(500, "")
        }),
    ];
    for server in slow {
        let mut client = Client::new(&server);
        client.hub.patience.silence = Duration::from_millis(30);
        client.hub.patience.tries = 2;
        let (error, line) = client.refused("verso");
        assert_eq!(error.kind(), Kind::Failure);
        assert!(line.contains("no answer in time"), "{line}");
    }
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    let (site, count) = (site(), AtomicUsize::new(0));
    // Every address fails twice, in the ways of overloaded servers.
    let server = Server::start(move |request| match count.fetch_add(1, Ordering::SeqCst) % 3 {
        0 => Reply::new(503, "<html>\n<h1>busy</h1></html>").with("Retry-After", "3600"),
        1 => Reply::new(429, "").with("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"),
        _ => site.answer(request),
    });
    let mut client = Client::new(&server);
    assert_whole(&mut client);
    assert_eq!(client.told.notes[0], "verso: HTTP 503; trying again");

    let server = Server::start(|_| Reply::new(500, "<html></html>"));
    let (error, line) = Client::new(&server).refused("verso");
    assert_eq!((error.kind(), server.asked().len()), (Kind::Failure, 3));
    assert!(line.contains("HTTP 500"), "{line}");
}

#[test]
fn another_host_never_sees_the_token() {
    let bytes = weights(LENGTH);
    let stranger = Server::start(move |request| content(&bytes, request));
    let (site, elsewhere) = (site(), format!("{}/signed", stranger.address));
    let server = Server::start(move |request| {
        let mut reply = site.answer(request);
        if request.path.ends_with(FILE) {
            reply.status = 302;
            reply = reply.with("Location", &elsewhere);
        }
        reply
    });
    let mut client = Client::new(&server);
    client.hub.token = Some("hf_secret".to_string());
    assert_whole(&mut client);
    let bearer = Some("Bearer hf_secret");
    assert!(server.asked().iter().all(|request| request.header("Authorization") == bearer));
    // It is asked for the bytes, not for what they should be.
    let asked = stranger.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("Authorization"), None);
}

#[test]
fn an_address_that_has_run_out_is_given_anew() {
    let bytes = weights(LENGTH);
    let stranger = Server::start(move |request| match request.path.as_str() {
        "/signed/0" => Reply::new(403, "<Error>expired</Error>"),
        _ => content(&bytes, request),
    });
    let (elsewhere, count) = (stranger.address.clone(), AtomicUsize::new(0));
    let server = server(move |_, mut reply| {
        reply.status = 302;
        let time = count.fetch_add(1, Ordering::SeqCst);
        reply.with("Location", format!("{elsewhere}/signed/{time}"))
    });
    let mut client = Client::new(&server);
    assert_whole(&mut client);
    assert_eq!(stranger.asked().len(), 2);
}

#[test]
fn two_clients_download_once() {
    let server = server(|_, reply| {
        std::thread::sleep(Duration::from_millis(30));
        reply
    });
    let (mut client, mut other) = (Client::new(&server), Client::new(&server));
    other.hub.cache = client.hub.cache.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| assert_whole(&mut client));
        scope.spawn(|| assert_whole(&mut other));
    });
    assert_eq!(begins(&server), [None]);
}

#[test]
fn redirects_do_not_go_round_for_ever() {
    let server = Server::start(|request| Reply::new(302, "").with("Location", &request.path));
    let (error, line) = Client::new(&server).refused("verso");
    assert_eq!(error.kind(), Kind::Failure);
    assert!(line.contains("10 redirects"), "{line}");
}

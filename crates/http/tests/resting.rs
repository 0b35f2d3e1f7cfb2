//! Connections that are silent for a while among others: they weigh little, and nobody can tell.

mod support;

use std::time::{Duration, Instant};

use support::{PREFACE, SETTINGS, frame, read_frame, start};
use testkit::{Client, DEADLINE, Running, process, wait_until};

const SIGTERM: i32 = 15;
const MANY: usize = 600;
/// What one at rest weighs at most, in this build; one that is ready for a request weighs 15.
const KIB_EACH: u64 = 12;

fn stop(server: &Running) {
    server.signal(SIGTERM);
    assert!(server.wait_exit().success());
}

/// So many connections that have asked once and are at rest: their worker has given back what they took for HTTP.
fn at_rest(server: &Running, address: &str) -> Vec<Client> {
    let worker = server.wait_children(1)[0];
    // What the first one takes is the worker's own.
    let mut first = Client::connect(address);
    assert_eq!(first.get("/").text(), "hello");
    let before = process::anonymous_kib(worker);
    let mut clients: Vec<Client> = (1..MANY).map(|_| Client::connect(address)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "hello"));
    wait_until("connections at rest", DEADLINE, || {
        let taken = process::anonymous_kib(worker).saturating_sub(before);
        taken < KIB_EACH * MANY as u64
    });
    clients.push(first);
    clients
}

#[test]
fn silent_connections_give_their_room_back_and_are_answered_as_ever() {
    let (server, address) = start(&["1", "1000"]);
    let mut clients = at_rest(&server, &address);
    let mut next = || clients.pop().expect("there are many");
    // The first of them may still have been at work when memory was given back.
    assert_eq!(next().get("/").text(), "hello");
    let mut slow = next();
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" {
        slow.send(&[*byte]);
    }
    assert_eq!(slow.read_response().text(), "hello");
    let mut long = next();
    let filler = "x".repeat(3000);
    long.send(format!("GET / HTTP/1.1\r\nHost: a\r\nFiller: {filler}\r\n\r\n").as_bytes());
    assert_eq!(long.read_response().text(), "hello");
    let mut several = next();
    several.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /pid HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(several.read_response().text(), "hello");
    assert_eq!(several.read_response().text(), server.children()[0].to_string());
    let mut body = next();
    body.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4000\r\n\r\n");
    body.send(&[b'b'; 4000]);
    assert_eq!(body.read_response().text(), "b".repeat(4000));
    assert_eq!(body.get("/").text(), "hello", "and again, without a rest");
    let mut garbage = next();
    garbage.send(b"\0\0\0\r\n\r\n");
    assert_eq!(garbage.read_response().status, 400);
    drop(next());
    stop(&server);
}

#[test]
fn connections_at_rest_hold_no_stop_up_and_a_request_on_its_way_is_answered() {
    let (server, address) = start(&["1", "1000"]);
    let mut clients = at_rest(&server, &address);
    let asked = Instant::now();
    server.signal(SIGTERM);
    let mut asks = clients.pop().expect("there are many");
    asks.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(asks.read_response().text(), "hello");
    assert!(server.wait_exit().success());
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    assert!(clients.iter_mut().all(Client::closed));
}

/// Waits until a connection that was opened now and is silent has been ended by a server's idle time, in milliseconds.
fn wait_for_idle_time(milliseconds: u32) {
    let limit = format!("idle_timeout={milliseconds}");
    let (server, address) = start(&["1", "100", &limit]);
    assert!(Client::connect(&address).closed());
    stop(&server);
}

#[test]
fn a_connection_at_rest_may_speak_http2_with_its_first_word() {
    let (server, address) = start(&["1", "100"]);
    let [mut whole, mut halves] = [Client::connect(&address), Client::connect(&address)];
    wait_for_idle_time(1500);
    let (first, second) = PREFACE.split_at(9);
    whole.send(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat());
    assert_eq!(read_frame(&mut whole).map(|frame| frame.kind), Some(SETTINGS));
    halves.send(first);
    assert_eq!(Client::connect(&address).get("/").text(), "hello");
    halves.send(&[second, &frame(SETTINGS, 0, 0, b"")].concat());
    assert_eq!(read_frame(&mut halves).map(|frame| frame.kind), Some(SETTINGS));
    stop(&server);
}

#[test]
fn empty_lines_behind_a_body_are_no_request_that_takes_its_time() {
    let (server, address) = start(&["1", "100", "header_timeout=300"]);
    let mut clients: Vec<_> = (0..2).map(|_| Client::connect(&address)).collect();
    let post = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    clients[0].send(&[post.as_slice(), b"\r\n"].concat());
    clients[1].send(post);
    assert!(clients.iter_mut().all(|client| client.read_response().text() == "abc"));
    clients[1].send(b"\r\n");
    wait_for_idle_time(2000);
    assert!(clients.iter_mut().all(|client| client.get("/").text() == "hello"));
    stop(&server);
}

/// Bytes of a body that nobody reads.
const REST: usize = 5000;

/// The large answer comes before its request's body, and what looks like a request in that is none.
#[track_caller]
fn answers_what_is_behind_the_body(mut client: Client) {
    assert_eq!(client.read_response().body.len(), 16 * 1024);
    let inside = b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(inside);
    client.send(&vec![b'x'; REST - inside.len()]);
    assert_eq!(client.get("/").text(), "hello");
}

#[test]
fn what_is_left_of_a_body_is_no_request_when_answers_are_written_in_another_way() {
    for concurrency in ["1", "100"] {
        let (server, address) = start(&["1", concurrency]);
        let mut client = Client::connect(&address);
        assert_eq!(client.get("/").text(), "hello");
        // The first large answer of this worker, to a request whose body nobody reads.
        client.send(b"GET /large/16 HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n");
        answers_what_is_behind_the_body(client);
        stop(&server);
    }
}

#[test]
fn what_is_left_of_a_body_is_no_request_when_the_one_before_is_read_meanwhile() {
    for concurrency in ["1", "100"] {
        let (server, address) = start(&["1", concurrency]);
        let mut client = Client::connect(&address);
        assert_eq!(client.get("/").text(), "hello");
        client.send(b"POST /background/200 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde");
        assert_eq!(client.read_response().text(), "accepted");
        // While this is at work the other body is read to its end.
        client.send(b"POST /ignored/500/16 HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n");
        answers_what_is_behind_the_body(client);
        stop(&server);
    }
}

#[test]
fn a_body_that_comes_after_its_answer_is_no_slow_head() {
    let (server, address) = start(&["1", "100", "header_timeout=500"]);
    let mut client = Client::connect(&address);
    client.send(b"POST /background/0 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabcde");
    assert_eq!(client.read_response().text(), "accepted");
    client.send(b"f");
    wait_for_idle_time(1500);
    client.send(b"ghij");
    assert_eq!(client.get("/").text(), "hello");
    stop(&server);
}

#[test]
fn large_answers_change_how_a_connection_is_written_and_nothing_else() {
    for concurrency in ["1", "100"] {
        let (server, address) = start(&["2", concurrency]);
        let mut client = Client::connect(&address);
        for kibibytes in [1, 7, 8, 9, 1, 1024, 0] {
            let answer = client.get(&format!("/large/{kibibytes}"));
            assert_eq!(answer.body.len(), kibibytes * 1024, "{kibibytes} KiB");
            let stream = client.get(&format!("/stream/{kibibytes}"));
            assert_eq!(stream.body.len(), kibibytes * 1024, "{kibibytes} KiB in chunks");
        }
        client.send(b"GET /large/64 HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.read_response().body.len(), 64 * 1024);
        assert_eq!(client.read_response().text(), "hello");
        stop(&server);
    }
}

//! What is seen of requests: who asks, by which id, and a line for each, whatever becomes of it.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use testkit::{Client, DEADLINE, Running, Server, bin};

const SIGTERM: i32 = 15;

fn start(more: &[&str]) -> (Running, String) {
    let server = Server::command(bin("examples/http_fixture"))
        .args(["127.0.0.1:0", "1", "100"])
        .args(more)
        .start();
    let address = server.address();
    (server, address)
}

fn stop(server: &Running) {
    server.signal(SIGTERM);
    assert!(server.wait_exit().success());
}

#[test]
fn handler_log_and_answer_call_a_request_by_one_id() {
    let (server, address) = start(&["log=%L %{c}L %k %r", "id_header=x-request-id"]);
    let mut clients = [Client::connect(&address), Client::connect(&address)];
    for (client, id, before) in [(0, "C1.1-1", 0), (1, "C1.2-1", 0), (0, "C1.1-2", 1)] {
        let answer = clients[client].get("/client");
        assert_eq!(answer.text(), format!("{id} 127.0.0.1 http"));
        assert_eq!(answer.header("x-request-id"), Some(id));
        let connection = id.split('-').next().expect("its connection");
        server.wait_line(&format!("{id} {connection} {before} GET /client HTTP/1.1"));
    }
    stop(&server);
}

#[test]
fn a_handler_sees_the_client_whom_a_trusted_proxy_names() {
    let fields = "X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\nX-Forwarded-Proto: https\r\n";
    let request = format!("GET /client HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    for (trust, seen) in
        [("trust=127.0.0.1", "192.0.2.1 https"), ("trust=10.0.0.1", "127.0.0.1 http")]
    {
        let (server, address) = start(&[trust]);
        let mut client = Client::connect(&address);
        client.send(request.as_bytes());
        assert_eq!(client.read_response().text(), format!("C1.1-1 {seen}"));
        stop(&server);
    }
}

#[test]
fn a_handler_is_told_who_asks_in_the_words_of_its_framework() {
    let (_server, address) = start(&[]);
    let mut client = TcpStream::connect(&address).expect("a connection");
    client.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    client.write_all(b"GET /peer HTTP/1.0\r\n\r\n").expect("a request");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    let own = client.local_addr().expect("an address");
    assert!(answer.ends_with(&format!("\r\n\r\n{own}")), "{answer}");
}

#[test]
fn a_panic_a_client_that_goes_and_a_refusal_have_their_lines() {
    let (server, address) = start(&["log=%r %>s %X"]);
    let send = |request: &str| {
        let mut client = Client::connect(&address);
        client.send(request.as_bytes());
        client
    };
    send("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").read_to_end();
    server.wait_line("GET /panic HTTP/1.1 - X");
    let answer = send("GET / HTTP/1.1\r\nHost: a\r\nExpect: much\r\n\r\n").read_response();
    assert_eq!(answer.status, 417);
    server.wait_line("GET / HTTP/1.1 417 -");
    let mut large = send("GET /stream/65536 HTTP/1.1\r\nHost: a\r\n\r\n");
    large.read_until(b"x");
    large.abort();
    server.wait_line("GET /stream/65536 HTTP/1.1 200 X");
    stop(&server);
}

#[test]
fn a_request_that_cannot_be_read_is_logged_with_its_first_line_and_the_reason() {
    // `wait_line` takes a regular expression; what is escaped once in the line is so twice in the format's quotes.
    let (server, address) = start(&["log={\"line\":%r,\"status\":%>s}", "header_timeout=500"]);
    let long = format!("GET /{} HTTP/9.9\r\n\r\n", "x".repeat(1000));
    let cut = format!("GET /{}...", "x".repeat(251));
    for (request, line, status, reason) in [
        ("GET / HTTP/9.9\r\n\r\n", "GET / HTTP/9.9", 400, "HTTP/1.x"),
        ("GET /a b HTTP/1.1\r\n\r\n", "GET /a b HTTP/1.1", 400, "HTTP/1.x"),
        ("GET /?\"\x01 HTTP/1.1\r\n\r\n", r#"GET /?\"\u0001 HTTP/1.1"#, 400, "control byte"),
        ("G\u{e4}T / HTTP/1.1\r\n\r\n", r"G\u00e4T / HTTP/1.1", 400, "method"),
        ("\x16\x03\x01\x02", r"\u0016\u0003\u0001\u0002", 400, "method"),
        ("GET /b HTTP/1.1\r\nX : y\r\n\r\n", "GET /b HTTP/1.1", 400, "no field"),
        (
            "GET /c HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
            "GET /c HTTP/1.1",
            400,
            "Content-Length",
        ),
        (
            "GET /d HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /d HTTP/1.0",
            400,
            "Transfer-Encoding",
        ),
        ("GET /e", "GET /e", 408, "in time"),
        (&long, &cut, 400, "HTTP/1.x"),
    ] {
        // Behind a good one: it is that of the request that was refused.
        let mut client = Client::connect(&address);
        client.send(format!("GET /pid HTTP/1.1\r\nHost: a\r\n\r\n{request}").as_bytes());
        client.read_response();
        assert_eq!(client.read_response().status, status, "{request:?}");
        let logged = format!(r#"{{"line":"{line}","status":{status}}}"#);
        server.wait_until(&logged, || server.lines().iter().any(|it| it.ends_with(&logged)));
        let begun = ": a request of 127.0.0.1:";
        let told = format!(" cannot be read ({status}): ");
        let told = |it: &String| it.contains(begun) && it.contains(&told) && it.contains(reason);
        server.wait_until(reason, || server.lines().iter().any(told));
    }
    stop(&server);
}

#[test]
fn a_flood_of_requests_that_cannot_be_read_does_not_flood_the_log() {
    let (server, address) = start(&["log=%r %>s"]);
    for number in 0..100 {
        let mut client = Client::connect(&address);
        client.send(format!("GET /{number} HTTP/9.9\r\n\r\n").as_bytes());
        assert_eq!(client.read_response().status, 400);
    }
    server.wait_line("GET /99 HTTP/9.9 400");
    // More than one second may pass.
    let told = server.lines().iter().filter(|line| line.contains("cannot be read")).count();
    assert!((1..80).contains(&told), "{told}");
    stop(&server);
}

#[test]
fn the_log_shows_what_was_asked_where_the_target_is_no_uri() {
    let (server, address) = start(&["log=%r %>s"]);
    let mut client = Client::connect(&address);
    client.send(b"GET /?query=up{job=\"x\"}>0&b=\\ HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_response().text(), "hello");
    let line = "GET /?query=up{job=%22x%22}%3E0&b=\\\\ HTTP/1.1 200";
    server.wait_until(line, || server.lines().iter().any(|it| it.ends_with(line)));
    stop(&server);
}

#[test]
fn a_connection_of_http2_that_is_ended_for_what_its_client_did_has_a_line_and_is_counted() {
    let directory = testkit::TempDir::new().expect("a directory");
    let control = directory.path().join("control");
    let (server, address) = start(&["log=%{c}L %r %>s", &format!("control={}", control.display())]);
    let requests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requests/invalid");
    let entries = fs::read_dir(requests).expect("the requests");
    let ends = entries.map(|entry| entry.expect("an entry").path());
    let ended = ["end", "calm"].map(Some);
    let is_ended = |path: &PathBuf| ended.contains(&path.extension().and_then(OsStr::to_str));
    let ends: Vec<_> = ends.filter(is_ended).collect();
    assert!(ends.len() > 15, "they are all there");
    for (index, path) in ends.iter().enumerate() {
        let mut connection = Client::connect(&address);
        let _ = connection.try_send(&fs::read(path).expect("a request"));
        assert!(connection.closed());
        let line = format!("C1.{} - 400", index + 1);
        assert!(server.wait_line(&line).ends_with(&line), "{}", path.display());
    }
    // Who leaves in order was not refused; who says that there was an error could hide one of its own.
    let goodbye = |code| [&b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0"[..], &[code]].concat();
    for goodbye in [Vec::new(), goodbye(0), goodbye(2)] {
        let mut connection = Client::connect(&address);
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        connection.send(&goodbye);
        connection.finish_sending();
        assert!(connection.closed());
    }
    server.wait_line(&format!("C1.{} - 400", ends.len() + 3));
    let control = tine::control::Client::connect(&control);
    let status = control.and_then(|control| control.status()).expect("it answers");
    assert_eq!(status.pools[0].requests, ends.len() as u64 + 1);
    stop(&server);
}

#[test]
fn bytes_of_every_kind_of_answer_are_those_on_the_wire() {
    let (server, address) = start(&["log=%O bytes of %r"]);
    let close = "Connection: close\r\n";
    for (line, fields) in [
        ("GET / HTTP/1.1", close),
        ("HEAD / HTTP/1.1", close),
        ("GET /stream/64 HTTP/1.1", close),
        ("HEAD /stream/64 HTTP/1.1", close),
        ("GET /stream/64 HTTP/1.0", ""),
        ("GET /not-modified HTTP/1.1", close),
        ("GET /none HTTP/1.1", close),
        ("GET /large/100 HTTP/1.0", ""),
        ("GET /break HTTP/1.1", ""),
        ("GET /break HTTP/1.0", ""),
        ("GET / HTTP/1.1", "Host: b\r\n"),
        ("GET / HTTP/1.1", "Expect: much\r\n"),
        ("GET /# HTTP/1.1", ""),
    ] {
        let mut client = Client::connect(&address);
        client.send(format!("{line}\r\nHost: a\r\n{fields}\r\n").as_bytes());
        let answer = client.read_to_end();
        server.wait_line(&format!(" {} bytes of {line}", answer.len()));
    }
    stop(&server);
}

#[test]
fn the_log_has_the_status_that_the_client_got() {
    let (server, address) = start(&["log=%>s and %O bytes of %r"]);
    for path in ["/status/103", "/status/101", "/status/199"] {
        let mut client = Client::connect(&address);
        client.send(
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes(),
        );
        let answer = client.read_to_end();
        assert!(answer.starts_with(b"HTTP/1.1 500 "), "a final answer was asked for");
        server.wait_line("the service has answered with");
        server.wait_line(&format!(" 500 and {} bytes of GET {path}", answer.len()));
    }
    stop(&server);
}

#[test]
fn answers_of_500_and_above_are_counted_as_failures_and_what_was_asked_wrongly_is_not() {
    let directory = testkit::TempDir::new().expect("a directory");
    let control = directory.path().join("control");
    let (server, address) = start(&[&format!("control={}", control.display())]);
    let mut client = Client::connect(&address);
    for code in [500, 200, 503, 404] {
        assert_eq!(client.get(&format!("/status/{code}")).status, code);
    }
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: much\r\n\r\n");
    assert_eq!(client.read_response().status, 417);
    let control = tine::control::Client::connect(&control);
    let status = control.and_then(|control| control.status()).expect("it answers");
    let (pool, worker) = (&status.pools[0], &status.workers[0]);
    assert_eq!((pool.requests, pool.errors, worker.errors), (5, 2, 2));
    stop(&server);
}

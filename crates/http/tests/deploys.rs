//! What is in flight for long when a service is reloaded, or stops: it has its end.

mod support;

use std::net::TcpStream;
use std::thread;

use support::start;
use testkit::{Client, DEADLINE, Running, client};
use tungstenite::{Message, WebSocket};

const SIGHUP: i32 = 1;
const SIGTERM: i32 = 15;

/// 50 MB.
const DOWNLOAD: usize = 48_829 * 1024;

/// An answer that takes three seconds, a download, and a WebSocket, each with a worker of its own where they are
/// isolated; `meanwhile` happens to the service.
fn all_end_well(concurrency: &str, meanwhile: impl Fn(&Running)) -> Running {
    let (server, address) = start(&["4", concurrency]);
    let mut slow = Client::connect(&address);
    slow.send(b"GET /slow/3000 HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut download = Client::connect(&address);
    download.send(b"GET /stream/48829 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let head = download.read_until(b"\r\n\r\n");
    assert!(head.starts_with(b"HTTP/1.1 200"), "{head:?}");
    let mut socket = web_socket(&address);
    says(&mut socket, "before");
    assert_eq!(client::get(&address, "/").text(), "hello", "the slow one is being handled");
    meanwhile(&server);
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(slow.read_response().text(), "at last"));
        scope.spawn(|| {
            let body = download.read_to_end();
            // Framing of chunks is more than the body, and little of it.
            assert!(body.ends_with(b"\r\n0\r\n\r\n"), "the last chunk has come");
            assert!(body.len() > DOWNLOAD, "{}", body.len());
        });
        says(&mut socket, "after");
    });
    says(&mut socket, "at the end");
    socket.close(None).expect("it is open");
    while socket.can_read() {
        let _ = socket.read();
    }
    server
}

fn web_socket(address: &str) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let url = format!("ws://{address}/web-socket");
    tungstenite::client(url, stream).expect("it becomes a WebSocket").0
}

#[track_caller]
fn says(socket: &mut WebSocket<TcpStream>, word: &str) {
    socket.send(Message::text(word)).expect("it is open");
    assert_eq!(socket.read().expect("it answers"), Message::text(word));
}

#[test]
fn a_slow_answer_a_download_and_a_web_socket_outlive_reloads() {
    for concurrency in ["1", "100"] {
        let server = all_end_well(concurrency, |server| {
            for generation in 2..4 {
                server.signal(SIGHUP);
                server.wait_line(&format!("generation {generation} serves"));
            }
        });
        // Those of the first two generations have nothing left to wait for.
        server.wait_children(4);
        server.signal(SIGTERM);
        assert!(server.wait_exit().success());
    }
}

#[test]
fn a_slow_answer_a_download_and_a_web_socket_are_waited_for_by_a_stop() {
    for concurrency in ["1", "100"] {
        let server = all_end_well(concurrency, |server| {
            server.signal(SIGTERM);
            server.wait_line("stopping");
        });
        assert!(server.wait_exit().success());
    }
}

//! The client against servers of one connection.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::thread;

use super::*;

/// A server for one connection; its address.
fn serve(with: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its number").to_string();
    thread::spawn(move || with(listener.accept().expect("a connection").0));
    address
}

#[test]
fn pipelined_responses_come_one_by_one_and_leftovers_are_kept() {
    let address = serve(|mut stream| {
        let mut request = [0; 4];
        stream.read_exact(&mut request).expect("a request");
        let answers = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na\
            HTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nbrest of it";
        stream.write_all(answers).expect("an answer");
    });
    let mut client = Client::connect(&address);
    client.send(b"ping");
    assert_eq!(client.read_response().text(), "a");
    let second = client.read_response();
    assert_eq!((second.status, second.text().as_str()), (404, "b"));
    assert_eq!(client.read_until(b" "), b"rest ");
    assert_eq!(client.read_exact(2), b"of");
    assert!(client.closed() && !client.was_reset());
    assert_eq!(client.read_to_end(), b" it");
}

#[test]
fn a_deadline_an_end_and_a_reset_are_told_apart() {
    let mut silent = Client::connect(&serve(|mut stream| drop(stream.read_exact(&mut [0; 5]))));
    silent.set_deadline(Duration::from_millis(20));
    assert!(!silent.closed());
    assert_eq!(silent.try_read_response().map_err(|error| error.kind()), Err(ErrorKind::TimedOut));
    silent.set_deadline(DEADLINE);
    silent.send(b"12345");
    assert_eq!(
        silent.try_read_response().map_err(|error| error.kind()),
        Err(ErrorKind::UnexpectedEof)
    );

    // Closing with unread bytes resets.
    let mut reset = Client::connect(&serve(|stream| drop(stream.peek(&mut [0; 1]))));
    reset.send(b"unread");
    assert_eq!(
        reset.try_read_response().map_err(|error| error.kind()),
        Err(ErrorKind::ConnectionReset)
    );
    assert!(reset.closed() && reset.was_reset());
}

#[test]
fn unix_sockets_by_path_and_one_shot_requests() {
    let directory = crate::TempDir::new().expect("a directory");
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).expect("a socket");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request");
            request.extend(byte);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nbye").expect("an answer");
        String::from_utf8(request).expect("text")
    });
    let response = get(&format!("unix:{}", path.display()), "/x");
    assert_eq!((response.text().as_str(), response.closes()), ("bye", true));
    assert_eq!(
        server.join().expect("it served"),
        "GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    );
    assert!(Client::try_connect("unix:/nonexistent").is_err());
}

//! Started by somebody else: with its sockets, or with its one connection.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Output, Stdio};

use testkit::{DEADLINE, Server, TempDir};

fn site() -> TempDir {
    let site = TempDir::new().expect("a directory");
    std::fs::write(site.path().join("index.html"), "hello").expect("a file");
    site
}

/// What `tine serve --inetd` makes of a request that a client has sent already.
fn inetd(site: &TempDir, request: &[u8]) -> (Output, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut client = TcpStream::connect(address).expect("somebody listens");
    client.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    client.write_all(request).expect("it is sent");
    let connection: OwnedFd = listener.accept().expect("a connection").0.into();
    let output = Command::new(env!("CARGO_BIN_EXE_tine"))
        .args(["serve", "--inetd"])
        .arg(site.path())
        .stdin(Stdio::from(connection.try_clone().expect("a copy")))
        .stdout(Stdio::from(connection))
        .stderr(Stdio::piped())
        .output()
        .expect("it runs");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it ends");
    (output, answer)
}

#[test]
fn one_connection_on_standard_input_is_served_and_that_is_all() {
    let site = site();
    let requests =
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let (output, answer) = inetd(&site, requests);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"), "{answer}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "nobody is told anything");
}

#[test]
fn a_client_that_has_gone_already_is_no_failure() {
    let site = site();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let client = TcpStream::connect(address).expect("somebody listens");
    let mut connection = listener.accept().expect("a connection").0;
    connection.write_all(b"unread").expect("it is sent");
    let mut byte = [0];
    client.peek(&mut byte).expect("it has arrived");
    // With something unread that is a reset (RFC 1122, 4.2.2.13).
    drop(client);
    connection.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    connection.read(&mut byte).expect_err("it is reset");
    let output = Command::new(env!("CARGO_BIN_EXE_tine"))
        .args(["serve", "--inetd"])
        .arg(site.path())
        .stdin(Stdio::from(OwnedFd::from(connection)))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "nobody is told anything");
}

#[test]
fn a_socket_that_listens_on_standard_input_is_served_until_term() {
    let site = site();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let server = Server::command("/bin/sh")
        .args(["-c", "exec \"$0\" serve --inetd \"$1\" <&3 3<&-", env!("CARGO_BIN_EXE_tine")])
        .arg(site.path())
        .listener(listener, 3)
        .start();
    for _ in 0..3 {
        assert_eq!(testkit::client::get(&address, "/").text(), "hello");
    }
    assert!(server.try_exit().is_none(), "it waits for more");
    server.signal(15);
    let status = server.wait_exit();
    assert!(status.success(), "{status:?}");
}

#[test]
fn without_a_connection_there_is_nothing_to_serve() {
    let output = Command::new(env!("CARGO_BIN_EXE_tine"))
        .args(["serve", "--inetd"])
        .arg(site().path())
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("standard input is no connection") && text.contains("inetd"), "{text}");
}

/// `tine serve --inherited`, with two sockets from number 3 on.
fn inherited(site: &TempDir) -> (Server, [String; 2]) {
    let sockets = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let addresses = sockets.each_ref().map(|it| it.local_addr().expect("an address").to_string());
    let server = Server::command(env!("CARGO_BIN_EXE_tine"))
        .args(["serve", "--inherited", "--workers", "1", "--control", "off"])
        .arg(site.path())
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", "web:admin");
    let server = sockets
        .into_iter()
        .zip(3..)
        .fold(server, |server, (socket, number)| server.listener(socket, number));
    (server, addresses)
}

#[test]
fn sockets_that_were_passed_in_are_served_and_no_worker_is_told_of_them() {
    let site = site();
    let (server, addresses) = inherited(&site);
    let server = server.env_own_pid("LISTEN_PID").start();
    let worker = server.wait_children(1)[0];
    for address in &addresses {
        server.wait_line(&format!("listening on {address}"));
        let mut client = TcpStream::connect(address).expect("it listens");
        client.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it is sent");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        assert!(answer.ends_with("hello"), "{answer}");
    }
    let listening = server.count_lines("listening on");
    assert_eq!(listening, 2, "and nowhere else");
    assert!(testkit::alive(worker));
    server.signal(15);
    assert!(server.wait_exit().success());
}

#[test]
fn sockets_of_another_process_are_refused() {
    let site = site();
    let (server, _) = inherited(&site);
    let server = server.env("LISTEN_PID", "1").start();
    assert_eq!(server.wait_exit().code(), Some(2));
    server.wait_line("are process 1's (LISTEN_PID)");
    let none = Server::command(env!("CARGO_BIN_EXE_tine"))
        .args(["serve", "--inherited", "--control", "off"])
        .arg(site.path())
        .env_remove("LISTEN_PID")
        .start();
    assert_eq!(none.wait_exit().code(), Some(2));
    none.wait_line("no sockets were passed in: none of LISTEN_FDS (systemd)");
}

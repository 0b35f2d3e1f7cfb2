//! The examples do what they say.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;

use testkit::{Client, Running, Server, TempDir, bin};

fn start(example: &str, address: &str) -> Running {
    Server::command(bin(&format!("examples/{example}"))).arg(address).start()
}

fn stop(server: &Running) {
    server.signal(15);
    assert!(server.wait_exit().success());
}

#[test]
fn echo_says_what_it_hears() {
    let server = start("echo", "127.0.0.1:0");
    for _ in 0..3 {
        let mut client = Client::connect(&server.address());
        client.send(b"hello");
        client.finish_sending();
        assert_eq!(client.read_to_end(), b"hello");
    }
    stop(&server);
}

#[test]
fn udp_sends_datagrams_back() {
    let server = start("udp", "udp:127.0.0.1:0");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(testkit::DEADLINE)).expect("a deadline");
    socket.connect(server.address().trim_start_matches("udp:")).expect("an address");
    socket.send(b"hello").expect("it is sent");
    let mut buffer = [0; 16];
    let length = socket.recv(&mut buffer).expect("an answer");
    assert_eq!(&buffer[..length], b"hello");
}

#[test]
fn unix_socket_shouts_and_cleans_up() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("socket");
    let server = start("unix_socket", &path.display().to_string());
    let mut client = Client::connect(&server.address());
    client.send(b"one\ntwo\n");
    assert_eq!(client.read_until(b"TWO!\n"), b"ONE!\nTWO!\n");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    drop(client);
    stop(&server);
    assert!(!path.exists());
}

#[test]
fn command_runs_a_program_that_takes_its_socket() {
    let words = ["127.0.0.1:0".as_ref(), bin("fixture").as_os_str()].map(ToOwned::to_owned);
    let server = Server::command(bin("examples/command")).args(words).args(["--foreign", "3"]);
    let server = server.start();
    let text = Client::connect(&server.address()).read_to_end();
    let pid = String::from_utf8(text).expect("text").trim().parse().expect("a pid");
    stop(&server);
    testkit::wait_gone(pid);
}

#[test]
fn exec_runs_main_in_every_worker() {
    let server = start("exec", "127.0.0.1:0");
    let text = Client::connect(&server.address()).read_to_end();
    assert!(text.starts_with(b"hello from place "), "{:?}", String::from_utf8_lossy(&text));
    server.wait_until("each says so", || server.count_lines("main runs in a worker") == 2);
    assert_eq!(server.count_lines("main runs in the supervisor"), 1);
    stop(&server);
}

#[test]
fn own_loop_greets_and_leaves_when_told_to() {
    let server = start("own_loop", "127.0.0.1:0");
    for _ in 0..20 {
        let text = Client::connect(&server.address()).read_to_end();
        let text = String::from_utf8(text).expect("text");
        assert!(text.starts_with("hello 127.0.0.1:") && text.contains("this is place"), "{text}");
    }
    stop(&server);
}

#[test]
fn own_loop_is_recycled_and_loses_nobody() {
    let server = start("own_loop", "127.0.0.1:0");
    let before = server.wait_children(4);
    for _ in 0..5000 {
        let text = Client::connect(&server.address()).read_to_end();
        assert!(text.starts_with(b"hello"), "{:?}", String::from_utf8_lossy(&text));
    }
    let after = server.children();
    assert!(before.iter().any(|pid| !after.contains(pid)), "{before:?} {after:?}");
    stop(&server);
}

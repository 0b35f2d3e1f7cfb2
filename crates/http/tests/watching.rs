//! Requests that hang, in workers that serve one connection at a time and in workers that serve many.

use testkit::{Client, Running, Server, alive, bin, client, wait_gone};

fn start(concurrency: &str, timeout: &str) -> (Running, String) {
    let server = Server::command(bin("examples/http_fixture"))
        .args(["127.0.0.1:0", "2", concurrency, &format!("request_timeout={timeout}")])
        .start();
    let address = server.address();
    (server, address)
}

fn stop(server: &Running) {
    server.signal(15);
    assert!(server.wait_exit().success());
}

/// A connection, and the worker that serves it.
fn connect(address: &str) -> (Client, u32) {
    let mut connection = Client::connect(address);
    let pid = connection.get("/pid").text().parse().expect("a pid");
    (connection, pid)
}

fn ask(connection: &mut Client, path: &str) {
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
}

#[test]
fn a_handler_that_blocks_its_multiplexed_worker_is_ended_and_replaced() {
    let (server, address) = start("100", "300");
    server.wait_children(2);
    let (mut connection, pid) = connect(&address);
    ask(&mut connection, "/block?secret=1");
    let line = server.wait_line("has not come up for air for");
    assert!(line.contains(&format!("(pid {pid}, ")), "{line}");
    assert!(line.contains(r#"it was working "GET /block?… HTTP/1.1" of 127.0.0.1:"#), "{line}");
    wait_gone(pid);
    assert!(connection.closed());
    server.wait_children(2);
    assert_eq!(client::get(&address, "/").text(), "hello");
    stop(&server);
}

#[test]
fn an_isolated_workers_request_that_waits_for_ever_is_ended() {
    let (server, address) = start("1", "300");
    let (mut connection, pid) = connect(&address);
    ask(&mut connection, "/forever");
    server.wait_line("has been at a request for");
    wait_gone(pid);
    stop(&server);
}

#[test]
fn a_request_that_comes_while_other_workers_are_still_forked_is_watched_too() {
    let server = Server::command(bin("examples/http_fixture"))
        .args(["127.0.0.1:0", "64", "1", "request_timeout=300"])
        .start();
    // It listens, and forks.
    let (mut connection, pid) = connect(&server.address());
    ask(&mut connection, "/forever");
    server.wait_line("has been at a request for");
    wait_gone(pid);
    stop(&server);
}

#[test]
fn an_isolated_workers_answer_that_does_not_come_to_its_end_is_ended() {
    let (server, address) = start("1", "300");
    let (mut connection, pid) = connect(&address);
    ask(&mut connection, "/stuck?secret=1");
    connection.read_until(b"so far");
    let line = server.wait_line("has been at a request for");
    assert!(line.contains(&format!("(pid {pid}, ")), "{line}");
    assert!(line.contains(r#"it was working "GET /stuck?… HTTP/1.1""#), "{line}");
    wait_gone(pid);
    stop(&server);
}

#[test]
fn a_client_that_takes_its_time_with_an_answer_is_no_request_that_hangs() {
    let (server, address) = start("1", "300");
    let (mut slow, pid) = connect(&address);
    ask(&mut slow, "/stream/32768");
    slow.read_until(b"xxxx");
    // Who began later than this one began to wait has been found, looking at all of them.
    let (mut stuck, other) = connect(&address);
    assert_ne!(pid, other);
    ask(&mut stuck, "/forever");
    server.wait_line("has been at a request for");
    wait_gone(other);
    let rest = (32768 * 1024) - 4;
    assert!(slow.try_read_exact(rest).is_ok(), "it is cut");
    assert!(alive(pid));
    stop(&server);
}

#[test]
fn a_multiplexed_workers_long_requests_are_nobodys_business() {
    let (server, address) = start("100", "300");
    let (mut connection, pid) = connect(&address);
    assert_eq!(connection.get("/slow/2500").text(), "at last");
    assert!(alive(pid));
    stop(&server);
}

#[test]
fn an_idle_connection_of_an_isolated_worker_is_no_request() {
    let (server, address) = start("1", "300");
    server.wait_children(2);
    let (mut connection, pid) = connect(&address);
    // Who began later than this one fell silent has been found, looking at all of them: it was passed over.
    let (mut stuck, other) = connect(&address);
    assert_ne!(pid, other);
    ask(&mut stuck, "/forever");
    let line = server.wait_line("has been at a request for");
    assert!(line.contains(&format!("(pid {other}, ")), "{line}");
    wait_gone(other);
    assert_eq!(connection.get("/pid").text(), pid.to_string());
    stop(&server);
}

#[test]
fn a_panic_that_costs_a_multiplexed_worker_one_connection_is_reported() {
    let (server, address) = start("100", "60000");
    let (mut bystander, pid) = connect(&address);
    let (mut victim, _) = loop {
        let (connection, other) = connect(&address);
        if other == pid {
            break (connection, other);
        }
    };
    ask(&mut victim, "/panic");
    assert!(victim.closed());
    let line = server.wait_line("lost a connection: its handler panicked");
    assert!(line.contains(&format!("(pid {pid}, ")) && line.contains(": as asked"), "{line}");
    assert!(line.contains(r#""GET /panic HTTP/1.1""#), "{line}");
    assert_eq!(bystander.get("/pid").text(), pid.to_string(), "the worker goes on");
    stop(&server);
}

#[test]
fn a_handler_can_say_that_the_service_cannot_go_on() {
    let (server, address) = start("100", "60000");
    let pids = server.wait_children(2);
    let (mut bystander, _) = connect(&address);
    ask(&mut bystander, "/slow/500");
    // Its own answer arrives, and so does everybody's that is in flight.
    assert_eq!(client::get(&address, "/fatal").text(), "as asked");
    assert_eq!(bystander.read_response().text(), "at last");
    assert_eq!(server.wait_exit().code(), Some(1));
    server.wait_line("cannot go on: the licence has run out");
    pids.into_iter().for_each(wait_gone);
}

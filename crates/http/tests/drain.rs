//! What a worker that leaves owes its connections, and what an idle one owes its background work.

mod support;

use std::time::{Duration, Instant};

use support::{
    DATA, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, frame, frame_of, get, http2, start,
};
use testkit::load::Load;
use testkit::{Client, DEADLINE, Server, TempDir, bin, client, wait_gone, wait_until};

const SIGTERM: i32 = 15;
const SIGHUP: i32 = 1;

#[test]
fn background_work_goes_on_while_its_isolated_worker_is_idle() {
    let directory = TempDir::new().expect("a directory");
    let (server, address) = start(&["1", "1"]);
    let file = directory.path().join("done");
    assert_eq!(client::get(&address, &format!("/later{}", file.display())).text(), "soon");
    wait_until("the job's file, with nobody connected", DEADLINE, || file.exists());
    server.signal(SIGTERM);
    assert!(server.wait_exit().success());
}

#[test]
fn an_answer_of_a_leaving_worker_says_close_and_none_before_did() {
    for concurrency in ["2", "100"] {
        let (server, address) = start(&["1", concurrency]);
        let mut connection = Client::connect(&address);
        assert!(!connection.get("/").closes());
        server.signal(SIGTERM);
        server.wait_line("stopping");
        // The worker hears of it a moment after the log; until then answers are as before.
        wait_until("an answer that says close", DEADLINE, || connection.get("/").closes());
        assert!(server.wait_exit().success());
    }
}

#[test]
fn a_request_in_flight_is_answered_while_the_service_stops() {
    let (server, address) = start(&["1", "100"]);
    let mut connection = Client::connect(&address);
    connection.send(b"GET /slow/1500 HTTP/1.1\r\nHost: a\r\n\r\n");
    // Once another is answered, the slow one is being handled.
    assert_eq!(client::get(&address, "/").text(), "hello");
    server.signal(SIGTERM);
    server.wait_line("stopping");
    // Far less than the request takes: accepting ends at once, and not with what is in flight.
    let soon = Duration::from_millis(500);
    wait_until("connections are refused", soon, || Client::try_connect(&address).is_err());
    assert!(server.try_exit().is_none(), "a request is in flight");
    assert_eq!(connection.read_response().text(), "at last");
    assert!(server.wait_exit().success());
}

#[test]
fn busy_keep_alive_connections_lose_nothing_when_every_worker_is_replaced() {
    for think in [0, 1, 5] {
        let (server, address) = start(&["2", "100"]);
        let think = Duration::from_millis(think);
        let load = Load::keep_alive(&address, "/").connections(64).think(think).start();
        for generation in 2..5 {
            load.wait_answered(300);
            server.signal(SIGHUP);
            server.wait_line(&format!("generation {generation} serves"));
        }
        load.wait_answered(300);
        let report = load.stop();
        assert_eq!(report.failed_total, 0, "{report:?}");
    }
}

#[test]
fn a_body_that_nothing_reads_and_that_comes_slowly_does_not_hold_a_stop_up() {
    let (server, address) = start(&["1", "100", "drain_idle=200"]);
    let mut client = Client::connect(&address);
    client.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    assert_eq!(client.read_response().text(), "not read");
    server.signal(SIGTERM);
    wait_until("the end, while more of the body comes", DEADLINE, || {
        let _ = client.try_send(b"x");
        server.try_exit().is_some()
    });
    assert!(server.wait_exit().success());
}

#[test]
fn half_a_request_does_not_hold_a_stop_up() {
    let (server, address) = start(&["1", "100"]);
    let mut connection = Client::connect(&address);
    connection.send(b"GET / HT");
    assert_eq!(client::get(&address, "/").text(), "hello");
    let asked = Instant::now();
    server.signal(SIGTERM);
    assert!(server.wait_exit().success());
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
}

#[test]
fn a_client_that_says_pings_and_answers_none_does_not_hold_a_leaving_worker() {
    let (server, address) = start(&["1", "100"]);
    let mut connection = http2(&address);
    connection.send(&frame(HEADERS, 5, 1, &get("/pid")));
    let pid = frame_of(&mut connection, DATA).payload;
    server.signal(SIGHUP);
    server.wait_line("generation 2 serves");
    let asked = Instant::now();
    connection.set_deadline(Duration::from_millis(250));
    while connection.try_send(&frame(PING, 0, 0, b"are you?")).is_ok() {
        assert!(asked.elapsed() < Duration::from_secs(20), "it may go on");
        // Its answer, and for a while nothing: too many pings are a flood.
        while connection.try_read_exact(1).is_ok() {}
    }
    let pid = String::from_utf8(pid).expect("a number").parse().expect("a number");
    wait_gone(pid);
}

#[test]
fn a_slow_reader_has_all_of_its_answer_before_its_connection_is_silent() {
    // Longer than this client may be kept from its next request by whatever else runs here.
    let (server, address) = start(&["1", "100", "drain_idle=5000"]);
    let mut connection = Client::connect(&address);
    connection.send(b"GET /large/4096 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client::get(&address, "/").text(), "hello");
    server.signal(SIGHUP);
    server.wait_line("generation 2 serves");
    let answer = connection.read_response();
    assert_eq!(answer.body.len(), 4096 * 1024);
    // Its connection is open, or the answer has said that it is not.
    if !answer.closes() {
        assert_eq!(connection.get("/").text(), "hello");
    }
}

#[test]
fn a_panic_ends_its_own_connection_and_the_service_goes_on() {
    for concurrency in ["1", "100"] {
        let (server, address) = start(&["2", concurrency]);
        let mut connection = Client::connect(&address);
        connection.send(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(connection.read_to_end().is_empty());
        for _ in 0..20 {
            assert_eq!(client::get(&address, "/").text(), "hello");
        }
        server.wait_until("two workers", || server.children().len() == 2);
    }
}

#[test]
fn a_panic_over_http2_ends_its_stream_and_an_isolated_worker() {
    for (concurrency, said) in
        [("1", "panicked"), ("100", "lost a connection: its handler panicked")]
    {
        let (server, address) = start(&["1", concurrency]);
        let before = server.wait_children(1);
        let mut connection = Client::connect(&address);
        connection.send(PREFACE);
        connection.send(&frame(SETTINGS, 0, 0, &[]));
        connection.send(&frame(HEADERS, 5, 1, &get("/panic")));
        server.wait_line(said);
        if concurrency == "1" {
            assert!(connection.closed());
            assert_eq!(client::get(&address, "/").text(), "hello");
            assert_ne!(server.wait_children(1), before);
        } else {
            frame_of(&mut connection, RST_STREAM);
            connection.send(&frame(HEADERS, 5, 3, &get("/")));
            assert_eq!(frame_of(&mut connection, DATA).payload, b"hello");
            assert_eq!(server.children(), before);
        }
    }
}

#[test]
fn the_axum_example_answers_and_stops() {
    let server = Server::command(bin("examples/axum")).arg("127.0.0.1:0").start();
    let address = server.address();
    assert_eq!(client::get(&address, "/").text(), "hello");
    assert!(client::get(&address, "/whoami").text().starts_with("place "));
    server.signal(SIGTERM);
    assert!(server.wait_exit().success());
}

#[test]
fn a_worker_waits_for_work_that_holds_its_exit_guard() {
    for concurrency in ["1", "100"] {
        let directory = TempDir::new().expect("a directory");
        let (server, address) = start(&["1", concurrency]);
        let file = directory.path().join("done");
        let path = format!("/guarded/1000{}", file.display());
        assert_eq!(client::get(&address, &path).text(), "soon");
        server.signal(SIGTERM);
        assert!(server.wait_exit().success());
        assert!(file.exists(), "the worker left before its work was done");
    }
}

#[test]
fn a_guard_that_is_held_for_ever_delays_a_stop_and_a_reload_until_the_deadline_alone() {
    const DEADLINE: Duration = Duration::from_millis(1500);
    const FOR_EVER: &str = "/guarded/3600000/dev/null";
    for concurrency in ["1", "100"] {
        let deadlines = ["stop_timeout=1500", "drain_timeout=1500"];
        let (server, address) = start(&[&["1", concurrency], &deadlines[..]].concat());
        for signal in [SIGHUP, SIGTERM] {
            let pid: u32 = client::get(&address, "/pid").text().parse().expect("a number");
            assert_eq!(client::get(&address, FOR_EVER).text(), "soon");
            let asked = Instant::now();
            server.signal(signal);
            if signal == SIGHUP {
                server.wait_line("generation 2 serves");
                // It holds nobody else up meanwhile.
                assert_ne!(client::get(&address, "/pid").text(), pid.to_string());
                assert!(asked.elapsed() < DEADLINE, "{:?}", asked.elapsed());
            }
            wait_gone(pid);
            let waited = asked.elapsed();
            // A second lies between SIGTERM and SIGKILL.
            assert!(waited >= DEADLINE && waited < DEADLINE * 4, "{concurrency}: {waited:?}");
            server.wait_line(&format!("(pid {pid}, main place 0) was killed by SIGKILL"));
        }
        assert!(server.wait_exit().success());
    }
}

#[test]
fn a_released_guard_holds_nobody_up() {
    let (server, address) = start(&["1", "100"]);
    assert_eq!(client::get(&address, "/guarded/0/dev/null").text(), "soon");
    let asked = Instant::now();
    server.signal(SIGTERM);
    assert!(server.wait_exit().success());
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn a_worker_at_its_limit_finishes_what_is_in_flight_when_all_stop() {
    let (server, address) = start(&["1", "100", "2"]);
    let mut slow = Client::connect(&address);
    slow.send(b"GET /slow/1000 HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..2 {
        assert_eq!(client::get(&address, "/").text(), "hello");
    }
    // The first worker is at its limit: somebody else answers now.
    server.wait_until("a successor", || server.children().len() == 2);
    server.signal(SIGTERM);
    assert_eq!(slow.read_response().text(), "at last");
    assert!(server.wait_exit().success());
}

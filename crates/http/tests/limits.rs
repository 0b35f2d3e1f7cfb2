//! What a client may take of a worker, and what it costs the others.

mod support;

use std::time::{Duration, Instant};

use support::{DATA, HEADERS, PREFACE, SETTINGS, frame, frame_of, get, start, takes_slowly};
use testkit::load::Load;
use testkit::process::pss_kib;
use testkit::{Client, client, wait_until};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &[u8] = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";

#[test]
fn a_connection_without_a_request_is_closed_without_a_word() {
    let (_server, address) = start(&["1", "100", "idle_timeout=200"]);
    assert_eq!(Client::connect(&address).read_to_end(), b"");
    let mut used = Client::connect(&address);
    assert_eq!(used.get("/").text(), "hello");
    assert_eq!(used.read_to_end(), b"");
    assert!(!used.was_reset());
}

#[test]
fn a_header_that_comes_byte_by_byte_has_its_time_and_no_more() {
    for concurrency in ["1", "100"] {
        let (_server, address) = start(&["1", concurrency, "header_timeout=500"]);
        let mut slow = Client::connect(&address);
        // The time of a request's header begins with the request, not with the connection.
        assert_eq!(slow.get("/slow/600").text(), "at last");
        slow.set_deadline(Duration::from_millis(20));
        let began = Instant::now();
        let answer = loop {
            let _ = slow.try_send(b"X");
            match slow.try_read_response() {
                Ok(answer) => break answer,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::TimedOut),
            }
        };
        assert_eq!((answer.status, answer.closes()), (408, true));
        assert!(began.elapsed() > Duration::from_millis(450), "{:?}", began.elapsed());
        assert_eq!(client::get(&address, "/").text(), "hello");
    }
}

#[test]
fn a_body_that_trickles_is_too_slow_and_one_the_application_waits_with_is_not() {
    let (_server, address) = start(&["1", "100", "body_timeout=400"]);
    let mut slow = Client::connect(&address);
    slow.send(POST);
    slow.set_deadline(Duration::from_millis(20));
    let answer = loop {
        let _ = slow.try_send(b"X");
        if let Ok(answer) = slow.try_read_response() {
            break answer;
        }
    };
    assert_eq!((answer.status, answer.closes()), (408, true));
    // Faster than the rate, and longer than the timeout.
    let mut steady = Client::connect(&address);
    steady.send(POST);
    for _ in 0..20 {
        assert_eq!(client::get(&address, "/slow/40").text(), "at last");
        steady.send(&[b'x'; 5000]);
    }
    assert_eq!(steady.read_response().body.len(), 100_000);
}

#[test]
fn a_connection_ends_after_its_number_of_requests() {
    let (_server, address) = start(&["1", "100", "requests=3"]);
    let mut connection = Client::connect(&address);
    let last: Vec<bool> = (0..3).map(|_| connection.get("/").closes()).collect();
    assert_eq!(last, [false, false, true]);
    assert!(connection.closed());
}

#[test]
fn requests_that_are_refused_count_like_others() {
    let (server, address) = start(&["1", "100", "4", "header_timeout=300"]);
    let worker = server.wait_children(1);
    for request in [&b"\0\r\n\r\n"[..], b"GET / HTTP/1.1\r\n\r\n", b"GET /", b"GET /\r\n\r\n"] {
        let mut connection = Client::connect(&address);
        connection.send(request);
        assert!(connection.read_response().status >= 400);
    }
    server
        .wait_until("a successor", || server.children().len() == 1 && server.children() != worker);
}

#[test]
fn a_client_that_takes_nothing_is_dropped() {
    let (_server, address) = start(&["1", "1", "send_timeout=300"]);
    let mut stalled = Client::connect(&address);
    stalled.send(b"GET /large/16384 HTTP/1.1\r\nHost: a\r\n\r\n");
    // The worker is isolated: it answers another one when it has dropped the first.
    assert_eq!(client::get(&address, "/").text(), "hello");
    assert!(stalled.read_to_end().len() < 16384 * 1024);
}

#[test]
fn a_client_that_takes_nothing_is_dropped_as_soon_where_others_are_served_meanwhile() {
    let (_server, address) = start(&["1", "100", "send_timeout=300"]);
    let mut stalled = Client::connect(&address);
    stalled.send(b"GET /large/16384 HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("it is dropped", Duration::from_secs(5), || stalled.try_send(b"GET").is_err());
    assert!(stalled.read_to_end().len() < 16384 * 1024);
}

#[test]
fn a_client_that_takes_little_by_little_is_not_dropped() {
    let (_server, address) = start(&["1", "100", "send_timeout=2000", "idle_timeout=1000"]);
    let mut slow = Client::connect(&address);
    assert!(takes_slowly(&mut slow));
}

/// A client that has been answered over HTTP/2, and lets nothing of the body come.
fn with_a_shut_window(address: &str) -> Client {
    let mut stalled = Client::connect(address);
    stalled.send(PREFACE);
    // SETTINGS_INITIAL_WINDOW_SIZE of 0.
    stalled.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    stalled.send(&frame(HEADERS, 5, 1, &get("/")));
    assert_eq!(frame_of(&mut stalled, HEADERS).payload[0], 0x88);
    stalled
}

#[test]
fn an_http2_window_that_stays_shut_does_not_hold_the_connection() {
    let (_server, address) = start(&["1", "1", "send_timeout=300"]);
    let mut stalled = with_a_shut_window(&address);
    assert_eq!(client::get(&address, "/").text(), "hello");
    assert!(stalled.closed());
}

/// What the worker answers to pings is nothing the client has asked for.
#[test]
fn an_http2_window_that_stays_shut_is_not_held_open_by_pings() {
    let (_server, address) = start(&["1", "1", "send_timeout=300"]);
    let mut stalled = with_a_shut_window(&address);
    wait_until("it is not held by pings", Duration::from_secs(5), || {
        stalled.try_send(&frame(support::PING, 0, 0, b"its time")).is_err()
    });
    assert_eq!(client::get(&address, "/").text(), "hello");
}

#[test]
fn http2_streams_at_once_are_bounded() {
    let (_server, address) = start(&["1", "100"]);
    let mut greedy = Client::connect(&address);
    greedy.send(PREFACE);
    greedy.send(&frame(SETTINGS, 0, 0, b""));
    let settings = frame_of(&mut greedy, SETTINGS).payload;
    let streams = settings.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("a bound");
    assert_eq!(streams[2..], [0, 0, 0, 100]);
    for stream in 0..101 {
        greedy.send(&frame(HEADERS, 5, stream * 2 + 1, &get("/slow/300")));
    }
    let refused = frame_of(&mut greedy, support::RST_STREAM);
    assert_eq!((refused.stream, &refused.payload[..]), (201, &[0, 0, 0, 7][..]), "REFUSED_STREAM");
    assert_eq!(frame_of(&mut greedy, DATA).payload, b"at last");
}

/// hyper ends one that does not wait for anything sooner.
#[test]
fn an_http2_client_that_cancels_what_it_asks_for_is_ended_at_the_limit_however_slowly_it_does() {
    let (_server, address) = start(&["1", "100", "resets=50"]);
    let mut fickle = support::http2(&address);
    let mut cancelled = 0;
    // Each has begun, and each is over, before the next.
    while pong(&mut fickle, &frame(HEADERS, 5, cancelled * 2 + 1, &get("/forever")))
        && pong(&mut fickle, &frame(support::RST_STREAM, 0, cancelled * 2 + 1, &[0, 0, 0, 8]))
    {
        cancelled += 1;
        assert!(cancelled < 60, "it is not ended");
    }
    assert!((50..=52).contains(&cancelled), "{cancelled}");
}

/// Sends a frame and a ping behind it: whether that is answered.
fn pong(client: &mut Client, frame_before: &[u8]) -> bool {
    let ping = frame(support::PING, 0, 0, b"have you");
    client.try_send(&[frame_before, &ping].concat()).is_ok()
        && std::iter::from_fn(|| support::read_frame(client))
            .any(|frame| frame.kind == support::PING && frame.payload == b"have you")
}

#[test]
fn an_http2_client_may_ping_and_move_its_windows_with_all_it_receives() {
    let (_server, address) = start(&["1", "100"]);
    let mut eager = support::http2(&address);
    eager.send(&frame(HEADERS, 5, 1, &get("/large/32768")));
    let mut received = 0;
    while received < 32768 * 1024 {
        let data = frame_of(&mut eager, DATA);
        received += data.payload.len();
        let length = u32::try_from(data.payload.len()).expect("a frame").to_be_bytes();
        let windows = [0, 1].map(|stream| frame(support::WINDOW_UPDATE, 0, stream, &length));
        eager.send(&[windows.concat(), frame(support::PING, 0, 0, b"how fast")].concat());
    }
    assert!(pong(&mut eager, b""));
}

#[test]
fn an_http2_client_may_ping_with_all_it_sends() {
    let (_server, address) = start(&["1", "100"]);
    let mut eager = support::http2(&address);
    eager.send(&frame(HEADERS, 4, 1, &support::post("/echo")));
    for _ in 0..2000 {
        assert!(pong(&mut eager, &frame(DATA, 0, 1, b"a little")));
    }
    eager.send(&frame(DATA, support::END_STREAM, 1, b"the end"));
    assert_eq!(frame_of(&mut eager, HEADERS).payload[0], 0x88);
}

/// A thousand clients that do nothing fast, and others beside them.
#[test]
fn a_thousand_slow_clients_leave_the_others_their_second() {
    let (server, address) = start(&["1", "2000"]);
    let worker = server.wait_children(1)[0];
    assert_eq!(client::get(&address, "/").text(), "hello");
    let mut slow: Vec<_> = (0..1000).map(|_| Client::connect(&address)).collect();
    for (number, client) in slow.iter_mut().enumerate() {
        client.send(match number % 3 {
            0 => b"GET / HTTP/1.1\r\nHo",
            1 => POST,
            // More than the kernel holds for one who does not read (tcp_wmem), or less.
            _ if number % 30 == 2 => b"GET /stream/65536 HTTP/1.1\r\nHost: a\r\n\r\n",
            _ => b"GET /stream/512 HTTP/1.1\r\nHost: a\r\n\r\n",
        });
    }
    // They are all there.
    assert_eq!(client::get(&address, "/").text(), "hello");
    let load = Load::one_per_connection(&address, "/").connections(8).rate(50).start();
    for round in 0..10_usize {
        load.wait_answered(10);
        for client in slow.iter_mut().skip(round % 3).step_by(3).take(300) {
            let _ = client.try_send(b"x");
        }
    }
    let report = load.stop();
    assert_eq!(report.failed_total, 0, "{report:?}");
    assert!(report.slowest < Duration::from_secs(1), "{report:?}");
    let memory = pss_kib(worker);
    assert!(memory < 128 * 1024, "{memory} KiB");
}

#[test]
fn slow_readers_of_one_http1_connection_do_not_make_it_grow() {
    let (server, address) = start(&["1", "100"]);
    let worker = server.wait_children(1)[0];
    let mut connection = Client::connect(&address);
    assert_eq!(connection.get("/").text(), "hello");
    let before = pss_kib(worker);
    // Requests without end for answers that are not read: pipelining is not a way to make them all.
    connection.set_deadline(Duration::from_millis(200));
    let request = b"GET /large/256 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    while connection.try_send(&request).is_ok() {}
    assert_eq!(client::get(&address, "/").text(), "hello");
    let grown = pss_kib(worker).saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
}

#[test]
fn disconnects_at_any_point_hurt_nobody_else() {
    let (server, address) = start(&["1", "100"]);
    let worker = server.wait_children(1);
    for part in [&b""[..], b"GET / HT", POST, b"GET /large/4096 HTTP/1.1\r\nHost: a\r\n\r\n", GET] {
        for abort in [false, true] {
            let mut gone = Client::connect(&address);
            gone.send(part);
            if abort {
                gone.abort()
            } else {
                drop(gone)
            }
            assert_eq!(client::get(&address, "/").text(), "hello");
        }
    }
    // An end without a request is no request: no byte comes back.
    let mut silent = Client::connect(&address);
    silent.finish_sending();
    assert_eq!(silent.read_to_end(), b"");
    assert_eq!(server.children(), worker);
    server.signal(15);
    assert!(server.wait_exit().success(), "answers to nobody hold no stop up");
}

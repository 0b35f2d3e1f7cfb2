//! TLS below HTTP: what is spoken, what is known of a session, and who is closed when.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use support::{
    DATA, GOAWAY, HEADERS, PREFACE, SETTINGS, frame, frame_of, get, read_frame, start, takes_slowly,
};
use testkit::tls::{Connector, Identity};
use testkit::{Client, DEADLINE, Running, TempDir, process, wait_until};

const SIGHUP: i32 = 1;
const SIGTERM: i32 = 15;
const END_HEADERS_AND_STREAM: u8 = 5;

/// A server with a plain listener and one for TLS, and who connects to it.
struct Site {
    server: Running,
    plain: String,
    tls: String,
    connector: Connector,
    directory: TempDir,
}

impl Site {
    fn start(arguments: &[&str]) -> Self {
        let directory = TempDir::new().expect("a directory");
        let identity = Identity::new(&["localhost"]);
        let (certificate, key) = identity.write(directory.path(), "site");
        let pair = format!("tls={},{}", certificate.display(), key.display());
        let all = [arguments, &["listen=127.0.0.1:0/tls", &pair]].concat();
        let (server, plain) = start(&all);
        let tls = server.addresses(2).remove(1);
        let connector = Connector::trusting(&[&identity]);
        Self { server, plain, tls, connector, directory }
    }

    fn connect(&self) -> Client {
        self.connector.connect(&self.tls, "localhost")
    }

    /// A connection of a client that offers these, and the one that is agreed upon.
    #[track_caller]
    fn offering(&self, offered: &[&str], agreed: &str) -> Client {
        let client = self.connector.clone().offering(offered).connect(&self.tls, "localhost");
        let found = client.tls().and_then(testkit::tls::Tls::alpn);
        assert_eq!(found.unwrap_or_default(), agreed);
        client
    }

    #[track_caller]
    fn stop(self) {
        self.server.signal(SIGTERM);
        assert!(self.server.wait_exit().success());
    }
}

#[test]
fn every_version_of_http_is_spoken_over_tls_beside_plain_connections() {
    let site = Site::start(&["2", "100"]);
    assert_eq!(Client::connect(&site.plain).get("/").text(), "hello");
    let mut connection = site.connect();
    assert_eq!(connection.get("/").text(), "hello");
    assert_eq!(connection.get("/large/3000").body.len(), 3_072_000);
    assert_eq!(connection.get("/stream/3000").body.len(), 3_072_000);
    connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /pid HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(connection.read_response().text(), "hello");
    assert_eq!(connection.read_response().status, 200);
    let body = vec![b'u'; 300_000];
    connection.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
    connection.send(&body);
    assert!(connection.read_response().body == body);
    connection.send(b"GET / HTTP/1.0\r\n\r\n");
    assert!(connection.read_response().closes());
    assert!(connection.read_to_end().is_empty());
    assert!(connection.tls().is_some_and(testkit::tls::Tls::ended), "close_notify");
    let mut connection = site.offering(&["h2", "http/1.1"], "h2");
    connection.send(PREFACE);
    connection.send(&frame(SETTINGS, 0, 0, &[]));
    connection.send(&frame(HEADERS, END_HEADERS_AND_STREAM, 1, &get("/")));
    assert_eq!(frame_of(&mut connection, DATA).payload, b"hello");
    assert_eq!(site.offering(&["http/1.0", "http/1.1"], "http/1.1").get("/").text(), "hello");
    let mut old = site.offering(&["http/1.0"], "http/1.0");
    old.send(b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(old.read_response().text(), "hello");
    let connector = site.connector.clone().offering(&["spdy/3"]);
    assert!(connector.try_connect(&site.tls, "localhost").is_err(), "nothing in common");
    site.stop();
}

#[test]
fn a_client_of_http2_that_begins_with_something_else_gets_a_goaway() {
    for concurrency in ["1", "100"] {
        let site = Site::start(&["1", concurrency, "log=line %>s"]);
        for begin in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n",
            b"PRI * HTTP/1.1\r\n\r\n",
            &[0; 100],
            b"\r\n",
            &[b"POST /echo HTTP/1.1\r\nHost: a\r\n".as_slice(), &[b'x'; 60_000]].concat(),
        ] {
            for in_pieces in [false, true] {
                let mut client = site.offering(&["h2"], "h2");
                match in_pieces {
                    false => client.send(begin),
                    // Behind what decides, the connection may be gone.
                    true => begin.iter().take(24).for_each(|byte| drop(client.try_send(&[*byte]))),
                }
                let settings = read_frame(&mut client).expect("the server's preface");
                assert_eq!((settings.kind, settings.payload.len()), (SETTINGS, 0));
                let goaway = read_frame(&mut client).expect("a reason");
                assert_eq!((goaway.kind, goaway.stream), (GOAWAY, 0));
                assert_eq!(goaway.payload, [0, 0, 0, 0, 0, 0, 0, 1], "PROTOCOL_ERROR");
                assert!(client.read_to_end().is_empty() && !client.was_reset());
            }
        }
        site.server.wait_line("line 400");
        assert_eq!(site.connect().get("/").text(), "hello");
        site.stop();
    }
}

#[test]
fn a_client_of_http1_that_begins_http2_is_answered_400() {
    for concurrency in ["1", "100"] {
        let site = Site::start(&["1", concurrency, "log=line %>s"]);
        let opening = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(6, 0, 0, &[0; 8])].concat();
        for (offered, agreed) in
            [(&["http/1.1"][..], "http/1.1"), (&["http/1.0"], "http/1.0"), (&[], "")]
        {
            for (before, in_pieces) in [(false, false), (false, true), (true, false), (true, true)]
            {
                let mut client = site.offering(offered, agreed);
                if before {
                    assert_eq!(client.get("/").text(), "hello");
                }
                match in_pieces {
                    false => client.send(&opening),
                    true => PREFACE.iter().for_each(|byte| client.send(&[*byte])),
                }
                let answer = client.read_response();
                assert_eq!((answer.status, answer.closes()), (400, true), "{agreed} {before}");
                assert!(client.read_to_end().is_empty() && !client.was_reset());
            }
        }
        site.server.wait_line("line 400");
        site.stop();
    }
}

#[test]
fn an_upgraded_connection_stays_encrypted_and_is_told_of_the_end() {
    let site = Site::start(&["1", "100"]);
    let mut connection = site.connect();
    let upgrade =
        "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    connection.send(upgrade.as_bytes());
    let answer = connection.read_until(b"\r\n\r\n");
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{answer:?}");
    connection.send(b"ping");
    assert_eq!(connection.read_exact(4), b"ping");
    site.server.signal(SIGTERM);
    assert!(!connection.read_to_end().is_empty(), "it says goodbye");
    assert!(connection.tls().is_some_and(testkit::tls::Tls::ended), "close_notify");
    assert!(site.server.wait_exit().success());
}

#[test]
fn what_is_known_of_a_session_is_told_to_services_and_to_the_access_log() {
    let log = "log=line %{SSL_PROTOCOL}x %{SSL_CIPHER}x %{SSL_TLS_SNI}x %{SSL_SESSION_RESUMED}x %H";
    let site = Site::start(&["2", "100", log]);
    for resumed in ["false", "true", "true"] {
        let text = site.connect().get("/client").text();
        for part in ["127.0.0.1 https", "TLSv1.3", "\"localhost\"", &format!("resumed: {resumed}")]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    let text = Client::connect(&site.plain).get("/client").text();
    assert!(text.ends_with("127.0.0.1 http"), "{text}");
    for end in ["Initial HTTP/1.1", "Resumed HTTP/1.1"] {
        let line = site.server.wait_line(&format!("localhost {end}"));
        assert!(line.contains("line TLSv1.3 TLS_AES_"), "{line}");
    }
    site.server.wait_line("line - - - - HTTP/1.1");
    site.stop();
}

#[test]
fn http_without_tls_is_answered_in_plain_text() {
    let site = Site::start(&["1", "100", "log=%>s %r"]);
    let pid = site.connect().get("/pid").text();
    for _ in 0..20 {
        let mut lost = Client::connect(&site.tls);
        lost.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
        lost.send(&[b'x'; 100_000]);
        let answer = lost.read_response();
        assert_eq!((answer.status, answer.closes()), (400, true));
        assert!(answer.text().contains("https://"), "{answer:?}");
        assert!(lost.closed() && !lost.was_reset());
    }
    site.server.wait_line("400 -");
    assert_eq!(site.connect().get("/pid").text(), pid);
    site.stop();
}

#[test]
fn handshakes_that_do_not_end_hold_nobody_up_and_no_worker_dies() {
    for concurrency in ["1", "4", "100"] {
        let site = Site::start(&["1", concurrency, "handshake_timeout=700"]);
        let pid = site.connect().get("/pid").text();
        let hello = site.connector.begin("localhost").hello();
        let mut flipped = hello.clone();
        flipped[60] ^= 0xff;
        for bytes in [&[0; 4096][..], &hello[..20], &flipped, &[0x16, 3, 1, 0xff, 0xff, 1]] {
            let mut client = Client::connect(&site.tls);
            client.transmit(bytes).expect("it is sent");
            assert!(client.closed(), "{concurrency}");
        }
        let begun = Instant::now();
        let silent: Vec<_> = (0..8)
            .map(|number| {
                let mut client = Client::connect(&site.tls);
                let said = if number % 2 == 0 { &[][..] } else { &hello[..20] };
                client.transmit(said).expect("it is sent");
                client
            })
            .collect();
        assert_eq!(site.connect().get("/pid").text(), pid);
        let waited = begun.elapsed();
        let most = if concurrency == "100" { 1 } else { 12 };
        assert!(waited < Duration::from_secs(most), "{concurrency}: {waited:?}");
        for mut client in silent {
            assert!(client.closed());
        }
        assert_eq!(site.connect().get("/pid").text(), pid);
        site.stop();
    }
}

#[test]
fn one_who_stalls_in_mid_handshake_is_cut_at_the_deadline_and_holds_nobody_up() {
    const PATIENCE: Duration = Duration::from_millis(1500);
    for concurrency in ["4", "100"] {
        let site = Site::start(&["1", concurrency, "handshake_timeout=1500"]);
        let begun = Instant::now();
        let mut stalled: Vec<_> = (0..3)
            .map(|_| {
                let mut client = Client::connect(&site.tls);
                let hello = site.connector.begin("localhost").hello();
                client.transmit(&hello).expect("it is sent");
                // The server has said all that it has to say before the client's next word.
                assert_eq!(client.read_exact(1), [22]);
                client
            })
            .collect();
        assert_eq!(site.connect().get("/").text(), "hello");
        assert!(begun.elapsed() < PATIENCE, "{concurrency}: {:?}", begun.elapsed());
        assert!(stalled.iter_mut().all(Client::closed), "{concurrency}");
        let cut = begun.elapsed();
        assert!(cut >= PATIENCE && cut < 4 * PATIENCE, "{concurrency}: {cut:?}");
        site.stop();
    }
}

#[test]
fn a_slow_reader_of_a_session_is_judged_as_one_without_tls() {
    let site = Site::start(&["1", "100", "send_timeout=2000", "idle_timeout=1000"]);
    let mut slow = site.connect();
    let mut stalled = site.connect();
    stalled.send(b"GET /large/16384 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(takes_slowly(&mut slow), "it takes something");
    // After all that time, most of what this one has not taken will never come.
    assert!(stalled.read_to_end().len() < 16384 * 1024, "it has taken nothing");
    assert_eq!(site.connect().get("/").text(), "hello");
    drop(slow);
    site.stop();
}

#[test]
fn one_who_is_silent_makes_way_in_an_isolated_worker_long_before_the_deadline() {
    let site = Site::start(&["1", "1", "handshake_timeout=60000"]);
    let mut silent = Client::connect(&site.tls);
    let begun = Instant::now();
    assert_eq!(site.connect().get("/").text(), "hello");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(silent.closed());
    site.stop();
}

#[test]
fn a_proxy_header_comes_before_the_handshake() {
    let site = Site::start(&["1", "100", "trust=127.0.0.1", "proxy=yes"]);
    let mut client = Client::connect(&site.tls);
    client.send(b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n");
    let mut client = site.connector.over(client, "localhost").expect("a session");
    let text = client.get("/client").text();
    assert!(text.contains("192.0.2.7 https"), "{text}");
    assert!(site.connector.try_connect(&site.tls, "localhost").is_err(), "without one");
    site.stop();
}

#[test]
fn a_silent_session_of_a_leaving_worker_hears_that_it_ends() {
    let site = Site::start(&["1", "100", "drain_idle=300"]);
    let mut one = site.connect();
    assert!(!one.get("/").closes());
    let mut two = site.connector.clone().offering(&["h2"]).connect(&site.tls, "localhost");
    two.send(PREFACE);
    two.send(&frame(SETTINGS, 0, 0, &[]));
    two.send(&frame(HEADERS, END_HEADERS_AND_STREAM, 1, &get("/")));
    assert_eq!(frame_of(&mut two, DATA).payload, b"hello");
    site.server.signal(SIGTERM);
    frame_of(&mut two, GOAWAY);
    while read_frame(&mut two).is_some() {}
    assert!(one.read_to_end().is_empty());
    for client in [&one, &two] {
        assert!(client.tls().is_some_and(testkit::tls::Tls::ended), "close_notify");
    }
    assert!(site.server.wait_exit().success());
}

#[test]
fn a_full_worker_ends_handshakes_that_do_not_go_on_when_somebody_waits() {
    let site = Site::start(&["1", "4"]);
    let mut slow: Vec<_> = (0..4).map(|_| Client::connect(&site.tls)).collect();
    // A record of a handshake begins.
    slow.iter_mut().for_each(|client| client.send(&[22, 3, 1]));
    let asked = Instant::now();
    assert_eq!(site.connect().get("/").text(), "hello");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    let site = Site::start(&["1", "100"]);
    // Without a length or chunks it is the end of the session that says where it ends.
    for (path, sent, whole) in [("/", "hello", true), ("/break", "so far", false)] {
        let mut client = site.connect();
        client.send(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
        assert!(client.read_to_end().ends_with(sent.as_bytes()));
        assert_eq!(client.tls().map(testkit::tls::Tls::ended), Some(whole), "{path}");
    }
}

#[test]
fn a_request_in_flight_is_answered_while_the_service_stops() {
    let site = Site::start(&["1", "100"]);
    let mut connection = site.connect();
    connection.send(b"GET /slow/700 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(site.connect().get("/").text(), "hello");
    site.server.signal(SIGTERM);
    assert_eq!(connection.read_response().text(), "at last");
    assert!(site.server.wait_exit().success());
}

/// Asks over one session after the other, each kept until its server ends it. A request that was never read may be
/// sent again by nobody here: it is lost.
fn keep_asking(site: &Site, go_on: &AtomicBool, answered: &AtomicUsize) {
    while go_on.load(Relaxed) {
        let mut connection = site.connect();
        while go_on.load(Relaxed) {
            let answer = connection.get("/");
            assert_eq!(answer.text(), "hello");
            answered.fetch_add(1, Relaxed);
            if answer.closes() {
                break;
            }
        }
    }
}

#[test]
fn busy_sessions_lose_nothing_when_every_worker_is_replaced() {
    for concurrency in ["1", "100"] {
        let workers = if concurrency == "1" { "12" } else { "2" };
        let site = Site::start(&[workers, concurrency]);
        let (go_on, answered) = (AtomicBool::new(true), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| keep_asking(&site, &go_on, &answered));
            }
            for generation in 2..5 {
                let before = answered.load(Relaxed);
                wait_until("they are answered", DEADLINE, || answered.load(Relaxed) > before + 200);
                site.server.signal(SIGHUP);
                site.server.wait_line(&format!("generation {generation} serves"));
            }
            go_on.store(false, Relaxed);
        });
        site.stop();
    }
}

#[test]
fn a_listener_for_tls_needs_a_certificate() {
    let (server, _) = start(&["1", "100", "listen=127.0.0.1:0/tls"]);
    server.wait_line("is for TLS, and there is no certificate");
    assert_eq!(server.wait_exit().code(), Some(1));
}

#[test]
fn unix_sockets_speak_tls_too() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("socket");
    let listen = format!("listen=tls:unix:{}", path.display());
    let site = Site::start(&["1", "100", &listen]);
    let address = format!("unix:{}", path.display());
    let mut client = site.connector.connect(&address, "localhost");
    assert!(client.get("/client").text().contains("- https"));
    assert!(site.directory.path().exists());
    site.stop();
}

#[test]
fn sessions_at_rest_give_their_room_back_and_go_on() {
    const MANY: usize = 400;
    // Ready for a request each weighs 21 KiB in this build, at rest 17.
    const KIB_EACH: u64 = 19;
    let site = Site::start(&["1", "1000"]);
    let worker = site.server.wait_children(1)[0];
    let mut first = site.connect();
    assert_eq!(first.get("/").text(), "hello");
    let before = process::anonymous_kib(worker);
    let mut clients: Vec<Client> = (1..MANY).map(|_| site.connect()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "hello"));
    wait_until("sessions at rest", DEADLINE, || {
        let taken = process::anonymous_kib(worker).saturating_sub(before);
        taken < KIB_EACH * MANY as u64
    });
    assert_eq!(first.get("/").text(), "hello");
    for client in clients.iter_mut().take(20) {
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /large/100 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.read_response().text(), "hello");
        assert_eq!(client.read_response().body.len(), 100 * 1024);
    }
    site.stop();
}

//! Whole connections' bytes through the reader of heads and the decoder of bodies, in one piece and in any others.

mod beside_hyper;

use std::fs;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use proptest::prelude::*;

use super::decode::{Decoded, Decoder};
use super::encode::{self, Asked, CHUNK_END, Framing};
use super::head::{Bounds, Head, Parsed, Reader};

const BOUNDS: Bounds = Bounds { target: 8 * 1024, head: 64 * 1024, body: 128 * 1024 };

/// What was understood of a connection's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// A request, as text; its body and trailers.
    Request(String, Vec<u8>, String),
    Refused(u16),
    /// A head or a body that is not complete.
    Incomplete,
}

fn text(head: &Head) -> String {
    let Head { method, target, version, headers, body, keeps, expects, upgrades, .. } = head;
    format!("{method} {target} {version:?} {headers:?} {body:?} {keeps} {expects} {upgrades}")
}

/// Feeds bytes that come in pieces, as a connection does.
struct Feed<'a> {
    pieces: std::vec::IntoIter<&'a [u8]>,
    pending: Vec<u8>,
}

impl Feed<'_> {
    fn more(&mut self) -> bool {
        let piece = self.pieces.next();
        self.pending.extend_from_slice(piece.unwrap_or_default());
        piece.is_some()
    }

    fn head(&mut self) -> Result<Option<Box<Head>>, u16> {
        let mut reader = Reader::default();
        loop {
            match reader.read(&self.pending, &BOUNDS) {
                Parsed::Head(head, used) => {
                    self.pending.drain(..used);
                    return match head.refused {
                        Some(refusal) => Err(refusal.status.as_u16()),
                        None => Ok(Some(Box::new(head))),
                    };
                }
                Parsed::Refused(refusal) => return Err(refusal.status.as_u16()),
                Parsed::Partial if self.more() => {}
                // A reader that has bytes refused later than it could is no other meaning.
                Parsed::Partial => match Reader::default().read(&self.pending, &BOUNDS) {
                    Parsed::Refused(refusal) => return Err(refusal.status.as_u16()),
                    _ => return Ok(None),
                },
            }
        }
    }

    fn body(&mut self, head: &Head) -> Result<Option<(Vec<u8>, String)>, u16> {
        let (mut decoder, mut body) = (Decoder::new(head.body, BOUNDS.body), Vec::new());
        loop {
            let used = match decoder.decode(&self.pending) {
                Decoded::Data { skip, data } => {
                    assert!(data > 0, "a piece has bytes");
                    body.extend_from_slice(&self.pending[skip..skip + data]);
                    skip + data
                }
                Decoded::More { used } => {
                    self.pending.drain(..used);
                    if !self.more() {
                        return Ok(None);
                    }
                    continue;
                }
                Decoded::End { used, trailers } => {
                    self.pending.drain(..used);
                    return Ok(Some((body, format!("{trailers:?}"))));
                }
                Decoded::Refused(refusal) => return Err(refusal.status.as_u16()),
            };
            self.pending.drain(..used);
        }
    }
}

/// Everything up to the first refusal.
fn read_all(pieces: Vec<&[u8]>) -> Vec<Seen> {
    let mut feed = Feed { pieces: pieces.into_iter(), pending: Vec::new() };
    let mut all = Vec::new();
    loop {
        let head = match feed.head() {
            Ok(Some(head)) => head,
            Ok(None) => {
                if feed.pending.iter().any(|byte| !b"\r\n".contains(byte)) {
                    all.push(Seen::Incomplete);
                }
                return all;
            }
            Err(status) => {
                all.push(Seen::Refused(status));
                return all;
            }
        };
        match feed.body(&head) {
            Ok(Some((body, trailers))) => all.push(Seen::Request(text(&head), body, trailers)),
            Ok(None) => all.push(Seen::Incomplete),
            Err(status) => {
                all.push(Seen::Refused(status));
                return all;
            }
        }
        if matches!(all.last(), Some(Seen::Incomplete)) {
            return all;
        }
    }
}

/// Cuts `input` at these places.
fn cut<'a>(input: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place % (input.len() + 1)).collect();
    places.extend([0, input.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect()
}

/// The files of requests that are HTTP/1: name and bytes.
fn corpus(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requests").join(folder);
    let entries = fs::read_dir(folder).expect("the corpus");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let named = files.map(|path| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read(path).expect("a file"))
    });
    named.filter(|(name, _)| !name.starts_with("h2")).collect()
}

#[test]
fn every_request_of_the_corpus_is_taken_or_refused_as_its_name_says() {
    let mut checked = 0;
    for (name, input) in [corpus("valid"), corpus("invalid")].concat() {
        let seen = read_all(vec![&input]);
        let parts = name.split('.').skip(1);
        let statuses: Vec<u16> = parts.filter_map(|part| part.parse().ok()).collect();
        let refusals = [400, 413, 414, 417, 431, 501];
        let refused = statuses.iter().copied().find(|status| refusals.contains(status));
        match refused {
            Some(status) => assert_eq!(seen.last(), Some(&Seen::Refused(status)), "{name}"),
            None if statuses.contains(&408) => {
                assert_eq!(seen, [Seen::Incomplete], "{name}");
            }
            None => {
                let answers = statuses.iter().filter(|&&status| status != 100).count();
                let taken = seen.iter().take_while(|it| matches!(it, Seen::Request(..))).count();
                assert!(taken >= answers, "{name}: {seen:?}");
            }
        }
        checked += 1;
    }
    assert!(checked > 90, "{checked}");
}

#[test]
fn it_makes_no_difference_in_which_pieces_a_request_comes() {
    for (name, input) in [corpus("valid"), corpus("invalid")].concat() {
        let whole = read_all(vec![&input]);
        if input.len() < 2000 {
            let bytes = input.chunks(1).collect();
            assert_eq!(read_all(bytes), whole, "{name}, byte by byte");
        }
        for place in (0..input.len()).take(400) {
            let (first, second) = input.split_at(place);
            assert_eq!(read_all(vec![first, second]), whole, "{name}, cut at {place}");
        }
    }
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fn body_of(chunks: &str) -> Vec<Seen> {
    read_all(vec![format!("{CHUNKED}{chunks}").as_bytes()])
}

#[test]
fn chunks_that_two_readers_could_take_for_two_things_are_refused() {
    for chunks in [
        "0\r\n\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX: y\n\n",
        "0\n\r\n",
        "0\r\n\r",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc\r0\r\n\r\n",
        "3;\r\nabc\r\n0\r\n\r\n",
        "3;a=\r\nabc\r\n0\r\n\r\n",
        "3;a=\"b\r\nabc\r\n0\r\n\r\n",
        "3;a\x01\r\nabc\r\n0\r\n\r\n",
        "3;a=\"\x01\"\r\nabc\r\n0\r\n\r\n",
        "3;;a\r\nabc\r\n",
        "3;a\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0;a\n\r\n",
        " 3\r\nabc\r\n",
        "+3\r\nabc\r\n",
        "0x3\r\nabc\r\n",
        "\r\n3\r\nabc\r\n",
        "3 a\r\nabc\r\n",
        "00000000000000003\r\nabc\r\n",
        "fffffffffffffffff\r\n",
        "ffffffffffffffff\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX y\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\nX: \x01\r\n\r\n",
        "0\r\nX: a\rb\r\n\r\n",
        "0\r\nX: a\r\n b\r\n\r\n",
        "g\r\n",
    ] {
        let seen = body_of(chunks);
        let taken = chunks == "0\r\n\r";
        match seen.last() {
            Some(Seen::Incomplete) if taken => {}
            Some(Seen::Refused(400 | 413)) if !taken => {}
            other => panic!("{chunks:?}: {other:?}"),
        }
    }
    let huge = format!("0\r\n\n{}", "x".repeat(16 * 1024));
    assert_eq!(body_of(&huge), [Seen::Refused(400)]);
    let extensions = format!("1;{}\r\na\r\n0\r\n\r\n", "a".repeat(17 * 1024));
    assert_eq!(body_of(&extensions), [Seen::Refused(400)]);
    let trailers = format!("0\r\nX: {}\r\n\r\n", "a".repeat(17 * 1024));
    assert_eq!(body_of(&trailers), [Seen::Refused(431)]);
}

#[test]
fn chunks_that_mean_one_thing_are_taken() {
    for chunks in [
        "3\r\nabc\r\n0\r\n\r\n",
        "03\r\nabc\r\n00\r\n\r\n",
        "3 \r\nabc\r\n0\t\r\n\r\n",
        "1;a\r\na\r\n2 ; b = c ;d\r\nbc\r\n0\r\n\r\n",
        "3;a=\"b\\\"; c\"\r\nabc\r\n0;x=\"\"\r\n\r\n",
        "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n",
    ] {
        let seen = body_of(chunks);
        let [Seen::Request(_, body, trailers)] = &seen[..] else { panic!("{chunks:?}: {seen:?}") };
        assert_eq!((&body[..], trailers.as_str()), (&b"abc"[..], "None"), "{chunks:?}");
    }
}

#[test]
fn trailers_reach_the_service_without_those_that_frame_route_or_authenticate() {
    let seen = body_of(
        "0\r\nX-Checksum: 1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b\r\n\
         Authorization: x\r\nCookie: a=b\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=a\r\nConnection: close\r\n\r\n\
         GET /next HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    let [Seen::Request(_, _, trailers), Seen::Request(next, ..)] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(trailers, r#"Some({"x-checksum": "1"})"#);
    assert!(next.starts_with("GET /next"));
}

fn refused(request: &str) -> Option<u16> {
    match read_all(vec![request.as_bytes()]).last() {
        Some(Seen::Refused(status)) => Some(*status),
        _ => None,
    }
}

#[test]
fn heads_that_two_readers_could_take_for_two_things_are_refused() {
    for (fields, status) in [
        ("Host: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Host: a\r\nTransfer-Encoding: chunked;q=1\r\n", 400),
        ("Host: a\r\nTransfer-Encoding: chunked, gzip\r\n", 400),
        ("Host: a\r\nTransfer-Encoding: \r\n", 400),
        ("Host: a\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
        ("Host: a\r\nTransfer-Encoding: xchunked\r\n", 400),
        ("Host: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n", 400),
        ("Host: a\r\nContent-Length: 3, 3\r\n", 400),
        ("Host: a\r\nContent-Length: 0x3\r\n", 400),
        ("Host: localhost:abc\r\n", 400),
        ("Host: ::1\r\n", 400),
        ("Host: [zz]\r\n", 400),
        ("Host: a:b:c\r\n", 400),
        ("Host: u@a\r\n", 400),
        ("Host: a\r\nHost: a\r\n", 400),
        ("Host: a\r\nExpect: 200-ok\r\n", 417),
        ("Host: a\r\nContent-Length: 99999999\r\n", 413),
        ("", 400),
    ] {
        assert_eq!(refused(&format!("POST / HTTP/1.1\r\n{fields}\r\n")), Some(status), "{fields}");
    }
    assert_eq!(
        refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        Some(400)
    );
    assert_eq!(refused("GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n"), Some(400));
    let long = |count| format!("GET /{}", "a".repeat(count));
    assert_eq!(refused(&format!("{} HTTP/1.1\r\nHost: a\r\n\r\n", long(9000))), Some(414));
    assert_eq!(refused(&long(70_000)), Some(414), "before the line is complete");
    assert_eq!(refused("\x16\x03\x01\x02"), Some(400), "TLS is no method");
    assert_eq!(refused("GET / HTTP/2"), Some(400), "before the line is complete");
    let many = |count| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count));
    assert_eq!((refused(&many(99)), refused(&many(100))), (None, Some(431)));
}

#[test]
fn what_is_in_the_target_takes_the_place_of_the_host() {
    let seen = read_all(vec![b"GET http://b:8080/x HTTP/1.1\r\nHost: a\r\n\r\n"]);
    let [Seen::Request(request, ..)] = &seen[..] else { panic!("{seen:?}") };
    assert!(request.contains(r#"{"host": "b:8080"}"#), "{request}");
    let seen = read_all(vec![
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    ]);
    let [Seen::Request(request, ..)] = &seen[..] else { panic!("{seen:?}") };
    assert!(request.contains(r#"{"host": "a", "content-length": "0"}"#), "{request}");
}

proptest! {
    /// Whatever the bytes and the pieces they come in: no panic, and one meaning.
    #[test]
    fn any_bytes_have_one_meaning_however_they_are_cut(
        parts in proptest::collection::vec(prop_oneof![
            Just("GET / HTTP/1.1\r\n"), Just("POST /a?b HTTP/1.0\r\n"), Just("Host: a\r\n"), Just("Content-Length: 3\r\n"),
            Just("Transfer-Encoding: chunked\r\n"), Just("\r\n"), Just("\n"), Just("\r"), Just("3\r\nabc\r\n"), Just("0\r\n"),
            Just("abc"), Just(";a=\"b\""), Just(" "), Just("0"), Just("Expect: 100-continue\r\n"), Just("\u{1}"), Just(":"),
        ], 0..14),
        places in proptest::collection::vec(any::<usize>(), 0..9),
    ) {
        let input = parts.concat().into_bytes();
        prop_assert_eq!(read_all(cut(&input, &places)), read_all(vec![&input]));
    }

    /// A body in any chunks, cut anywhere, is the body; and what follows it is the next request.
    #[test]
    fn a_body_in_any_chunks_is_the_body(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..6),
        places in proptest::collection::vec(any::<usize>(), 0..9),
    ) {
        let mut input = CHUNKED.as_bytes().to_vec();
        for piece in &pieces {
            encode::chunk_line(&mut input, piece.len() as u64);
            input.extend_from_slice(piece);
            input.extend_from_slice(CHUNK_END);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", HeaderValue::from_static("1"));
        encode::last_chunk(&mut input, Some(trailers));
        input.extend_from_slice(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        let seen = read_all(cut(&input, &places));
        prop_assert_eq!(seen.len(), 2);
        let Seen::Request(_, body, trailers) = &seen[0] else { panic!("{seen:?}") };
        prop_assert_eq!(body, &pieces.concat());
        prop_assert_eq!(trailers.as_str(), r#"Some({"x-end": "1"})"#);
    }
}

fn asked(request: &str) -> Asked {
    match Reader::default().read(request.as_bytes(), &BOUNDS) {
        Parsed::Head(head, _) => Asked::of(&head),
        other => panic!("{request}: {other:?}"),
    }
}

/// An answer's head as text, without the date, and what was decided.
fn answered(
    request: &str,
    status: u16,
    fields: &[(&'static str, &'static str)],
    exact: Option<u64>,
    keeps: bool,
) -> (String, Framing, bool) {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in fields {
        let name = HeaderName::from_static(name);
        response.headers_mut().append(name, HeaderValue::from_static(value));
    }
    let (parts, ()) = response.into_parts();
    let mut out = b"before".to_vec();
    let date = HeaderValue::from_static("now");
    let encoded = encode::head(&mut out, &parts, exact, asked(request), keeps, &date);
    assert_eq!(encoded.bytes, out.len() - b"before".len(), "counted to the byte");
    let text = String::from_utf8(out.split_off(b"before".len())).expect("text");
    let text = text.replace("date: now\r\n", "").replace("\r\n", "|");
    (text, encoded.framing, encoded.keeps)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OLD: &str = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
const TUNNEL: &str = "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n";
const TRAILERS: &str = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n";

/// A request; the answer's status, fields and length; its head as text, and its framing.
type Case = (
    &'static str,
    u16,
    &'static [(&'static str, &'static str)],
    Option<u64>,
    &'static str,
    Framing,
);

#[test]
fn an_answer_is_framed_as_its_request_and_status_want_it() {
    use Framing::{Chunked, Empty, Length, UntilClose, Upgraded};
    let plain = Chunked { trailers: false };
    #[rustfmt::skip]
    let cases: [Case; 20] = [
        (GET, 200, &[], Some(5), "HTTP/1.1 200 OK|content-length: 5||", Length(5)),
        (GET, 200, &[], Some(0), "HTTP/1.1 200 OK|content-length: 0||", Empty),
        (GET, 404, &[], None, "HTTP/1.1 404 Not Found|transfer-encoding: chunked||", plain),
        (GET, 200, &[("content-length", "7")], None, "HTTP/1.1 200 OK|content-length: 7||", Length(7)),
        (GET, 200, &[("content-length", "7")], Some(5), "HTTP/1.1 200 OK|content-length: 5||", Length(5)),
        (GET, 200, &[("content-length", "x")], None, "HTTP/1.1 200 OK|transfer-encoding: chunked||", plain),
        (GET, 200, &[("transfer-encoding", "gzip")], Some(5), "HTTP/1.1 200 OK|content-length: 5||", Length(5)),
        (GET, 204, &[("content-length", "7")], Some(0), "HTTP/1.1 204 No Content||", Empty),
        (GET, 304, &[("content-length", "7")], Some(0), "HTTP/1.1 304 Not Modified|content-length: 7||", Empty),
        (GET, 304, &[], Some(0), "HTTP/1.1 304 Not Modified||", Empty),
        (HEAD, 200, &[], Some(5), "HTTP/1.1 200 OK|content-length: 5||", Empty),
        (HEAD, 200, &[], Some(0), "HTTP/1.1 200 OK||", Empty),
        (HEAD, 200, &[("content-length", "7")], Some(0), "HTTP/1.1 200 OK|content-length: 7||", Empty),
        (OLD, 200, &[], Some(5), "HTTP/1.1 200 OK|content-length: 5|connection: keep-alive||", Length(5)),
        (OLD, 200, &[], None, "HTTP/1.1 200 OK|connection: close||", UntilClose),
        (UPGRADE, 101, &[("connection", "upgrade")], None, "HTTP/1.1 101 Switching Protocols|connection: upgrade||", Upgraded),
        (GET, 101, &[], None, "HTTP/1.1 500 Internal Server Error|content-length: 0|connection: close||", Empty),
        (GET, 103, &[("link", "x")], Some(5), "HTTP/1.1 500 Internal Server Error|content-length: 0|connection: close||", Empty),
        (TUNNEL, 200, &[("content-length", "7")], Some(0), "HTTP/1.1 200 OK||", Upgraded),
        (TRAILERS, 200, &[("trailer", "x")], None, "HTTP/1.1 200 OK|trailer: x|transfer-encoding: chunked||", Chunked { trailers: true }),
    ];
    for (request, status, fields, exact, text, framing) in cases {
        let (written, framed, _) = answered(request, status, fields, exact, true);
        assert_eq!(
            (written.as_str(), framed),
            (text, framing),
            "{request:?} {status} {fields:?} {exact:?}"
        );
    }
}

#[test]
fn an_answer_says_whether_its_connection_is_kept() {
    for (request, fields, keeps, says, kept) in [
        (GET, &[][..], true, "", true),
        (GET, &[], false, "connection: close|", false),
        (GET, &[("connection", "close")], true, "connection: close|", false),
        (GET, &[("connection", "Close")], false, "connection: Close|", false),
        (GET, &[("connection", "keep-alive")], false, "connection: close|", false),
        (GET, &[("connection", "x")], false, "connection: x|connection: close|", false),
        (OLD, &[], true, "connection: keep-alive|", true),
        (OLD, &[], false, "connection: close|", false),
        (OLD, &[("connection", "keep-alive")], true, "connection: keep-alive|", true),
    ] {
        let (text, _, is_kept) = answered(request, 200, fields, Some(0), keeps);
        let lines: String =
            text.split_inclusive('|').filter(|line| line.starts_with("conn")).collect();
        assert_eq!((lines.as_str(), is_kept), (says, kept), "{request:?} {fields:?} {keeps}");
    }
}

#[test]
fn a_date_that_the_service_says_is_left_alone() {
    let mut response = Response::new(());
    response.headers_mut().insert("date", HeaderValue::from_static("then"));
    let mut out = Vec::new();
    let date = HeaderValue::from_static("now");
    encode::head(&mut out, &response.into_parts().0, Some(0), asked(GET), true, &date);
    let text = Bytes::from(out);
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("date: then\r\n") && !text.contains("now"), "{text}");
}

#[test]
fn the_size_of_a_chunk_is_written_without_leading_zeros() {
    for size in [1, 9, 10, 15, 16, 255, 256, 65_535, 65_536, u64::MAX] {
        let mut out = Vec::new();
        encode::chunk_line(&mut out, size);
        assert_eq!(out, format!("{size:x}\r\n").into_bytes());
    }
}

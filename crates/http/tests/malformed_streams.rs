//! Requests of HTTP/2 that are none: each ends its own stream, and its neighbours never learn of it.

mod support;

use std::iter::from_fn;

use support::{
    DATA, END_STREAM, Frame, GOAWAY, HEADERS, RST_STREAM, field, frame, get, http2, read_frame,
    start,
};
use testkit::Client;

const END_HEADERS: u8 = 4;
const END_HEADERS_AND_STREAM: u8 = 5;
/// `:status`, in the static table of RFC 7541, appendix A.
const OK: u8 = 0x88;
const BAD_REQUEST: u8 = 0x8c;
const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];
/// The stream of a neighbour.
const NEIGHBOUR: u32 = 1;

type Fields<'a> = &'a [(&'a str, &'a str)];

/// A request of this method and these fields.
fn request(fields: Fields<'_>) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A GET of `/` at `a` with one thing changed, left out (an empty value of a pseudo-header field), or more fields.
fn get_but(name: &str, value: Option<&str>, more: Fields<'_>) -> Vec<u8> {
    let usual = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    let mut fields = Vec::new();
    for (usual_name, usual_value) in usual {
        let changed = if usual_name == name { value } else { Some(usual_value) };
        fields.extend(changed.map(|value| (usual_name, value)));
    }
    fields.extend(more);
    request(&fields)
}

/// The next frame of this stream that ends something; no other ends before, and the connection does not.
#[track_caller]
fn verdict(connection: &mut Client, stream: u32, what: &str) -> Frame {
    let found = from_fn(|| read_frame(connection)).find(|frame| {
        assert!(frame.kind != GOAWAY, "{what}: {frame:?}");
        matches!(frame.kind, HEADERS | RST_STREAM)
    });
    let found = found.unwrap_or_else(|| panic!("{what}: the connection has ended"));
    assert_eq!(found.stream, stream, "{what}: {found:?}");
    found
}

/// Sends each request on one connection, beside a neighbour that is being answered; what comes of it is held against
/// `check`. The neighbour is answered in the end.
fn beside_a_neighbour(requests: &[(&str, Vec<u8>)], check: impl Fn(&Frame) -> bool) {
    let (_server, address) = start(&["1", "100"]);
    let mut connection = http2(&address);
    connection.send(&frame(HEADERS, END_HEADERS, NEIGHBOUR, &support::post("/echo")));
    for (stream, (what, fields)) in (3..).step_by(2).zip(requests) {
        connection.send(&frame(HEADERS, END_HEADERS_AND_STREAM, stream, fields));
        let verdict = verdict(&mut connection, stream, what);
        assert!(check(&verdict), "{what}: {verdict:?}");
    }
    connection.send(&frame(DATA, END_STREAM, NEIGHBOUR, b"still here"));
    let answer = from_fn(|| read_frame(&mut connection))
        .find(|frame| frame.kind == DATA && frame.stream == NEIGHBOUR);
    assert_eq!(answer.expect("an answer").payload, b"still here");
}

#[test]
fn what_http1_would_not_take_is_refused_over_http2_and_its_neighbours_are_served() {
    let with = |fields: Fields<'_>| get_but("", None, fields);
    let scheme = |value: &str| get_but(":scheme", Some(value), &[]);
    let path = |value: &str| get_but(":path", Some(value), &[]);
    let authority = |value: &str| get_but(":authority", Some(value), &[]);
    let host = |value: &str| get_but(":authority", None, &[("host", value)]);
    let requests = [
        ("a blank before a value", with(&[("x-field", " x")])),
        ("a blank behind a value", with(&[("x-field", "x ")])),
        ("a tab before a value", with(&[("x-field", "\tx")])),
        ("a value of a blank", with(&[("x-field", " ")])),
        ("a blank in a host", with(&[("host", " a")])),
        ("another host", with(&[("host", "b")])),
        ("a host with another port", with(&[("host", "a:8080")])),
        ("two hosts", with(&[("host", "a"), ("host", "a")])),
        (
            "two hosts and no authority",
            get_but(":authority", None, &[("host", "a"), ("host", "b")]),
        ),
        ("no host", get_but(":authority", None, &[])),
        ("an empty host", host("")),
        ("a user in a host", host("user@a")),
        ("a path in a host", host("a/b")),
        ("half an address", host("[::1")),
        ("a port that is none", host("a:b")),
        ("a user", authority("user@a")),
        ("a user and a password", authority("user:secret@a")),
        ("a port alone", authority(":80")),
        ("no such escape", host("%zz")),
        ("an unknown scheme", scheme("ftp")),
        ("an empty length", with(&[("content-length", "")])),
        ("a length twice", with(&[("content-length", "0"), ("content-length", "0")])),
        ("an asterisk", path("*")),
        ("CONNECT without an authority", request(&[(":method", "CONNECT")])),
        ("CONNECT with a user", request(&[(":method", "CONNECT"), (":authority", "user@a:1")])),
        ("an empty scheme", get_but(":scheme", Some(""), &[])),
        ("no scheme", get_but(":scheme", None, &[])),
        ("an empty path", get_but(":path", Some(""), &[])),
        ("no path", get_but(":path", None, &[])),
        ("a path without a slash", get_but(":path", Some("a/b"), &[])),
        ("a whole URL as a path", get_but(":path", Some("http://a/"), &[])),
        ("an empty authority", get_but(":authority", Some(""), &[])),
        ("an authority with a blank", get_but(":authority", Some("a b"), &[])),
        ("a path after a field", with(&[("x-field", "x"), (":path", "/")])),
        ("two paths", with(&[(":path", "/")])),
        ("a field of a connection", with(&[("connection", "close")])),
        ("a coding", with(&[("transfer-encoding", "chunked")])),
        ("a length that is none", with(&[("content-length", "+0")])),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "1")])),
        ("a length of nothing", with(&[("content-length", "5")])),
        ("CONNECT with a path", get_but(":method", Some("CONNECT"), &[])),
    ];
    // h2 resets the stream of what it cannot read; the rest is answered as over HTTP/1 (RFC 9113, section 8.1.1).
    beside_a_neighbour(&requests, |answer| match answer.kind {
        HEADERS => answer.payload[0] == BAD_REQUEST && answer.flags & END_STREAM == END_STREAM,
        _ => answer.payload == PROTOCOL_ERROR,
    });
}

#[test]
fn what_is_unusual_over_http2_and_a_request_reaches_the_service() {
    let with = |fields: Fields<'_>| get_but("", None, fields);
    let requests = [
        ("a host beside the authority", with(&[("host", "A")])),
        ("a host alone", get_but(":authority", None, &[("host", "a:80")])),
        ("an address", get_but(":authority", Some("[::1]:80"), &[])),
        ("the other scheme", get_but(":scheme", Some("https"), &[])),
        ("an empty value", with(&[("x-field", "")])),
        ("a blank in a value", with(&[("x-field", "a b")])),
        ("a length of nothing", with(&[("content-length", "0")])),
        ("a query", get_but(":path", Some("/?a=b"), &[])),
        ("a cookie in pieces", with(&[("cookie", "a=1"), ("cookie", "b=2")])),
    ];
    beside_a_neighbour(&requests, |answer| answer.kind == HEADERS && answer.payload[0] == OK);
}

/// A CONNECT with a length used to take its connection with it.
#[test]
fn a_connect_of_any_kind_ends_its_own_stream_at_most() {
    let connect = |fields: Fields<'_>| {
        request(&[&[(":method", "CONNECT"), (":authority", "a:1")], fields].concat())
    };
    let requests = [
        ("CONNECT", connect(&[])),
        ("CONNECT with no length", connect(&[("content-length", "0")])),
        ("CONNECT of an unknown protocol", {
            let fields = [(":scheme", "http"), (":path", "/"), (":protocol", "unheard-of")];
            connect(&fields)
        }),
    ];
    beside_a_neighbour(&requests, |answer| answer.kind == HEADERS && answer.payload[0] != OK);
    let (_server, address) = start(&["1", "100"]);
    let mut connection = http2(&address);
    let fields = connect(&[("content-length", "5")]);
    connection.send(&frame(HEADERS, END_HEADERS, 1, &fields));
    verdict(&mut connection, 1, "CONNECT with a length");
    connection.send(&frame(HEADERS, END_HEADERS_AND_STREAM, 3, &get("/")));
    assert_eq!(verdict(&mut connection, 3, "its neighbour").payload[0], OK);
}

#[test]
fn cookies_in_pieces_are_one_to_the_service_and_the_log_says_the_path_alone() {
    let (server, address) = start(&["1", "100", "log=%r | %{cookie}i | %{host}i %v"]);
    let mut connection = http2(&address);
    let cookies = [("cookie", "a=1"), ("x-field", "x"), ("cookie", "b=2; c=3"), ("cookie", "d=4")];
    let requests = [
        (get_but(":path", Some("/?x=y"), &cookies), "GET /?x=y HTTP/2.0 | a=1; b=2; c=3; d=4 |"),
        (get_but("", None, &cookies[..1]), "GET / HTTP/2.0 | a=1 |"),
        (get_but(":method", Some("BREW"), &[]), "BREW / HTTP/2.0 | - |"),
        (
            request(&[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), ("host", "a")]),
            "OPTIONS * HTTP/2.0 | - | a",
        ),
        (request(&[(":method", "CONNECT"), (":authority", "a:1")]), "CONNECT a:1 HTTP/2.0 | - |"),
    ];
    for (stream, (fields, line)) in (1..).step_by(2).zip(requests) {
        connection.send(&frame(HEADERS, END_HEADERS_AND_STREAM, stream, &fields));
        server.wait_line(line);
    }
}

//! Lines as they come out, without a connection around them.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use http::{Request, Response};
use http_body_util::Full;
use tine::Log;

use super::*;
use crate::client::{Client, Origin};
use crate::id::{Numbers, RequestId};
use crate::refusal::FIRST_LINE;
use crate::refusal::Unreadable;

type Lines = Rc<RefCell<Vec<String>>>;

fn writer(format: &str) -> (Rc<Writer>, Lines) {
    let lines = Lines::default();
    let seen = lines.clone();
    let keep = move |line: &[u8]| seen.borrow_mut().push(String::from_utf8(line.into()).unwrap());
    let log = AccessLog::to_function(keep, format.parse().unwrap());
    (Writer::new(&log, Log::default(), None, || false), lines)
}

fn who(address: &str) -> (Client, Origin) {
    let peer: SocketAddr = address.parse().unwrap();
    let id = Numbers::new(3).next();
    let address = Some(peer.ip());
    let client =
        Client { address, peer: Some(peer), https: false, tls: None, id: RequestId::new(id, 2) };
    let local = Some("10.0.0.9:8080".parse().unwrap());
    (client, Origin { id, peer: Some(peer), source: Some(peer), local, trusted: false, tls: None })
}

fn request() -> http::request::Builder {
    Request::get("/a/b?c=d").header("host", "example.org:81").header("user-agent", "test/1 \"x\"")
}

fn answer(status: u16, body: &'static str) -> Response<Full<&'static [u8]>> {
    let response = Response::builder().status(status).header("x-cache", "hit");
    response.body(Full::new(body.as_bytes())).unwrap()
}

/// The line of one exchange, in this format.
fn line(format: &str, request: &Request<()>, response: &Response<Full<&'static [u8]>>) -> String {
    let (writer, lines) = writer(format);
    let (client, origin) = who("192.0.2.7:4711");
    let line = Line::begin(&writer, request, &client, &origin, tine::now());
    line.answered(response);
    let length = http_body::Body::size_hint(response.body()).exact().unwrap();
    let length = usize::try_from(length).unwrap();
    let mut piece = line.piece(bytes::Bytes::from(vec![0; length]));
    line.whole();
    drop(line);
    assert!(lines.borrow().is_empty(), "it is not sent");
    bytes::Buf::advance(&mut piece, length);
    drop(piece);
    let lines = lines.take();
    assert_eq!(lines.len(), 1);
    lines.into_iter().next().unwrap()
}

#[test]
fn every_directive_stands_for_what_the_table_says() {
    let request = request().header("cookie", "a=1").header("cookie", "b=2").body(()).unwrap();
    let pid = std::process::id().to_string();
    for (directive, value) in [
        ("100%% %h", "100% 192.0.2.7"),
        ("%a %{c}a %{remote}p", "192.0.2.7 192.0.2.7 4711"),
        ("%A %p %{local}p", "10.0.0.9 8080 8080"),
        ("%l %u", "- -"),
        ("%r", "GET /a/b?c=d HTTP/1.1"),
        ("%m %U %q %H", "GET /a/b ?c=d HTTP/1.1"),
        ("%v %V", "example.org example.org"),
        ("%{User-Agent}i %{cookie}i %{X-None}i", "test/1 \\\"x\\\" a=1, b=2 -"),
        ("%{X-Cache}o %{X-None}o", "hit -"),
        ("%s %>s %<s", "404 404 404"),
        ("%b %B", "9 9"),
        ("%k %L %{c}L", "1 C3.1-2 C3.1"),
        ("%P", &pid),
        ("%X", "+"),
        ("%404,500{X-Cache}o %200{X-Cache}o %!404{User-Agent}i %!200{X-Cache}o", "hit - - hit"),
        (r#"%h\t\"%m\" \\"#, "192.0.2.7\t\"GET\" \\"),
    ] {
        assert_eq!(line(directive, &request, &answer(404, "not found")), value, "{directive}");
    }
    let times = line("%t %{iso}t %{sec}t %{msec}t %{usec}t", &request, &answer(200, ""));
    let times: Vec<&str> = times.split(' ').collect();
    assert!(times[0].starts_with('[') && times[1] == "+0000]", "{times:?}");
    assert!(humantime::parse_rfc3339(times[2]).is_ok(), "{times:?}");
    assert!(times[4].starts_with(times[3]) && times[5].starts_with(times[4]), "{times:?}");
    let took = line("%D %T %{s}T %{ms}T %{us}T", &request, &answer(200, ""));
    assert!(took.split(' ').all(|number| number.parse::<u64>().is_ok()), "{took}");
}

#[test]
fn the_named_formats_are_those_of_apache() {
    let request = request().header("referer", "http://a/").body(()).unwrap();
    let common = line("common", &request, &answer(200, "hello"));
    let (before, after) = common.split_once(" [").unwrap();
    assert_eq!(before, "192.0.2.7 - -");
    assert!(after.ends_with(" +0000] \"GET /a/b?c=d HTTP/1.1\" 200 5"), "{common}");
    let combined = line("combined", &request, &answer(304, ""));
    assert!(combined.ends_with(" 304 - \"http://a/\" \"test/1 \\\"x\\\"\""), "{combined}");
}

#[test]
fn a_json_line_is_an_object() {
    let request = request().body(()).unwrap();
    let read = |line: String| serde_json::from_str::<serde_json::Value>(&line).expect(&line);
    let json = read(line("json", &request, &answer(200, "hello")));
    assert_eq!((&json["status"], &json["bytes"]), (&200.into(), &5.into()));
    assert_eq!((&json["path"], &json["query"]), (&"/a/b".into(), &"?c=d".into()));
    assert_eq!((&json["user_agent"], &json["referer"]), (&"test/1 \"x\"".into(), &().into()));
    assert_eq!((&json["id"], &json["user"]), (&"C3.1-2".into(), &().into()));
    let own = read(line(r#"{"what":%r,"at":%t,"none":%200{X}i}"#, &request, &answer(404, "")));
    assert_eq!((&own["what"], &own["none"]), (&"GET /a/b?c=d HTTP/1.1".into(), &().into()));
    assert!(own["at"].is_string());
}

#[test]
fn the_service_says_who_has_asked() {
    let mut response = answer(200, "");
    response.extensions_mut().insert(User("eve \"root".into()));
    assert_eq!(line("%u", &request().body(()).unwrap(), &response), "eve \\\"root");
}

#[test]
fn every_request_has_a_line_whatever_becomes_of_it() {
    let (client, origin) = who("[2001:db8::1]:1");
    let (writer, lines) = writer("%h \"%r\" %>s %B %X %{X-Cache}o");
    let request = request().body(()).unwrap();
    // Its client went away, or its handler panicked.
    drop(Line::begin(&writer, &request, &client, &origin, tine::now()));
    let half = Line::begin(&writer, &request, &client, &origin, tine::now());
    half.answered(&answer(200, "hello"));
    let mut piece = half.piece(&b"hello"[..]);
    bytes::Buf::advance(&mut piece, 3);
    half.whole();
    drop((half, piece));
    let refused = |first_line| {
        let status = http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        writer.refused(&client, &origin, Unreadable { status, reason: "", first_line, answer: 0 });
    };
    refused(b"");
    refused(b"G\xff \"\x1b");
    refused(&[b'x'; FIRST_LINE]);
    assert_eq!(
        lines.take(),
        [
            "2001:db8::1 \"GET /a/b?c=d HTTP/1.1\" - 0 X -",
            "2001:db8::1 \"GET /a/b?c=d HTTP/1.1\" 200 3 X hit",
            "2001:db8::1 \"-\" 431 0 - -",
            "2001:db8::1 \"G\\xff \\\"\\x1b\" 431 0 - -",
            &format!("2001:db8::1 \"{}...\" 431 0 - -", "x".repeat(FIRST_LINE)),
        ]
    );
}

#[test]
fn what_closes_a_connection_shows() {
    let closing = request().header("connection", "keep-alive, Close").body(()).unwrap();
    assert_eq!(line("%X", &closing, &answer(200, "")), "-");
    let old = || request().version(http::Version::HTTP_10);
    assert_eq!(line("%X %H", &old().body(()).unwrap(), &answer(200, "")), "- HTTP/1.0");
    let kept = old().header("connection", "Keep-Alive").body(()).unwrap();
    assert_eq!(line("%X", &kept, &answer(200, "")), "+");
    let mut last = answer(200, "");
    last.headers_mut().insert("connection", "close".parse().unwrap());
    assert_eq!(line("%X", &request().body(()).unwrap(), &last), "-");
}

#[test]
fn lines_are_gathered_and_written_whole() {
    let directory = testkit::TempDir::new().unwrap();
    let path = directory.path().join("access");
    let file = LogFile::open(&path).unwrap();
    let log = AccessLog::to_file(file, "%r".parse().unwrap());
    let writer = Writer::new(&log, Log::default(), None, || false);
    let written = || std::fs::read_to_string(&path).unwrap();
    let (client, origin) = who("192.0.2.7:4711");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    let push = || {
        let request = request().body(()).unwrap();
        let line = Line::begin(&writer, &request, &client, &origin, tine::now());
        line.answered(&answer(200, ""));
    };
    const LINE: &str = "GET /a/b?c=d HTTP/1.1\n";
    runtime.block_on(async {
        let (first, second) = (writer.open(), writer.open());
        push();
        assert_eq!(written(), "");
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        assert_eq!(written(), LINE, "after a second");
        push();
        drop(first);
        assert_eq!(written(), LINE);
        drop(second);
        assert_eq!(written(), LINE.repeat(2), "at the end of the last connection");
        let _open = writer.open();
        (0..2000).for_each(|_| push());
        let size = written().len();
        assert!(size > 32 * 1024 && size % LINE.len() == 0, "{size} bytes when it is full");
    });
    drop(writer);
    assert_eq!(written(), LINE.repeat(2002), "at the end");
}

#[test]
fn values_in_quotes_of_a_json_format_are_json_all_the_same() {
    let request = request().header("x-odd", "a\"b\\c").body(()).unwrap();
    let format = r#"{"line":"%r","at":"%v:%p","odd":"<%{X-Odd}i>","none":"%{X-None}i","status":"%>s",
        "some":"%404{X-Cache}o","other":"%200{X-Cache}o","bare":%404{X-Odd}i,"\\\"%m":%B}"#;
    let shown = line(&format.replace('\n', ""), &request, &answer(404, "not found"));
    let shown: serde_json::Value =
        serde_json::from_str(&shown).unwrap_or_else(|e| panic!("{e}: {shown}"));
    let expected = serde_json::json!({
        "line": "GET /a/b?c=d HTTP/1.1", "at": "example.org:8080", "odd": "<a\"b\\c>", "none": "-",
        "status": "404", "some": "hit", "other": "-", "bare": "a\"b\\c", "\"GET": 9,
    });
    assert_eq!(shown, expected);
}

//! What must hold whatever the bytes are. Each function takes one input and panics if something does not.
//!
//! The fuzz targets call them with inputs of the fuzzer's, and a test of the workspace
//! (`crates/web/tests/fuzz_corpus.rs`) with those that are kept. What needs a connection has a real one: a
//! worker of its own serves in a thread of this process (`Prefork::solo`), so that the fuzzer sees what its
//! bytes reach, and panics there end the process.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tine::endpoint::Endpoint;
use tine::{BoxError, Prefork, Worker};
use tine_http::access_log::{AccessLog, Format};
use tine_http::{Limits, Options, RequestBody, Trust};
use tine_web::Files;

/// What must never come out of a directory that is served: it stands beside it.
const SECRET: &str = "this is nobody's business";
/// How long an answer may take; the limits of the servers are far below.
const DEADLINE: Duration = Duration::from_secs(20);
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Raw bytes of a client: every answer is one, and the worker serves on.
pub fn requests(bytes: &[u8]) {
    answer(bytes);
}

/// The same, and what was answered.
pub fn answer(bytes: &[u8]) -> Vec<u8> {
    static SERVER: OnceLock<String> = OnceLock::new();
    let name = SERVER.get_or_init(|| start("requests", serve_echo));
    let answer = exchange(name, bytes);
    assert!(is_http(&answer, bytes), "{}", answer.escape_ascii());
    serves_on(name);
    answer
}

/// The same behind a trusted proxy: a PROXY header, forwarded headers, and an access log of JSON lines, which
/// must be JSON.
pub fn proxied(bytes: &[u8]) {
    static SERVER: OnceLock<String> = OnceLock::new();
    let name = SERVER.get_or_init(|| start("proxied", serve_proxied));
    let answer = exchange(name, bytes);
    assert!(answer.is_empty() || is_http(&answer, bytes), "{}", answer.escape_ascii());
    let canary = [b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", GET].concat();
    assert!(exchange(name, &canary).starts_with(b"HTTP/1.1 200 "), "it serves on");
}

/// A request for something in a directory: ranges, conditions, codings, paths. The first line is the target,
/// the second a range, the third the codings that are accepted, the rest a condition.
pub fn files(bytes: &[u8]) {
    static SERVER: OnceLock<String> = OnceLock::new();
    let name = SERVER.get_or_init(|| start("files", serve_files));
    let mut lines = bytes.splitn(4, |&byte| byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let (target, range, codings, condition) = (next(), next(), next(), next());
    let request = [
        b"GET /".as_slice(),
        target,
        b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\nRange: ",
        range,
        b"\r\nAccept-Encoding: ",
        codings,
        b"\r\n",
        condition,
        b"\r\n\r\n",
    ];
    let answer = exchange(name, &request.concat());
    assert!(is_http(&answer, b""), "{}", answer.escape_ascii());
    let found = answer.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
    assert!(!found, "{}", answer.escape_ascii());
    assert!(!answer.starts_with(b"HTTP/1.1 500"), "{}", answer.escape_ascii());
    serves_on(name);
}

/// The text of a format: what is refused is refused with a reason.
pub fn log_format(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = text.parse::<Format>() {
        assert!(error.to_string().starts_with("access log format"), "{error}");
    }
}

/// The text of an address: what is understood is written so that it is understood again as the same.
pub fn endpoint(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Endpoint::parse_all(text) {
        Ok(all) => {
            for one in all {
                let shown = one.to_string();
                assert_eq!(shown.parse::<Endpoint>().ok(), Some(one), "{text:?} is {shown:?}");
            }
        }
        Err(error) => assert!(error.to_string().starts_with("cannot listen on"), "{error}"),
    }
}

/// Sends it, ends our side, and returns all that comes back.
fn exchange(name: &str, bytes: &[u8]) -> Vec<u8> {
    let address = SocketAddr::from_abstract_name(name).expect("a short name");
    let mut stream = UnixStream::connect_addr(&address).expect("the server is there");
    for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
        set(&stream, Some(DEADLINE)).expect("a deadline");
    }
    // It may have had enough before the end.
    let sent = stream.write_all(bytes);
    let late = |error: &std::io::Error| {
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
    };
    assert!(!sent.is_err_and(|error| late(&error)), "it reads no more, and does not say why");
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    assert!(!ended.is_err_and(|error| late(&error)), "it neither answers nor closes");
    answer
}

fn is_http(answer: &[u8], request: &[u8]) -> bool {
    let first = answer.starts_with(b"HTTP/1.1 ") || answer.starts_with(b"HTTP/1.0 ");
    // Nothing is answered to no request; HTTP/2 answers in frames.
    let http2 = || request.windows(PREFACE.len()).any(|window| window == PREFACE);
    first || answer.is_empty() || http2()
}

/// Now and then, for it costs as much again.
fn serves_on(name: &str) {
    thread_local!(static COUNT: Cell<u8> = const { Cell::new(0) });
    if COUNT.replace(COUNT.get().wrapping_add(1)).is_multiple_of(16) {
        assert!(exchange(name, GET).starts_with(b"HTTP/1.1 200 "), "it serves on");
    }
}

/// A server in a thread of its own, as long as the process lives; the name of its socket.
fn start(what: &str, serve: fn(Worker) -> Result<(), BoxError>) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = format!("tine-fuzz-{}-{}-{what}", std::process::id(), NUMBER.fetch_add(1, SeqCst));
    let (address, (bound, wait)) = (format!("unix:@{name}"), std::sync::mpsc::channel());
    std::thread::spawn(move || {
        let server = Prefork::new().listen(address).concurrency(100).no_control();
        let worker = server.solo().expect("a worker");
        bound.send(()).expect("somebody waits");
        serve(worker).expect("it serves");
    });
    wait.recv().expect("it listens");
    name
}

/// So that what waits for more does not wait for long, and that what is too much is shorter than the longest input
/// (`-max_len` in `run`).
fn options() -> Options {
    let soon = Duration::from_millis(300);
    let limits = Limits {
        header_timeout: soon,
        idle_timeout: soon,
        body_timeout: soon,
        send_timeout: soon,
        header_bytes: 32 * 1024,
        body_bytes: 16 * 1024,
        resets: 10,
        ..Limits::default()
    };
    Options { limits, ..Options::default() }
}

fn serve_echo(worker: Worker) -> Result<(), BoxError> {
    tine_http::serve_with(worker, options(), |_| async { Ok(Echo) })
}

fn serve_proxied(worker: Worker) -> Result<(), BoxError> {
    let format =
        r#"{"client":%a,"peer":"%{c}a","line":"%r","host":%v,"agent":%{User-Agent}i,"status":%>s,
        "time":"%t","took":%D,"sent":%O,"on":"%p %A","end":"%X"}"#
            .replace("\n", "");
    let is_json = |line: &[u8]| {
        let read = serde_json::from_slice::<serde_json::Value>(line);
        assert!(read.is_ok_and(|it| it.is_object()), "{}", line.escape_ascii());
    };
    let mut options = options();
    options.access_log = Some(AccessLog::to_function(is_json, format.parse()?));
    options.trust = Trust::new(["unix", "192.0.2.0/24"])?;
    options.proxy_protocol = true;
    tine_http::serve_with(worker, options, |_| async { Ok(Echo) })
}

fn serve_files(worker: Worker) -> Result<(), BoxError> {
    let around = tempfile::tempdir()?;
    let root = around.path().join("site");
    std::fs::create_dir_all(root.join("folder"))?;
    std::fs::write(around.path().join("secret"), SECRET)?;
    std::os::unix::fs::symlink("../secret", root.join("link"))?;
    for (name, length) in
        [("index.html", 13), ("file.txt", 70_000), ("folder/index.html", 1), ("empty", 0)]
    {
        std::fs::write(root.join(name), "x".repeat(length))?;
    }
    std::fs::write(root.join("file.txt.br"), "brotli, so to speak")?;
    let files = Files::new(root)?;
    tine_http::serve_with(worker, options(), |_| async move { Ok(files) })
}

/// Reads the body to its end, and says how long it was.
#[derive(Clone)]
struct Echo;

impl tower_service::Service<Request<RequestBody>> for Echo {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        Box::pin(async move {
            let length = request.into_body().collect().await.map(|body| body.to_bytes().len());
            Ok(Response::new(Full::from(format!("{length:?}"))))
        })
    }
}

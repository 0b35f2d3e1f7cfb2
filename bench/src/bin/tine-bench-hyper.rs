//! hyper as it comes, in a worker of Tine's engine and with nothing of `tine-http` around it: what HTTP
//! itself costs. No deadline, no limit, no drain; nobody could serve with it.
//!
//! `tine-bench-hyper ADDRESS WORKERS CONCURRENCY`; with no workers in one plain process, for profilers that
//! follow no fork.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::process::ExitCode;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tine::{Conn, Prefork, Stream, Worker, Workers};

const BODY: &str = "Hello, World!";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<u32> = words.iter().skip(1).filter_map(|word| word.parse().ok()).collect();
    let (Some(address), &[workers, concurrency]) = (words.first(), &numbers[..]) else {
        let usage = "usage: tine-bench-hyper ADDRESS WORKERS CONCURRENCY";
        // The exit code says it too.
        let _ = writeln!(io::stderr(), "{usage}");
        return ExitCode::from(2);
    };
    let server = Prefork::new()
        .listen(address)
        .workers(Workers::fixed(workers.max(1)))
        .concurrency(concurrency)
        .no_control();
    let run = |worker: Worker| worker.serve_async(|_context| async { Ok(serve) });
    if workers == 0 {
        server.run_solo(run).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
    } else {
        server.run(run)
    }
}

async fn serve(conn: Conn) {
    let (socket, _busy) = conn.into_parts();
    let Stream::Tcp(socket) = socket else { return };
    let Ok(stream) = tokio::net::TcpStream::from_std(socket) else { return };
    // Whatever goes wrong is the client's.
    let _ = http1::Builder::new()
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service_fn(hello))
        .await;
}

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(BODY.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

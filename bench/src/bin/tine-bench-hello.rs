//! The smallest server somebody could write with `tine-http`: scoreboard, limits and timeouts are on,
//! as they are unless told.
//!
//! `tine-bench-hello ADDRESS WORKERS CONCURRENCY`; with no workers in one plain process, for profilers that
//! follow no fork.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use tine::{Prefork, Workers};
use tower_service::Service;

const BODY: &str = "Hello, World!";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<u32> = words.iter().skip(1).filter_map(|word| word.parse().ok()).collect();
    let (Some(address), &[workers, concurrency]) = (words.first(), &numbers[..]) else {
        let usage = "usage: tine-bench-hello ADDRESS WORKERS CONCURRENCY";
        // The exit code says it too.
        let _ = writeln!(io::stderr(), "{usage}");
        return ExitCode::from(2);
    };
    let server = Prefork::new()
        .listen(address)
        .workers(Workers::fixed(workers.max(1)))
        .concurrency(concurrency)
        .no_control();
    let serve = |worker| tine_http::serve(worker, |_context| async { Ok(Hello) });
    if workers == 0 {
        server.run_solo(serve).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
    } else {
        server.run(serve)
    }
}

#[derive(Clone, Debug)]
struct Hello;

impl<B> Service<Request<B>> for Hello {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let mut response = Response::new(Full::new(Bytes::from_static(BODY.as_bytes())));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        ready(Ok(response))
    }
}

//! An axum application, many connections a process: what fasthttp/prefork is for.
//!
//! `cargo run --release -p tine-http --example axum -- 127.0.0.1:8080`

use std::process::ExitCode;

use axum::Router;
use axum::routing::get;
use tine::{BoxError, Prefork};

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    Prefork::new().listen(address).concurrency(1000).run(|worker| {
        let place = worker.place();
        tine_http::serve(worker, move |_context| async move {
            let whoami =
                move || async move { format!("place {place}, pid {}\n", std::process::id()) };
            Ok::<_, BoxError>(
                Router::new().route("/", get(|| async { "hello" })).route("/whoami", get(whoami)),
            )
        })
    })
}

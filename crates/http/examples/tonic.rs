//! A gRPC service of tonic's, unchanged: over HTTP/2, many connections a process.
//!
//! `cargo run --release -p tine-http --example tonic -- 127.0.0.1:50051`

use std::process::ExitCode;

use tine::{BoxError, Prefork};
use tonic::service::Routes;

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:50051".to_owned());
    Prefork::new().listen(address).concurrency(1000).run(|worker| {
        tine_http::serve(worker, |_context| async {
            let (_reporter, health) = tonic_health::server::health_reporter();
            Ok::<_, BoxError>(Routes::new(health))
        })
    })
}

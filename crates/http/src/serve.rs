//! The entry: a worker and a service in, HTTP out.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use bytes::Buf;
use http_body::Body;
use hyper::body::Incoming;
use tine::{BoxError, Context, Worker};
use tower_service::Service;

use crate::connection::{Settings, drive};

/// What a client may take of a worker. Every wait and size has one.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A request's header must be complete within this, counted from the connection's beginning or the
    /// answer before: so it bounds idle connections as well. Default 15 s, as in Net::Server's HTTP
    /// personality.
    pub header_timeout: Duration,
    /// A request's header and line, in bytes, about: hyper looks after each read, so up to twice as much may
    /// pass. Default 64 KiB; more is answered 431.
    pub header_bytes: usize,
    /// Requests an isolated worker answers on one connection before it says `Connection: close`: so
    /// that a talkative client cannot keep the worker from everybody else. Default 100, as in Apache
    /// (`MaxKeepAliveRequests`); 0 = no limit. Without meaning where a worker serves many at once.
    pub isolated_requests: u64,
    /// While the worker leaves, a connection that was silent for this long is closed; before that, its
    /// next request is answered with `Connection: close`. Default 1 s.
    pub drain_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(15),
            header_bytes: 64 * 1024,
            isolated_requests: 100,
            drain_idle: Duration::from_secs(1),
        }
    }
}

/// Serves a tower service over HTTP/1 on the worker's stream listeners, with [`Limits::default`].
///
/// `make` runs once in the worker, on its runtime; the worker is ready when it has finished. Returns
/// when the worker is to leave and its connections are done.
///
/// # Errors
/// What `make` fails with, and what [`Worker::serve_async`] can fail with.
pub fn serve<M, F, S, B>(worker: Worker, make: M) -> Result<(), BoxError>
where
    M: FnOnce(Context) -> F,
    F: Future<Output = Result<S, BoxError>>,
    S: Service<http::Request<Incoming>, Response = http::Response<B>> + Clone + 'static,
    S::Error: Into<BoxError>,
    S::Future: 'static,
    B: Body + 'static,
    B::Data: Buf,
    B::Error: Into<BoxError>,
{
    serve_with(worker, Limits::default(), make)
}

/// The same with limits of one's own.
///
/// # Errors
/// As [`serve`].
pub fn serve_with<M, F, S, B>(worker: Worker, limits: Limits, make: M) -> Result<(), BoxError>
where
    M: FnOnce(Context) -> F,
    F: Future<Output = Result<S, BoxError>>,
    S: Service<http::Request<Incoming>, Response = http::Response<B>> + Clone + 'static,
    S::Error: Into<BoxError>,
    S::Future: 'static,
    B: Body + 'static,
    B::Data: Buf,
    B::Error: Into<BoxError>,
{
    worker.serve_async(|context| {
        let made = make(context.clone());
        async move {
            let service = made.await?;
            let settings = Rc::new(Settings::new(limits, context));
            Ok(move |conn| drive(conn, service.clone(), settings.clone()))
        }
    })
}

//! Who asks, in the words of whoever wrote the service.

use std::task::{Context, Poll};

use http::Request;
use tower_service::Service;

use crate::client::Client;

/// A service that is told who asks in words of its own: see [`introduce`].
#[derive(Clone, Debug)]
pub struct Introduced<S, F> {
    service: S,
    words: F,
}

/// Tells a service who asks in a type that it knows, beside [`Client`]: what `words` makes of each request's `Client`
/// is put into the request's extensions. Runs in the worker, once a request.
///
/// So handlers that ask axum for `ConnectInfo<SocketAddr>` find it, as those of tonic's do `Request::remote_addr`:
///
/// ```no_run
/// use std::net::SocketAddr;
/// use std::process::ExitCode;
///
/// use axum::extract::ConnectInfo;
/// use axum::{Router, routing::get};
///
/// async fn whoami(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
///     peer.to_string()
/// }
///
/// fn main() -> ExitCode {
///     tine::Prefork::new().listen("0.0.0.0:8080").concurrency(1000).run(|worker| {
///         tine_http::serve(worker, |_context| async {
///             let app = Router::new().route("/", get(whoami));
///             Ok(tine_http::introduce(app, |client| client.peer().map(ConnectInfo)))
///         })
///     })
/// }
/// ```
///
/// For tonic the words are `Some(TcpConnectInfo { local_addr: None, remote_addr: client.peer() })`.
pub fn introduce<S, F, T>(service: S, words: F) -> Introduced<S, F>
where
    F: Fn(&Client) -> Option<T> + Clone,
    T: Clone + Send + Sync + 'static,
{
    Introduced { service, words }
}

impl<S, F, T, B> Service<Request<B>> for Introduced<S, F>
where
    S: Service<Request<B>>,
    F: Fn(&Client) -> Option<T>,
    T: Clone + Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if let Some(words) = request.extensions().get().and_then(&self.words) {
            request.extensions_mut().insert(words);
        }
        self.service.call(request)
    }
}

//! The entry: a worker and a service in, HTTP out.

use std::future::Future;
use std::rc::Rc;

use tine::{BoxError, Context, Worker};
use tine_tls::Acceptor;

use crate::connection::{Settings, drive};
use crate::h1::driver::Application;
use crate::observe::Station;
use crate::options::Options;
use crate::secured::PROTOCOLS;
use crate::service::HttpService;

/// Serves a tower service over HTTP/1 and HTTP/2 on the worker's stream listeners, with
/// [`Options::default`].
///
/// `make` runs once in the worker, on its runtime; the worker is ready when it has finished. Returns
/// when the worker is to leave and its connections are done.
///
/// A request has a [`Client`](crate::Client), who asks, in its extensions, and a [`tine::ExitGuard`]: who holds one keeps the worker from leaving,
/// and can hear that it is to. A connection that was upgraded keeps it too, until it is closed.
///
/// # Errors
/// What `make` fails with, and what [`Worker::serve_async`] can fail with.
pub fn serve<M, F, S>(worker: Worker, make: M) -> Result<(), BoxError>
where
    M: FnOnce(Context) -> F,
    F: Future<Output = Result<S, BoxError>>,
    S: HttpService,
{
    serve_with(worker, Options::default(), make)
}

/// The same with [`Options`], or [`Limits`](crate::Limits) alone, of one's own.
///
/// # Errors
/// As [`serve`]; if a listener is marked for TLS and there is no [`Options::tls`]; and if a PROXY header is asked for of peers none of which is trusted.
pub fn serve_with<M, F, S>(
    worker: Worker,
    options: impl Into<Options>,
    make: M,
) -> Result<(), BoxError>
where
    M: FnOnce(Context) -> F,
    F: Future<Output = Result<S, BoxError>>,
    S: HttpService,
{
    let options = options.into();
    if options.proxy_protocol && options.trust.is_empty() {
        return Err("the PROXY protocol needs peers to be trusted, and there are none".into());
    }
    let secure = secure(&worker, &options)?;
    let station = Station::of(&worker);
    worker.serve_async(|context| {
        let made = make(context.clone());
        async move {
            let application = Application::new(made.await?);
            let observer = station.observer(&options, &context);
            let settings = Rc::new(Settings::new(options.limits, observer, context, secure));
            Ok(move |conn| drive(conn, application.clone(), settings.clone()))
        }
    })
}

/// What shakes hands, if anybody asks for it.
fn secure(worker: &Worker, options: &Options) -> Result<Option<Acceptor>, BoxError> {
    let marked = worker.listeners().iter().find(|listener| listener.tls());
    match (&options.tls, marked) {
        (None, None) => Ok(None),
        (None, Some(listener)) => {
            let address = listener.address();
            Err(format!("the listener {address} is for TLS, and there is no certificate").into())
        }
        (Some(tls), _) => Ok(Some(tls.acceptor(worker, &PROTOCOLS)?)),
    }
}

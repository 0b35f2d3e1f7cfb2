//! The entry: a worker and a service in, HTTP out.

use std::future::Future;
use std::rc::Rc;

use tine::{BoxError, Context, Worker};

use crate::connection::{Settings, drive};
use crate::limits::Limits;
use crate::service::HttpService;

/// Serves a tower service over HTTP/1 and HTTP/2 on the worker's stream listeners, with
/// [`Limits::default`].
///
/// `make` runs once in the worker, on its runtime; the worker is ready when it has finished. Returns
/// when the worker is to leave and its connections are done.
///
/// A request has a [`tine::ExitGuard`] in its extensions: who holds one keeps the worker from leaving,
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
    serve_with(worker, Limits::default(), make)
}

/// The same with limits of one's own.
///
/// # Errors
/// As [`serve`].
pub fn serve_with<M, F, S>(worker: Worker, limits: Limits, make: M) -> Result<(), BoxError>
where
    M: FnOnce(Context) -> F,
    F: Future<Output = Result<S, BoxError>>,
    S: HttpService,
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

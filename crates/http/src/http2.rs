//! HTTP/2 on one connection: hyper's, with tasks of this worker's one thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::StatusCode;
use tine::Context;
use tokio::time::sleep;

use crate::connected::Connected;
use crate::connection::{End, drive_until};
use crate::io::{Channel, Heard};
use crate::observed::Observed;
use crate::progress::Progress;
use crate::refusal::note_refused;
use crate::service::HttpService;
use crate::watch::{Overdue, Watch};
use crate::wire::Wire;

/// Spawns each request of a connection on the worker's own thread: services need not be `Send`.
///
/// hyper gives a stream that has become the application's own (a web socket, RFC 8441) a task that ends with it, and
/// nothing else says that it is there.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    progress: Arc<Progress>,
    context: Context,
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        let stream = Stream::begin(self);
        tokio::task::spawn_local(async move {
            future.await;
            drop(stream);
        });
    }
}

/// A stream with something to do.
struct Stream(Local);

impl Stream {
    fn begin(local: &Local) -> Self {
        local.progress.streams.add(1);
        Self(local.clone())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Local { progress, context } = &self.0;
        progress.streams.take_one();
        // A request's end was noted when it was answered.
        if progress.upgrades.get() {
            progress.since.set(progress.look());
        }
        if std::thread::panicking() {
            // The runtime catches it. The other streams go on, unless nothing does in this worker.
            match context.is_isolated() {
                true => progress.panicked.set(true),
                false => context.panicked(),
            }
        }
    }
}

/// A connection that ends by its client's fault is noted like a request nobody could read: on the connection all of its
/// streams have come to their end with it.
fn note(end: &End, connected: &Connected) {
    let is_refused = match end {
        End::Done(Err(error)) => is_protocol_error(error),
        End::Overdue(overdue) => *overdue == Overdue::Flood,
        _ => false,
    };
    if is_refused {
        let Connected { settings, progress, arrival, .. } = connected;
        note_refused(settings, arrival, progress, StatusCode::BAD_REQUEST);
    }
}

/// Whether it is one of the protocol, and not of a socket, or a client that has gone without a word. It may be the client
/// who said so: one that says it first, and then does what it likes, would be seen no more.
fn is_protocol_error(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    !error.is_timeout() && !source.is_some_and(|source| source.is::<std::io::Error>())
}

/// Serves it to its end.
pub(crate) async fn serve<I: Channel, S: HttpService>(io: Heard<Wire<I>>, service: Observed<S>) {
    let connected = service.connected.clone();
    let Connected { settings, progress, .. } = &*connected;
    let http2 = settings
        .limits
        .http2(Local { progress: progress.clone(), context: settings.context.clone() });
    let mut connection = http2.serve_connection(io, service);
    let mut watch = Watch::new(settings.clone(), progress.clone(), false);
    let leaving = settings.leaving();
    match drive_until(&mut connection, &mut watch, leaving).await {
        End::Other | End::Overdue(Overdue::Last | Overdue::Request) => {}
        end => return note(&end, &connected),
    }
    // GOAWAY loses nothing: a client sends again what came after it (RFC 9113, section 6.8).
    progress.leaving.set(true);
    progress.told.set(progress.look());
    Pin::new(&mut connection).graceful_shutdown();
    loop {
        progress.heard.set(false);
        let window = sleep(settings.limits.drain_idle);
        match drive_until(&mut connection, &mut watch, window).await {
            End::Other if !progress.is_silent() => {}
            end => return note(&end, &connected),
        }
    }
}

//! One connection, from accept to close.
//!
//! hyper frames and parses; what is ours is the end. A connection of a leaving worker is told so by the
//! next answer (`Connection: close`), and is closed without that only after it was silent for a while
//! with nothing unread in its socket: a request that is already on its way is answered.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use bytes::Buf;
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, Connection};
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use tine::{Activity, BoxError, Busy, Conn, Context, Stream};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::sleep;
use tower_service::Service;

use crate::io::{Channel, Heard};
use crate::observed::{Observed, Progress};
use crate::serve::Limits;

/// What all connections of a worker share.
#[derive(Debug)]
pub(crate) struct Settings {
    limits: Limits,
    context: Context,
    http1: http1::Builder,
}

impl Settings {
    pub(crate) fn new(limits: Limits, context: Context) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(limits.header_bytes.max(8192))
            .half_close(true);
        Self { limits, context, http1 }
    }
}

/// Serves one connection to its end. Errors end the connection; they are the client's.
pub(crate) async fn drive<S, B>(conn: Conn, service: S, settings: Rc<Settings>)
where
    S: Service<http::Request<Incoming>, Response = http::Response<B>> + Clone + 'static,
    S::Error: Into<BoxError>,
    S::Future: 'static,
    B: Body + 'static,
    B::Data: Buf,
    B::Error: Into<BoxError>,
{
    let peer = conn.peer();
    let (stream, busy) = conn.into_parts();
    match stream {
        Stream::Tcp(stream) => {
            if let Ok(stream) = TcpStream::from_std(stream) {
                run(stream, peer, busy, service, &settings).await;
            }
        }
        Stream::Unix(stream) => {
            if let Ok(stream) = UnixStream::from_std(stream) {
                run(stream, peer, busy, service, &settings).await;
            }
        }
    }
}

async fn run<I, S, B>(
    stream: I,
    peer: Option<SocketAddr>,
    busy: Busy,
    service: S,
    settings: &Settings,
) where
    I: Channel + 'static,
    S: Service<http::Request<Incoming>, Response = http::Response<B>> + Clone + 'static,
    S::Error: Into<BoxError>,
    S::Future: 'static,
    B: Body + 'static,
    B::Data: Buf,
    B::Error: Into<BoxError>,
{
    let progress = Rc::new(Progress::default());
    let observed = Observed {
        inner: TowerToHyperService::new(service),
        context: settings.context.clone(),
        progress: progress.clone(),
        peer,
        most: match settings.context.concurrency() {
            1 => settings.limits.isolated_requests,
            _ => 0,
        },
        sends_files: I::SENDS_FILES,
    };
    let connection =
        pin!(settings.http1.serve_connection(Heard::new(stream, progress.clone()), observed));
    until_closed(connection, &progress, settings).await;
    settings.context.record().set(Activity::Closing);
    drop(busy);
}

/// Drives the connection; once the worker leaves, also watches for silence.
async fn until_closed<I, S, B>(
    mut connection: Pin<&mut Connection<Heard<I>, Observed<S>>>,
    progress: &Progress,
    settings: &Settings,
) where
    I: Channel + 'static,
    S: Service<http::Request<Incoming>, Response = http::Response<B>> + Clone + 'static,
    S::Error: Into<BoxError>,
    B: Body + 'static,
    B::Error: Into<BoxError>,
{
    {
        let mut leaving = pin!(settings.context.leaving());
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            () = leaving.as_mut() => {}
        }
    }
    progress.leaving.set(true);
    while !silent_for(connection.as_mut(), progress, settings.limits.drain_idle).await {}
    if !progress.ended.get() {
        // What arrives from here on would have met a closed socket a moment later.
        connection.as_mut().graceful_shutdown();
        // Half a head keeps hyper waiting for the rest; we have waited long enough.
        while !silent_for(connection.as_mut(), progress, settings.limits.drain_idle).await {}
    }
}

/// Drives the connection for so long; true if it ended, or nothing was heard or answered meanwhile.
async fn silent_for<C: Future>(
    mut connection: Pin<&mut C>,
    progress: &Progress,
    window: Duration,
) -> bool {
    progress.heard.set(false);
    let over = pin!(sleep(window));
    tokio::select! {
        biased;
        _ = connection.as_mut() => {
            progress.ended.set(true);
            true
        }
        () = over => {
            !progress.heard.get()
                && !progress.busy.get()
                && !progress.writing.get()
                && !progress.receiving.get()
        }
    }
}

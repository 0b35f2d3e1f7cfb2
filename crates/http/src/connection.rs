//! One connection, from accept to close.
//!
//! hyper frames and parses; what is ours is the end. A connection of a leaving worker is told so by the
//! next answer (`Connection: close`), and is closed without that only after it was silent for a while
//! with nothing unread in its socket: a request that is already on its way is answered.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::StatusCode;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::server::conn::http2 as hyper_http2;
use hyper_util::service::TowerToHyperService;
use tine::{Activity, Conn, Context, Level, Stream as Socket};
use tine_tls::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{sleep, timeout};

use crate::crowd::Crowd;
use crate::fresh::Fresh;
use crate::http2::{self, Local};
use crate::io::{Channel, Heard};
use crate::limits::{LINGER, LINGER_BYTES, LINGER_SILENCE, Limits};
use crate::observe::{Arrival, Observer};
use crate::observed::Observed;
use crate::progress::Progress;
use crate::refusal::note_refused;
use crate::secured::{Failure, shake};
use crate::service::HttpService;
use crate::watch::{Overdue, Watch};
use crate::wire::Wire;

/// What all connections of a worker share.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) context: Context,
    pub(crate) observer: Observer,
    pub(crate) crowd: Rc<Crowd>,
    secure: Option<Acceptor>,
    http1: http1::Builder,
    pub(crate) http2: hyper_http2::Builder<Local>,
}

impl Settings {
    pub(crate) fn new(
        limits: Limits,
        observer: Observer,
        context: Context,
        secure: Option<Acceptor>,
    ) -> Self {
        let crowd = Rc::new(Crowd::default());
        let members = crowd.clone();
        context.when_crowded(move |waiting| members.make_room(waiting, tine::now()));
        let (http1, http2) = (limits.http1(), limits.http2());
        Self { http1, http2, limits, context, observer, crowd, secure }
    }
}

/// Serves one connection to its end. Errors end the connection; they are the client's.
pub(crate) async fn drive<S: HttpService>(conn: Conn, service: S, settings: Rc<Settings>) {
    let peer = conn.peer();
    let secure = settings.secure.as_ref().filter(|_| conn.listener().tls());
    let (socket, busy) = conn.into_parts();
    let inner = TowerToHyperService::new(service);
    match socket {
        Socket::Tcp(stream) => {
            let local = match settings.observer.asks_local() {
                true => stream.local_addr().ok(),
                false => None,
            };
            let mut stream = Fresh::New(stream);
            if let Some(arrival) = settings.observer.arrive(&mut stream, peer, local).await {
                begin(stream, secure, inner, arrival, &settings).await;
            }
        }
        Socket::Unix(stream) => {
            let mut stream = Fresh::New(stream);
            if let Some(arrival) = settings.observer.arrive(&mut stream, peer, None).await {
                begin(stream, secure, inner, arrival, &settings).await;
            }
        }
    }
    settings.context.record().set(Activity::Closing);
    drop(busy);
}

/// Serves a connection that is there, after its handshake if there is to be one.
async fn begin<I: Channel, S: HttpService>(
    stream: I,
    secure: Option<&Acceptor>,
    inner: TowerToHyperService<S>,
    mut arrival: Arrival,
    settings: &Rc<Settings>,
) {
    let progress = Arc::new(Progress::new(tine::now()));
    let Some(acceptor) = secure else {
        return serve(stream, inner, arrival, progress, settings).await;
    };
    // Short, and large: a connection that waits for a request should not carry it.
    match Box::pin(shake(acceptor, stream, settings, &progress)).await {
        Ok((stream, agreed)) => {
            arrival.is_secured(agreed);
            serve(stream, inner, arrival, progress, settings).await;
        }
        Err(Failure::Plain(stream)) => {
            note_refused(settings, &arrival, &progress, StatusCode::BAD_REQUEST);
            Box::pin(linger(Wire::new(stream, progress), NO_TLS)).await;
        }
        Err(Failure::Broken(error)) => {
            settings.observer.log_of(&arrival, Level::Debug, &format!("TLS handshake: {error}"));
        }
        Err(Failure::Late) => {
            settings.observer.log_of(&arrival, Level::Debug, "TLS handshake: not done in time");
        }
    }
}

async fn serve<I: Channel, S: HttpService>(
    stream: I,
    inner: TowerToHyperService<S>,
    arrival: Arrival,
    progress: Arc<Progress>,
    settings: &Rc<Settings>,
) {
    let io = Heard::new(Wire::new(stream, progress.clone()), progress.clone());
    let settings = settings.clone();
    let service = Observed {
        inner,
        settings: settings.clone(),
        progress: progress.clone(),
        arrival,
        sends_files: I::SENDS_FILES,
    };
    let mut connection = settings.http1.serve_connection(io, service).with_upgrades();
    let end = {
        let mut watch = Watch::new(settings.clone(), progress.clone());
        until_closed(&mut connection, &mut watch, &progress, &settings).await
    };
    let Some(parts) = connection.into_parts() else {
        return until_gone(&progress, &settings.context).await;
    };
    // Rare, and large: a connection that waits for a request should not carry them.
    match end {
        End::Done(_) if progress.http2.get() => {
            progress.since.set(tine::now());
            Box::pin(http2::serve(parts.io, parts.service, settings, progress)).await;
        }
        End::Done(Err(error)) if error.is_parse() => {
            let status = match error.is_parse_too_large() {
                true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                false => StatusCode::BAD_REQUEST,
            };
            note_refused(&settings, &parts.service.arrival, &progress, status);
            Box::pin(linger(parts.io.into_inner(), b"")).await;
        }
        End::Overdue(Overdue::Head) => {
            let status = StatusCode::REQUEST_TIMEOUT;
            note_refused(&settings, &parts.service.arrival, &progress, status);
            Box::pin(linger(parts.io.into_inner(), TOO_LATE)).await;
        }
        // Its client may still be sending: what has come unread would take the answer back.
        End::Done(_)
            if progress.refused.get() || progress.unread.get() || !parts.read_buf.is_empty() =>
        {
            Box::pin(linger(parts.io.into_inner(), b"")).await;
        }
        End::Done(_) | End::Overdue(_) | End::Other => {}
    }
}

/// What is said to a client whose request does not come to an end.
const TOO_LATE: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What is said to a client that should speak TLS, and does not.
const NO_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\
    content-length: 43\r\n\r\nThis port speaks HTTPS: write https:// here\n";

/// How a connection's driving ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By itself.
    Done(hyper::Result<()>),
    /// It is to end.
    Overdue(Overdue),
    /// Something else happened first.
    Other,
}

/// Drives a connection until it ends, is overdue, or something else happens.
pub(crate) async fn drive_until<C>(
    connection: &mut C,
    watch: &mut Watch,
    other: impl Future<Output = ()>,
) -> End
where
    C: Future<Output = hyper::Result<()>> + Unpin,
{
    let mut other = pin!(other);
    poll_fn(|cx| {
        if let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
            return Poll::Ready(End::Done(result));
        }
        if watch.releases(cx) {
            // In another turn, for the socket is hyper's.
            watch.release(true);
            let done = Pin::new(&mut *connection).poll(cx);
            watch.release(false);
            if let Poll::Ready(result) = done {
                return Poll::Ready(End::Done(result));
            }
        }
        if let Poll::Ready(overdue) = watch.poll(cx) {
            return Poll::Ready(End::Overdue(overdue));
        }
        other.as_mut().poll(cx).map(|()| End::Other)
    })
    .await
}

/// Drives an HTTP/1 connection to its end; once the worker leaves, also watches for silence.
async fn until_closed<I: Channel, S: HttpService>(
    connection: &mut UpgradeableConnection<Heard<Wire<I>>, Observed<S>>,
    watch: &mut Watch,
    progress: &Progress,
    settings: &Settings,
) -> End {
    match drive_until(connection, watch, settings.context.leaving()).await {
        End::Other => progress.leaving.set(true),
        end => return end,
    }
    // The second time hyper is told, for what arrives from there on would have met a closed socket a
    // moment later; and half a head would keep it waiting for the rest.
    for told in [false, true] {
        if told {
            Pin::new(&mut *connection).graceful_shutdown();
        }
        loop {
            progress.heard.set(false);
            match drive_until(connection, watch, sleep(settings.limits.drain_idle)).await {
                End::Other if progress.is_silent() => break,
                End::Other => {}
                end => return end,
            }
        }
    }
    End::Other
}

/// Waits until an application has closed what it made of a connection. It is told when the worker
/// leaves: see [`tine::ExitGuard::leaving`].
async fn until_gone(progress: &Progress, context: &Context) {
    let mut gone = pin!(progress.gone.notified());
    tokio::select! {
        biased;
        () = gone.as_mut() => {}
        () = context.leaving() => gone.await,
    }
}

/// Lets a client that is still sending read its answer: gives it, if hyper has not, ends our side, and
/// listens to it for a while (RFC 9112, section 9.6).
async fn linger<I: Channel>(mut wire: Wire<I>, answer: &[u8]) {
    let listen = async {
        // Where hyper has answered it may also have ended our side, and even no bytes can be written then.
        if !answer.is_empty() {
            poll_fn(|cx| Pin::new(&mut wire).poll_write(cx, answer)).await?;
        }
        poll_fn(|cx| wire.poll_end_writing(cx)).await?;
        let mut unwanted = vec![0; 16 * 1024];
        let mut heard = 0;
        while heard < LINGER_BYTES {
            let mut buffer = ReadBuf::new(&mut unwanted);
            let read = poll_fn(|cx| Pin::new(&mut wire).poll_read(cx, &mut buffer));
            match timeout(LINGER_SILENCE, read).await {
                Ok(read) => read?,
                Err(_) => break,
            }
            if buffer.filled().is_empty() {
                break;
            }
            heard += buffer.filled().len();
        }
        io::Result::Ok(())
    };
    // Whatever goes wrong now, nobody is there to be told.
    let _ = timeout(LINGER, listen).await;
}

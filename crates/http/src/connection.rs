//! One connection, from accept to close.
//!
//! hyper frames and parses; what is ours is the end. A connection of a leaving worker is told so by the
//! next answer (`Connection: close`), and is closed without that only after it was silent for a while
//! with nothing unread in its socket: a request that is already on its way is answered.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, Waker};

use http::StatusCode;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use tine::{Activity, Conn, Context, Level, Stream as Socket};
use tine_tls::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{sleep, timeout};

use crate::connected::Connected;
use crate::crowd::Crowd;
use crate::date::{DateField, Wall};
use crate::fresh::Fresh;
use crate::http2::{self, Streams};
use crate::io::{Channel, Heard};
use crate::limits::{LINGER, LINGER_BYTES, LINGER_LEAST, LINGER_SILENCE, Limits, TICK};
use crate::observe::Observer;
use crate::observed::Observed;
use crate::progress::Progress;
use crate::refusal::note_refused;
use crate::rest::{Rests, rest};
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
    /// Whether connections write answers in pieces, as they are, and not copied together: so it is where files are served,
    /// and wherever an answer was large. HTTP on a connection goes on as it began.
    pub(crate) in_pieces: Cell<bool>,
    pub(crate) rests: Rests,
    pub(crate) streams: Streams,
    pub(crate) date: DateField,
    secure: Option<Acceptor>,
    http1: http1::Builder,
}

impl Settings {
    pub(crate) fn new(
        limits: Limits,
        observer: Observer,
        context: Context,
        secure: Option<Acceptor>,
        files: bool,
    ) -> Self {
        let crowd = Rc::new(Crowd::default());
        let [first, second] = [crowd.clone(), crowd.clone()];
        context.when_crowded(move |waiting| first.make_room(waiting, tine::now()));
        context.when_leaving(move || second.wake());
        let http1 = limits.http1();
        let in_pieces = Cell::new(files);
        let (rests, streams) = (Rests::default(), Streams::default());
        let date = DateField::new(Wall::new());
        Self { http1, limits, context, observer, crowd, in_pieces, rests, streams, date, secure }
    }

    /// Ready when the worker is to leave. A connection that is alone asks the kernel; the others are woken together, and
    /// to be polled costs each of them next to nothing.
    pub(crate) async fn leaving(&self) {
        if self.context.is_isolated() {
            // Large, and mostly over before it is asked.
            return Box::pin(self.context.leaving()).await;
        }
        poll_fn(|_| if self.context.is_leaving() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// Serves one connection to its end. Errors end the connection; they are the client's.
pub(crate) async fn drive<S: HttpService>(conn: Conn, service: S, settings: Rc<Settings>) {
    let peer = conn.peer();
    let secure = settings.secure.as_ref().filter(|_| conn.listener().tls());
    let (socket, busy) = conn.into_parts();
    let isolated = settings.context.is_isolated();
    match socket {
        Socket::Tcp(stream) => {
            let local = match settings.observer.asks_local() {
                true => stream.local_addr().ok(),
                false => None,
            };
            let mut stream = Fresh::new(stream, isolated);
            let arrival = settings.observer.arrive(&mut stream, peer, local).await;
            if let Some(connected) = arrival.map(|arrival| Connected::new(&settings, arrival)) {
                begin(stream, secure, service, connected).await;
            }
        }
        Socket::Unix(stream) => {
            let mut stream = Fresh::new(stream, isolated);
            let arrival = settings.observer.arrive(&mut stream, peer, None).await;
            if let Some(connected) = arrival.map(|arrival| Connected::new(&settings, arrival)) {
                begin(stream, secure, service, connected).await;
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
    service: S,
    mut connected: Rc<Connected>,
) {
    let Some(acceptor) = secure else {
        return serve(stream, service, connected).await;
    };
    // Short, and large: a connection that waits for a request should not carry it.
    match Box::pin(shake(acceptor, stream, &connected.settings, &connected.progress)).await {
        Ok((stream, agreed)) => {
            if let Some(connected) = Rc::get_mut(&mut connected) {
                connected.arrival.is_secured(agreed);
            }
            serve(stream, service, connected).await;
        }
        Err(failure) => Box::pin(without_session(failure, connected)).await,
    }
}

/// A handshake came to nothing.
async fn without_session<I: Channel>(failure: Failure<I>, connected: Rc<Connected>) {
    let Connected { settings, progress, arrival, .. } = &*connected;
    let log = |text: &str| settings.observer.log_of(arrival, Level::Debug, text);
    match failure {
        Failure::Plain(stream) => {
            note_refused(settings, arrival, progress, StatusCode::BAD_REQUEST);
            linger(Wire::new(stream, progress.clone()), NO_TLS, &connected).await;
        }
        Failure::Broken(error) => log(&format!("TLS handshake: {error}")),
        Failure::Late => log("TLS handshake: not done in time"),
    }
}

async fn serve<I: Channel, S: HttpService>(stream: I, inner: S, connected: Rc<Connected>) {
    let (settings, progress) = (connected.settings.clone(), connected.progress.clone());
    let mut io = Heard::new(Wire::new(stream, progress.clone()), progress.clone());
    let mut service = Observed { inner, connected, sends_files: false };
    let mut watch = Watch::new(settings.clone(), progress.clone(), true);
    let (end, parts) = loop {
        let in_pieces = settings.in_pieces.get();
        io.write_in_pieces(in_pieces);
        service.sends_files = I::SENDS_FILES && in_pieces;
        // In a place of its own, which a connection at rest gives back: it is left with the block.
        let (end, parts) = {
            let connection = settings.http1.serve_connection(io, service).with_upgrades();
            let mut connection = Box::new(connection);
            let end = until_closed(&mut connection, &mut watch, &progress, &settings).await;
            (end, connection.into_parts())
        };
        let Some(parts) = parts else {
            drop(watch);
            return until_gone(&progress, &settings.context).await;
        };
        let rests = match end {
            End::Overdue(Overdue::Rest) => true,
            End::Overdue(Overdue::Anew) => false,
            end => break (end, parts),
        };
        (io, service) = (parts.io, parts.service);
        // Empty lines behind a body are nobody's (RFC 9112, section 2.2).
        let words = parts.read_buf.iter().position(|byte| !b"\r\n".contains(byte));
        if let Some(unread) = words.map(|start| &parts.read_buf[start..]) {
            // Somebody who has begun to speak does not rest.
            io.channel().put_back(unread);
            continue;
        }
        // It is the room that is to be given back.
        drop(parts.read_buf);
        if rests && !rest(io.channel(), &mut watch, &settings).await {
            return;
        }
    };
    drop(watch);
    let is_done = matches!(&end, End::Done(Ok(()))) && !progress.http2.get();
    if is_done && !progress.has_more_to_say() && parts.read_buf.is_empty() {
        return;
    }
    // Rare, and large: a connection that waits for a request should not carry it.
    Box::pin(take_leave(end, parts)).await;
}

/// HTTP/1 has come to its end on a connection: what is still to be done for its client.
async fn take_leave<I: Channel, S: HttpService>(
    end: End,
    parts: http1::Parts<Heard<Wire<I>>, Observed<S>>,
) {
    let connected = parts.service.connected.clone();
    let Connected { settings, progress, arrival, .. } = &*connected;
    match end {
        End::Done(_) if progress.http2.get() => {
            progress.since.set(progress.look());
            http2::serve(parts.io, parts.service).await;
        }
        End::Done(Err(error)) if error.is_parse() => {
            let status = match error.is_parse_too_large() {
                true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                false => StatusCode::BAD_REQUEST,
            };
            note_refused(settings, arrival, progress, status);
            linger(parts.io.into_inner(), b"", &connected).await;
        }
        End::Overdue(Overdue::Head) => {
            let status = StatusCode::REQUEST_TIMEOUT;
            note_refused(settings, arrival, progress, status);
            linger(parts.io.into_inner(), TOO_LATE, &connected).await;
        }
        // Its client may still be sending: what has come unread would take the answer back.
        End::Done(_) if progress.has_more_to_say() || !parts.read_buf.is_empty() => {
            linger(parts.io.into_inner(), b"", &connected).await;
        }
        End::Overdue(Overdue::Client) => progress.fails.set(true),
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
pub(crate) enum End<T = hyper::Result<()>> {
    /// By itself.
    Done(T),
    /// It is to end.
    Overdue(Overdue),
    /// Something else happened first.
    Other,
}

/// Drives a connection until it ends, is overdue, or something else happens.
pub(crate) async fn drive_until<C: Future + Unpin>(
    connection: &mut C,
    watch: &mut Watch,
    other: impl Future<Output = ()>,
) -> End<C::Output> {
    let mut other = pin!(other);
    poll_fn(|cx| {
        watch.begin_turn();
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
    match drive_until(connection, watch, settings.leaving()).await {
        End::Other => progress.leaving.set(true),
        end => return end,
    }
    watch.may_rest(false);
    Box::pin(drain(connection, watch, progress, settings)).await
}

/// Drives an HTTP/1 connection of a worker that leaves until it has ended, or was silent.
async fn drain<I: Channel, S: HttpService>(
    connection: &mut UpgradeableConnection<Heard<Wire<I>>, Observed<S>>,
    watch: &mut Watch,
    progress: &Progress,
    settings: &Settings,
) -> End {
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
/// listens to it for a while (RFC 9112, section 9.6), which is shorter where others wait for this worker.
async fn linger<I: Channel>(mut wire: Wire<I>, answer: &[u8], connected: &Connected) {
    let Connected { settings, progress, .. } = connected;
    // Whoever is to make room counts it among those that go.
    progress.unwanted.set(true);
    let _member = settings.crowd.join(progress.clone(), Waker::noop().clone());
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
    let wanted = async {
        sleep(LINGER_LEAST).await;
        while !settings.context.is_wanted_elsewhere() {
            sleep(TICK).await;
        }
    };
    // Whatever goes wrong now, nobody is there to be told.
    tokio::select! {
        _ = timeout(LINGER, listen) => {}
        () = wanted => {}
    }
}

//! One connection, from accept to close.
//!
//! [`crate::h1`] and [`crate::http2`] speak; here is how a connection begins and ends. A connection of a leaving worker is told so by the
//! next answer (`Connection: close`), and is closed without that only after it was silent for a while
//! with nothing unread in its socket: a request that is already on its way is answered.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use http::StatusCode;
use tine::{Activity, Conn, Context, Level, Stream as Socket};
use tine_tls::Acceptor;
use tokio::time::sleep;

use crate::channel::Channel;
use crate::connected::Connected;
use crate::crowd::Crowd;
use crate::date::{DateField, Wall};
use crate::fresh::Fresh;
use crate::h1::driver::{Application, Driver, Outcome};
use crate::http2::{self, Streams};
use crate::limits::Limits;
use crate::linger::linger;
use crate::observe::Observer;
use crate::progress::Progress;
use crate::refusal::{Unreadable, first_line, note_unreadable};
use crate::rest::Rests;
use crate::secured::{Failure, NOT_HTTP2, shake};
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
    pub(crate) rests: Rests,
    pub(crate) streams: Streams,
    pub(crate) date: DateField,
    secure: Option<Acceptor>,
}

impl Settings {
    pub(crate) fn new(
        limits: Limits,
        observer: Observer,
        context: Context,
        secure: Option<Acceptor>,
    ) -> Self {
        let crowd = Rc::new(Crowd::default());
        let [first, second] = [crowd.clone(), crowd.clone()];
        context.when_crowded(move |waiting| first.make_room(waiting, tine::now()));
        context.when_leaving(move || second.wake());
        let (rests, streams) = (Rests::default(), Streams::default());
        let date = DateField::new(Wall::new());
        Self { limits, context, observer, crowd, rests, streams, date, secure }
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
pub(crate) async fn drive<S: HttpService>(
    conn: Conn,
    application: Application<S>,
    settings: Rc<Settings>,
) {
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
            let arrival =
                settings.observer.arrive(&mut stream, &settings.context, peer, local).await;
            if let Some(connected) = arrival.map(|arrival| Connected::new(&settings, arrival)) {
                begin(stream, secure, application, connected).await;
            }
        }
        Socket::Unix(stream) => {
            let mut stream = Fresh::new(stream, isolated);
            let arrival =
                settings.observer.arrive(&mut stream, &settings.context, peer, None).await;
            if let Some(connected) = arrival.map(|arrival| Connected::new(&settings, arrival)) {
                begin(stream, secure, application, connected).await;
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
    application: Application<S>,
    mut connected: Rc<Connected>,
) {
    let Some(acceptor) = secure else {
        return serve(stream, application, connected).await;
    };
    // Short, and large: a connection that waits for a request should not carry it.
    match Box::pin(shake(acceptor, stream, &connected.settings, &connected.progress)).await {
        Ok((stream, agreed)) => {
            if let Some(connected) = Rc::get_mut(&mut connected) {
                connected.arrival.is_secured(agreed);
            }
            serve(stream, application, connected).await;
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
            let status = StatusCode::BAD_REQUEST;
            let reason = "it is HTTP without TLS on a port that is for TLS";
            let unreadable = Unreadable { status, reason, first_line: b"", answer: NO_TLS.len() };
            note_unreadable(settings, arrival, progress, unreadable);
            linger(Wire::new(stream, b"", progress.clone()), NO_TLS, &connected).await;
        }
        Failure::Broken(error) => log(&format!("TLS handshake: {error}")),
        Failure::Late => log("TLS handshake: not done in time"),
    }
}

async fn serve<I: Channel, S: HttpService>(
    stream: I,
    application: Application<S>,
    connected: Rc<Connected>,
) {
    let (settings, progress) = (connected.settings.clone(), connected.progress.clone());
    let mut driver = Driver::new(stream, application, connected);
    let mut watch = Watch::new(settings.clone(), progress.clone());
    let end = until_closed(&mut driver, &mut watch, &progress, &settings).await;
    drop(watch);
    match end {
        End::Done(Outcome::Over) | End::Other => {}
        End::Done(Outcome::Upgraded) => until_gone(&progress, &settings.context).await,
        // Rare, and large: a connection that waits for a request should not carry it.
        end => Box::pin(take_leave(end, driver)).await,
    }
}

/// HTTP/1 has come to its end on a connection: what is still to be done for its client.
async fn take_leave<I: Channel, S: HttpService>(end: End<Outcome>, driver: Driver<I, S>) {
    let service = driver.service();
    let connected = service.connected.clone();
    let is_finishing = driver.is_finishing();
    let Some((stream, input)) = driver.into_parts() else { return };
    let Connected { settings, progress, arrival, .. } = &*connected;
    let wire = |ahead| Wire::new(stream, ahead, progress.clone());
    match end {
        End::Done(Outcome::Http2) => {
            progress.since.set(progress.look());
            progress.http2.set(true);
            let wire = wire(input.bytes());
            drop(input);
            http2::serve(wire, service).await;
        }
        End::Overdue(Overdue::Head) => {
            let status = StatusCode::REQUEST_TIMEOUT;
            let reason = "its header did not come to its end in time";
            let (first_line, answer) = (first_line(input.bytes()), TOO_LATE.len());
            let unreadable = Unreadable { status, reason, first_line, answer };
            note_unreadable(settings, arrival, progress, unreadable);
            linger(wire(b""), TOO_LATE, &connected).await;
        }
        End::Done(Outcome::NotHttp2) => {
            let status = StatusCode::BAD_REQUEST;
            let reason = "it is not HTTP/2, which was agreed on";
            let (first_line, answer) = (first_line(input.bytes()), NOT_HTTP2.len());
            let unreadable = Unreadable { status, reason, first_line, answer };
            note_unreadable(settings, arrival, progress, unreadable);
            linger(wire(b""), NOT_HTTP2, &connected).await;
        }
        End::Done(Outcome::Linger) => linger(wire(b""), b"", &connected).await,
        // It is in the middle of sending what nobody reads.
        End::Overdue(Overdue::Request) if is_finishing => linger(wire(b""), b"", &connected).await,
        End::Done(Outcome::Failed) | End::Overdue(Overdue::Client) => progress.fails.set(true),
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
        if let Poll::Ready(overdue) = watch.poll(cx) {
            return Poll::Ready(End::Overdue(overdue));
        }
        other.as_mut().poll(cx).map(|()| End::Other)
    })
    .await
}

/// Drives an HTTP/1 connection to its end; once the worker leaves, also watches for silence.
async fn until_closed<I: Channel, S: HttpService>(
    driver: &mut Driver<I, S>,
    watch: &mut Watch,
    progress: &Progress,
    settings: &Settings,
) -> End<Outcome> {
    match drive_until(driver, watch, settings.leaving()).await {
        End::Other => progress.leaving.set(true),
        end => return end,
    }
    Box::pin(drain(driver, watch, progress, settings)).await
}

/// Drives an HTTP/1 connection of a worker that leaves until it has ended, or was silent for two windows: what
/// arrives at the end of the first would have met a closed socket a moment later. A body that nothing reads is silence.
async fn drain<I: Channel, S: HttpService>(
    driver: &mut Driver<I, S>,
    watch: &mut Watch,
    progress: &Progress,
    settings: &Settings,
) -> End<Outcome> {
    for _ in 0..2 {
        loop {
            progress.heard.set(false);
            match drive_until(driver, watch, sleep(settings.limits.drain_idle)).await {
                End::Other if progress.is_silent() || driver.is_discarding() => break,
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

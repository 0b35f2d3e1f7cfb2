//! HTTP/2 on one connection: framing and flow control are h2's, every request is a task of this worker's one thread.

mod linger;
mod pings;
mod reading_on;
mod room;
mod rules;
mod stream;
mod streams;
mod tunnel;
mod upload;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, Builder, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, StatusCode};
use http_body::Body;
use tokio::time::{sleep, timeout};

use self::linger::Lingering;
use self::pings::Pings;
pub(crate) use self::room::Permit;
use self::room::Room;
pub(crate) use self::streams::Streams;
pub(crate) use self::upload::Upload;
use crate::access_log::Counted;
use crate::channel::Channel;
use crate::connected::Connected;
use crate::connection::{End, drive_until};
use crate::limits::Limits;
use crate::observed::Observed;
use crate::refusal::{Unreadable, note_unreadable};
use crate::send::Piece;
use crate::service::HttpService;
use crate::watch::{Overdue, Watch};
use crate::wire::Wire;

/// What h2 may hold of one answer, in bytes; files are bounded by [`room::ROOM`] beside that.
const SEND_BUFFER: usize = 64 * 1024;
/// What a client may send of request bodies before the service reads them, in bytes: on a stream, and on a connection. A
/// megabyte every round trip of 100 ms is 80 Mbit/s.
const UPLOAD_WINDOW: u32 = 1 << 20;
/// Streams that were refused for an error of the client's before the connection ends; the default of h2 is for gateways.
const ERRORS: usize = 100;
/// Why a connection is cut.
const FLOOD: &str =
    "a flood over HTTP/2: too much that asks for nothing, or too many requests that are given up";
/// How long the GOAWAY of a connection that is cut may take to go out and be read.
const CUT: Duration = Duration::from_secs(1);

/// What is sent of an answer of this service.
type Out<S> = Counted<Piece<DataOf<S>>>;
/// The pieces that it makes itself.
type DataOf<S> = <<S as HttpService>::Answer as Body>::Data;

/// One connection. Ready when it has ended.
struct Connection<I: Channel, S: HttpService> {
    state: State<I, S>,
    service: Observed<S>,
    room: Rc<Room>,
    /// It is to end when its streams have.
    leaves: bool,
}

// The service is never pinned.
impl<I: Channel, S: HttpService> Unpin for Connection<I, S> {}

enum State<I: Channel, S: HttpService> {
    Shaking(Box<Handshake<Lingering<I>, Out<S>>>),
    Serving(Box<server::Connection<Lingering<I>, Out<S>>>, Pings),
}

/// Why a connection has ended before its time.
#[derive(Debug)]
enum Broken {
    H2(h2::Error),
    /// The client does not answer.
    Gone,
}

impl<I: Channel, S: HttpService> Connection<I, S> {
    fn new(io: Wire<I>, service: Observed<S>) -> Self {
        let Connected { settings, progress, .. } = &*service.connected;
        let io = Lingering::new(io, progress.clone());
        let state = State::Shaking(Box::new(builder(&settings.limits).handshake(io)));
        Self { state, service, room: Room::new(), leaves: false }
    }

    /// Takes no more requests. GOAWAY loses nothing: a client sends again what came after it (RFC 9113, section 6.8).
    fn leave(&mut self) {
        self.leaves = true;
        if let State::Serving(h2, _) = &mut self.state {
            h2.graceful_shutdown();
        }
    }

    /// Ends it at once, and says that it is the client's doing.
    async fn cut(&mut self) {
        if let State::Serving(h2, _) = &mut self.state {
            self.service.connected.progress.cut.set(true);
            h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            // Whatever is wrong with the socket, nothing is left to be said.
            let _ = timeout(CUT, self).await;
        }
    }

    /// A request has come: a task of its own answers it.
    fn begin(&self, request: Request<RecvStream>, mut respond: SendResponse<Out<S>>) {
        let Some(stream) = streams::Stream::begin(&self.service.connected, &request) else {
            return respond.send_reset(Reason::REFUSED_STREAM);
        };
        let exchange = stream::Exchange::begin(&self.service, request, respond, &self.room);
        tokio::task::spawn_local(async move {
            exchange.await;
            drop(stream);
        });
    }
}

impl<I: Channel, S: HttpService> Future for Connection<I, S> {
    type Output = Result<(), Broken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let connection = &mut *self;
        loop {
            let accepted = match &mut connection.state {
                State::Shaking(handshake) => {
                    let mut h2 = ready!(Pin::new(handshake).poll(cx)).map_err(Broken::H2)?;
                    let pings = Pings::new(h2.ping_pong());
                    if connection.leaves {
                        h2.graceful_shutdown();
                    }
                    connection.state = State::Serving(Box::new(h2), pings);
                    continue;
                }
                State::Serving(h2, pings) => {
                    let progress = &connection.service.connected.progress;
                    if pings.poll_gone(cx, progress).is_ready() {
                        return Poll::Ready(Err(Broken::Gone));
                    }
                    ready!(h2.poll_accept(cx))
                }
            };
            match accepted {
                Some(Ok((request, respond))) => connection.begin(request, respond),
                Some(Err(error)) => return Poll::Ready(Err(Broken::H2(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}

fn builder(limits: &Limits) -> Builder {
    let mut h2 = Builder::new();
    h2.initial_window_size(UPLOAD_WINDOW)
        .initial_connection_window_size(UPLOAD_WINDOW)
        .enable_connect_protocol()
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_local_error_reset_streams(Some(ERRORS));
    h2
}

/// A connection that ends by its client's fault is noted like a request that could not be read: all of its streams have
/// come to their end with it.
fn note(end: &End<Result<(), Broken>>, connected: &Connected) {
    let reason = match end {
        // An error of the protocol, and not of the socket. The client may be the one that says so: one that says it first
        // and then does what it likes would not be seen else. What it says besides is not for the log.
        End::Done(Err(Broken::H2(error))) if error.is_remote() && !error.is_io() => {
            let reason = error.reason().unwrap_or(Reason::NO_ERROR);
            format!("the client ends its HTTP/2 connection for an error: {reason}")
        }
        End::Done(Err(Broken::H2(error))) if !error.is_io() => format!("HTTP/2: {error}"),
        End::Overdue(Overdue::Flood) => FLOOD.to_owned(),
        _ => return,
    };
    let Connected { settings, progress, arrival, .. } = connected;
    let (status, reason) = (StatusCode::BAD_REQUEST, reason.as_str());
    let unreadable = Unreadable { status, reason, first_line: b"", answer: 0 };
    note_unreadable(settings, arrival, progress, unreadable);
}

/// Serves it to its end.
pub(crate) async fn serve<I: Channel, S: HttpService>(io: Wire<I>, service: Observed<S>) {
    let connected = service.connected.clone();
    let mut connection = Connection::new(io, service);
    let end = until_ended(&mut connection, &connected).await;
    if matches!(end, End::Overdue(Overdue::Flood)) {
        connection.cut().await;
    }
    note(&end, &connected);
}

async fn until_ended<I: Channel, S: HttpService>(
    connection: &mut Connection<I, S>,
    connected: &Connected,
) -> End<Result<(), Broken>> {
    let Connected { settings, progress, .. } = connected;
    let mut watch = Watch::new(settings.clone(), progress.clone());
    match drive_until(connection, &mut watch, settings.leaving()).await {
        End::Other | End::Overdue(Overdue::Last | Overdue::Request) => {}
        end => return end,
    }
    progress.leaving.set(true);
    progress.told.set(progress.look());
    connection.leave();
    loop {
        progress.heard.set(false);
        let window = sleep(settings.limits.drain_idle);
        match drive_until(connection, &mut watch, window).await {
            End::Other if !progress.is_silent() && !progress.rests_after_goaway() => {}
            end => return end,
        }
    }
}

/// Several cookie fields are one (RFC 9113, section 8.2.3): a client may split it up so that it is compressed better.
fn join_cookies<B>(request: &mut Request<B>) {
    use http::header::{COOKIE, Entry, HeaderValue};
    let Entry::Occupied(mut cookies) = request.headers_mut().entry(COOKIE) else { return };
    if cookies.iter().nth(1).is_none() {
        return;
    }
    let parts: Vec<_> = cookies.iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_maybe_shared(Bytes::from(parts.join(&b"; "[..]))) {
        cookies.insert(joined);
    }
}

//! One request over HTTP/2, from its fields to the last frame of its answer, and a little beyond.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use tine::BoxError;

use super::reading_on::{End, Held, MOST_READ, ReadingOn};
use super::room::{FRAME, Room};
use super::tunnel::{Pump, Tunnel};
use super::upload::{Leftover, Upload};
use super::{DataOf, Out, join_cookies, rules};
use crate::access_log::Counted;
use crate::body::{RequestBody, Source};
use crate::connected::Connected;
use crate::observed::{Answer, Answering, Observed};
use crate::piece::with_most_read;
use crate::send::Piece;
use crate::service::HttpService;

/// Fields that speak of a connection, and have no place in HTTP/2 (RFC 9113, section 8.2.2).
const OF_CONNECTION: [HeaderName; 6] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

pin_project_lite::pin_project! {
    /// See the module. Ready when nothing is left to be done for the request; an error resets the stream by itself.
    pub(super) struct Exchange<S: HttpService> {
        #[pin]
        state: State<S>,
        respond: SendResponse<Out<S>>,
        room: Rc<Room>,
        connected: Rc<Connected>,
        // Of a request with a body.
        leftover: Option<Leftover>,
        // Of a CONNECT.
        tunnel: Option<(Tunnel, RecvStream)>,
        head: bool,
        // It is answered, and told that it has failed.
        failed: bool,
    }
}

pin_project_lite::pin_project! {
    #[project = Now]
    enum State<S: HttpService> {
        Making { #[pin] answering: Answering<S> },
        Sending { #[pin] body: Answer<S::Answer>, out: Option<SendStream<Out<S>>>, next: Option<(Out<S>, bool)> },
        // The answer is sent, and the client still sends its request.
        ReadingOn { reading: ReadingOn<DataOf<S>> },
        Tunnelling { pump: Pin<Box<Pump<Out<S>>>> },
    }
}

impl<S: HttpService> Exchange<S> {
    pub(super) fn begin(
        service: &Observed<S>,
        mut request: Request<RecvStream>,
        respond: SendResponse<Out<S>>,
        room: &Rc<Room>,
    ) -> Self {
        join_cookies(&mut request);
        let head = request.method() == Method::HEAD;
        let (mut parts, stream) = request.into_parts();
        let (mut tunnel, mut leftover) = (None, None);
        let source = if parts.method == Method::CONNECT {
            tunnel = Some((Tunnel::offer(&mut parts.extensions), stream));
            Source::Empty
        } else {
            let (upload, rest) = Upload::new(stream, &parts.headers);
            leftover = rest;
            Source::Http2(upload)
        };
        let request = Request::from_parts(parts, RequestBody::new(source));
        let refused = rules::refusal(&request, &service.connected.settings.limits);
        let answering = service.begin(request, refused);
        let (room, connected) = (room.clone(), service.connected.clone());
        Self {
            state: State::Making { answering },
            respond,
            room,
            connected,
            leftover,
            tunnel,
            head,
            failed: false,
        }
    }
}

impl<S: HttpService> Future for Exchange<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut this = self.as_mut().project();
            let next = match this.state.as_mut().project() {
                Now::Making { answering } => match answering.poll(cx) {
                    Poll::Ready(Ok(response)) => match self.as_mut().answer(response, cx) {
                        Some(next) => next,
                        None => return Poll::Ready(()),
                    },
                    Poll::Ready(Err(error)) => {
                        this.respond.send_reset(reason(&error));
                        return Poll::Ready(());
                    }
                    Poll::Pending => {
                        read_on(this.leftover, cx);
                        // A reset by the client ends the request.
                        return this.respond.poll_reset(cx).map(drop);
                    }
                },
                Now::Sending { body, out, next } => {
                    let Some(stream) = out else { return Poll::Ready(()) };
                    let Poll::Ready(end) = poll_send::<S>(body, stream, next, this.room, cx) else {
                        read_on(this.leftover, cx);
                        return Poll::Pending;
                    };
                    let (Ok(end), Some(out)) = (end, out.take()) else { return Poll::Ready(()) };
                    let held = Held { out, end };
                    if !is_left(this.leftover) {
                        held.send();
                        return Poll::Ready(());
                    }
                    State::ReadingOn { reading: ReadingOn::new(held.send_of_error(*this.failed)) }
                }
                Now::ReadingOn { reading } => {
                    let Some(leftover) = this.leftover else { return Poll::Ready(()) };
                    let Connected { settings, progress, .. } = &**this.connected;
                    return reading.poll_done(cx, leftover, progress, &settings.limits);
                }
                Now::Tunnelling { pump } => return pump.as_mut().poll(cx),
            };
            self.as_mut().project().state.set(next);
        }
    }
}

impl<S: HttpService> Exchange<S> {
    /// Sends the answer's fields; what comes next, if anything does.
    fn answer(
        self: Pin<&mut Self>,
        response: Response<Answer<S::Answer>>,
        cx: &mut Context<'_>,
    ) -> Option<State<S>> {
        let this = self.project();
        let (mut parts, body) = response.into_parts();
        strip(&mut parts.headers);
        if let Some((tunnel, stream)) = this.tunnel.take() {
            if parts.status.is_success() {
                parts.headers.remove(CONTENT_LENGTH);
                let out =
                    this.respond.send_response(Response::from_parts(parts, ()), false).ok()?;
                let pump = Box::pin(Pump::new(tunnel.open(cx)?, stream, out));
                return Some(State::Tunnelling { pump });
            }
            *this.leftover = Some(Leftover::of(stream));
        }
        let bodiless =
            *this.head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = body.size_hint().exact().filter(|&length| length > 0 || !bodiless);
        if let Some(length) = length
            && !body.is_end_stream()
            && !parts.headers.contains_key(CONTENT_LENGTH)
            && parts.status != StatusCode::NO_CONTENT
        {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let is_whole = bodiless || body.is_end_stream();
        *this.failed = parts.status.is_client_error() || parts.status.is_server_error();
        let left = is_left(this.leftover);
        let holds = is_whole && left && !*this.failed;
        let response = Response::from_parts(parts, ());
        let out = this.respond.send_response(response, is_whole && !holds).ok()?;
        if !is_whole {
            return Some(State::Sending { body, out: Some(out), next: None });
        }
        let held = holds.then_some(Held { out, end: End::Nothing });
        left.then(|| State::ReadingOn { reading: ReadingOn::new(held) })
    }
}

/// Whether the service has dropped the request's body, and more of it is to come.
fn is_left(leftover: &mut Option<Leftover>) -> bool {
    leftover.as_mut().is_some_and(Leftover::is_there)
}

/// Reads on while the answer is made, so that what is not read fills no window that other streams need.
fn read_on(leftover: &mut Option<Leftover>, cx: &mut Context<'_>) {
    if leftover.as_mut().is_some_and(|leftover| leftover.poll_read(cx, MOST_READ).is_ready()) {
        *leftover = None;
    }
}

/// Takes out what speaks of a connection, and the fields that `Connection` names.
fn strip(headers: &mut HeaderMap) {
    if let Some(named) = headers.get(CONNECTION).cloned()
        && let Ok(named) = named.to_str()
    {
        named.split(',').for_each(|name| drop(headers.remove(name.trim())));
    }
    OF_CONNECTION.iter().for_each(|name| drop(headers.remove(name)));
}

/// Sends the answer's body: ready when all of it is handed to h2 but its end.
fn poll_send<S: HttpService>(
    mut body: Pin<&mut Answer<S::Answer>>,
    out: &mut SendStream<Out<S>>,
    next: &mut Option<(Out<S>, bool)>,
    room: &Rc<Room>,
    cx: &mut Context<'_>,
) -> Poll<Result<End<DataOf<S>>, ()>> {
    loop {
        // First, so that a reset wakes this task whatever it waits for.
        if out.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(()));
        }
        if next.is_some() {
            ready!(poll_window(out, cx))?;
            let Some((piece, ends)) = next.take() else { continue };
            if ends {
                return Poll::Ready(Ok(End::Piece(piece)));
            }
            out.send_data(piece, false).map_err(drop)?;
        }
        let Poll::Ready(window) = poll_may_ask(body.as_mut(), out, room, cx)? else {
            body.as_mut().waits_for_client();
            return Poll::Pending;
        };
        let most = window.unwrap_or(usize::MAX);
        let Poll::Ready(frame) = with_most_read(most, || body.as_mut().poll_frame(cx)) else {
            if window.is_some() {
                // A body that makes others wait keeps no window from them.
                out.reserve_capacity(0);
            }
            return Poll::Pending;
        };
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) => {
                    let ends = body.is_end_stream();
                    if piece.has_remaining() {
                        out.reserve_capacity(1);
                        *next = Some((piece, ends));
                    } else if ends {
                        return Poll::Ready(Ok(End::Piece(piece)));
                    }
                }
                Err(frame) => {
                    let Ok(trailers) = frame.into_trailers() else { continue };
                    return Poll::Ready(Ok(End::Trailers(trailers)));
                }
            },
            Some(Err(error)) => {
                out.send_reset(reason(&error));
                return Poll::Ready(Err(()));
            }
            None => return Poll::Ready(Ok(End::Nothing)),
        }
    }
}

/// Ready when the body may be asked for its next piece; the window for it, if one was asked for before.
///
/// A piece that is made before it can be sent is memory that a client can have held by doing nothing. Where there surely
/// is more, which needs a window, the window comes first. Other bodies may end without it, and are asked at once.
fn poll_may_ask<B: Body<Error: Into<BoxError>> + 'static>(
    mut body: Pin<&mut Answer<B>>,
    out: &mut SendStream<Counted<Piece<B::Data>>>,
    room: &Rc<Room>,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<usize>, ()>> {
    if let Some(left) = body.as_mut().file_left() {
        let most = usize::try_from(left).map_or(FRAME, |left| left.min(FRAME));
        out.reserve_capacity(most);
        let window = ready!(poll_window(out, cx))?;
        let permit = ready!(room.poll_take(cx, most.min(window)));
        body.as_mut().may_read(permit);
        return Poll::Ready(Ok(Some(window)));
    }
    if body.size_hint().lower() == 0 {
        return Poll::Ready(Ok(None));
    }
    // There may be a file in it.
    out.reserve_capacity(FRAME);
    Poll::Ready(Ok(Some(ready!(poll_window(out, cx))?)))
}

/// Bytes that may be sent now: at least one.
pub(super) fn poll_window<B: Buf>(
    out: &mut SendStream<B>,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, ()>> {
    loop {
        match out.capacity() {
            0 => match ready!(out.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(())),
            },
            window => return Poll::Ready(Ok(window)),
        }
    }
}

/// What the client is told of a service's error: the service's own word, if it speaks of HTTP/2.
fn reason(error: &BoxError) -> Reason {
    let mut error: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    while let Some(inner) = error {
        if let Some(reason) = inner.downcast_ref::<h2::Error>().and_then(h2::Error::reason) {
            return reason;
        }
        error = inner.source();
    }
    Reason::INTERNAL_ERROR
}

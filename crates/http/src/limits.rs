//! What a client may take of a worker: every wait, size and count has a bound here, and its reason.

use std::time::Duration;

/// What a client may take of a worker.
///
/// Over HTTP/1 a violation is answered with the status that is named with each limit and
/// `Connection: close`; over HTTP/2 with the status, a reset of the stream, or the end of the connection.
///
/// Not a choice: a request has at most 100 header fields, a chunked body's extensions at most 16 KiB in
/// all (431 and 400). An HTTP/2 client that sends more than 1000 frames that ask for nothing (pings, settings,
/// priorities) beyond 10 a second and what goes with its requests and answers is closed (GOAWAY, ENHANCE_YOUR_CALM); so is one that still begins
/// requests 10 s after GOAWAY. All streams of a worker hold 64 MiB at most; more are refused (REFUSED_STREAM), unless their
/// connection has no other.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A request's target, in bytes. Default 8 KiB, about the least everybody is asked to read
    /// (RFC 9112, section 3); more is answered 414.
    pub target_bytes: usize,
    /// A request's header and line, in bytes; over HTTP/2 also all of its fields decoded, which is what
    /// a compression bomb grows in. Default 64 KiB: room for large cookies; more is answered 431.
    pub header_bytes: usize,
    /// A TLS handshake must be complete within this. Default 10 s: three round trips and a packet lost in each,
    /// on the worst of links. A client that fails is closed; one that speaks HTTP without TLS is answered 400. In a worker
    /// that others wait for, what a header has: see [`header_timeout`](Self::header_timeout).
    pub handshake_timeout: Duration,
    /// A request's header must be complete within this, counted from its first byte. Default 15 s, as
    /// in Net::Server's HTTP personality; then 408. In a worker that others wait for, because it is isolated or has as many
    /// connections as it may: 250 ms, or four round trips to a client that is far away, and 1 s at most. Over HTTP/2 half a header is silence: see
    /// [`idle_timeout`](Self::idle_timeout).
    pub header_timeout: Duration,
    /// A connection without a request is closed after this, without a word: the client has asked for
    /// nothing. Default 75 s, as in nginx (`keepalive_timeout`): longer than the minute after which load balancers close
    /// theirs, for one that sends a request into a closing connection answers 502. In a worker that others wait for, because
    /// it is isolated or has as many connections as it may: 100 ms, and 250 ms before the first request; or four round
    /// trips to a client that is far away, and 1 s at most.
    pub idle_timeout: Duration,
    /// A request's body, in bytes, as it is read; a longer `Content-Length` is answered 413 before any of
    /// it is. Default 1 GiB, as in Apache (`LimitRequestBody`), for what is received is the application's to
    /// bound; 0 = no limit, for streams without an end.
    pub body_bytes: u64,
    /// How long in all the application may have to wait for a body that stays behind
    /// [`body_rate`](Self::body_rate). Default 20 s, as in Apache (`RequestReadTimeout`); then 408. The
    /// application's own slowness does not count. Over HTTP/2, where streams without an end are usual, it counts only
    /// from when somebody else waits for the worker and the connection is asked to end for that (its worker is
    /// isolated, or has as many as it may): until then a stream may be as slow as it likes.
    pub body_timeout: Duration,
    /// Each so many bytes of a body make one second of waiting good. Default 500, as in Apache.
    pub body_rate: u32,
    /// A client that takes nothing of an answer for this long, and up to twice as long, is dropped. What it takes is what its
    /// system acknowledges (`SIOCOUTQ`, tcp(7)); there is no least rate, so one that reads slowly stays, however slowly.
    /// Default 60 s, as in nginx (`send_timeout`). In a worker that others wait for, because it is isolated or has as many
    /// connections as it may, 5 s: longer than most networks lose everything. Over HTTP/2 an answer of which the service has
    /// given all, and whose windows stay shut, ends with [`idle_timeout`](Self::idle_timeout).
    pub send_timeout: Duration,
    /// A client that is answered in the middle of its sending is listened to for this long at most, so that it reads the
    /// answer: many clients send all of a request before they read, and a socket that is closed with unread bytes in it
    /// takes back what was written (RFC 9112, section 9.6). Default 30 s, as in nginx (`lingering_time`); 5 s once it sends
    /// nothing. In a worker that others wait for, 250 ms or four round trips.
    pub linger_timeout: Duration,
    /// Requests a connection may bring before an answer says `Connection: close` (HTTP/2: GOAWAY): so
    /// that connections spread over new workers, and what one holds is freed now and then. Default
    /// 10,000; 0 = no limit.
    pub requests: u64,
    /// Requests at once on an HTTP/2 connection; more are refused (REFUSED_STREAM). Default 100, the
    /// least RFC 9113 section 6.5.2 recommends.
    pub streams: u32,
    /// Requests of an HTTP/2 connection that its client may cancel beyond those it lets be answered;
    /// more end the connection ("rapid reset", CVE-2023-44487). Default 200, twice
    /// [`streams`](Self::streams).
    pub resets: u64,
    /// While the worker leaves, a connection that was silent for this long is closed; before that, its
    /// next request is answered with `Connection: close`. Default 1 s.
    pub drain_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            target_bytes: 8 * 1024,
            header_bytes: 64 * 1024,
            handshake_timeout: tine_tls::HANDSHAKE_TIMEOUT,
            header_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(75),
            body_bytes: 1 << 30,
            body_timeout: Duration::from_secs(20),
            body_rate: 500,
            send_timeout: Duration::from_secs(60),
            linger_timeout: Duration::from_secs(30),
            requests: 10_000,
            streams: 100,
            resets: 200,
            drain_idle: Duration::from_secs(1),
        }
    }
}

/// How often an isolated worker asks whether somebody else waits for it, while it has a connection.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// How soon it asks again once somebody does, and how many such answers in a row it believes.
pub(crate) const ASK_AGAIN: Duration = Duration::from_millis(10);
pub(crate) const ASKED: u8 = 3;
/// How long a client is [listened to](Limits::linger_timeout) that sends nothing any more; as in nginx (`lingering_timeout`).
pub(crate) const LINGER_SILENCE: Duration = Duration::from_secs(5);
/// How long the first pause is between two reads of what such a client sends while it has not got all of its answer. Each is
/// twice as long as the one before it, up to [`TICK`].
pub(crate) const LINGER_PAUSE: Duration = Duration::from_millis(1);
/// After so many reads of what such a client sends it is the turn of others.
pub(crate) const LINGER_READS: u32 = 16;
/// How long it is listened to in a worker that leaves, where it goes on sending; else [`Limits::drain_idle`].
pub(crate) const LINGER_LEAVING: Duration = Duration::from_secs(10);
/// The same, where somebody else waits for the worker, because it is isolated or has as many connections as it may: a round
/// trip and a half of most clients.
pub(crate) const LINGER_LEAST: Duration = Duration::from_millis(250);
/// How long a request's header, or a TLS handshake, may take in a worker that others wait for: one comes in one piece, or in
/// a few that follow each other closely.
pub(crate) const HEAD_LEAST: Duration = Duration::from_millis(250);
/// How long a connection that has brought nothing yet is waited for in a worker that others wait for.
pub(crate) const FIRST_LEAST: Duration = HEAD_LEAST;
/// A client that is far away has as many round trips instead of these, [`TICK`] included: one in which it speaks, and
/// more for a segment that is lost.
pub(crate) const ROUND_TRIPS: u64 = 4;
/// But no longer than this, however far away it is, or says it is.
pub(crate) const PATIENCE_MOST: Duration = Duration::from_secs(1);
/// How long a connection that was told to end by its next answer counts as one that will end soon: several of these are
/// in the second for which others may wait.
pub(crate) const AWAITED: Duration = Duration::from_millis(250);
/// How long a client may take nothing of its answer in a worker that others wait for.
pub(crate) const SEND_LEAST: Duration = Duration::from_secs(5);
/// Frames of HTTP/2 that ask for nothing (pings, settings, priorities: all but requests and data) beyond what a client is
/// served for, see [`SERVES`] and [`SERVED_BYTES`]; one more ends the connection. As many answers as Envoy lets wait
/// (`max_outbound_control_frames`), and far more than a client has to say at once.
pub(crate) const CONTROL_FRAMES: i64 = 1000;
/// So many of them are forgiven each second, so that who asks now and then whether the connection lives may go on for days.
pub(crate) const CONTROL_PER_SECOND: u64 = 10;
/// So many go with each request, each piece of a body that the application takes, and each it hands out: the window is moved
/// on twice, for the stream and the connection, and some measure the line with a ping each time.
pub(crate) const SERVES: u64 = 8;
/// One goes with so many bytes written, however small the window is that they have to go through.
pub(crate) const SERVED_BYTES: u64 = 256;
/// Who still begins requests on an HTTP/2 connection so long after GOAWAY does not hear it, or does not want to: it is
/// closed. Tens of round trips; a client that waits for anything else is silent meanwhile, and closed for that.
pub(crate) const GOAWAY_HEARD: Duration = Duration::from_secs(10);
/// What pings are in the time of a look, and more: so many bytes more than were read are no sign that an
/// HTTP/2 client takes anything.
pub(crate) const PINGS_BYTES: u64 = 1024;

//! What is noted of requests that could not be read or are refused.

use std::fmt;

use http::{Request, StatusCode};

use crate::access_log;
use crate::client::Client;
use crate::connected::Connected;
use crate::connection::Settings;
use crate::h1::Refusal;
use crate::observe::Arrival;
use crate::progress::Progress;

/// How much of the first line of such a request the logs show, in bytes.
pub(crate) const FIRST_LINE: usize = 256;

/// The first line of what a client has sent, as far as the logs show it.
pub(crate) fn first_line(input: &[u8]) -> &[u8] {
    let input = input.trim_ascii_start();
    let end = input.iter().position(|byte| b"\r\n".contains(byte)).unwrap_or(input.len());
    &input[..end.min(FIRST_LINE)]
}

/// A request that could not be read: what the logs say of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unreadable<'a> {
    pub(crate) status: StatusCode,
    /// Why, in words for the operator; empty: nothing is said in the log.
    pub(crate) reason: &'a str,
    /// How it begins, at most [`FIRST_LINE`] bytes of its first line; empty if that is not known.
    pub(crate) first_line: &'a [u8],
    /// Bytes of the answer.
    pub(crate) answer: usize,
}

impl Refusal {
    /// As it is told, with the beginning of the request if that is known.
    fn of(self, first_line: &[u8]) -> Unreadable<'_> {
        Unreadable { status: self.status, reason: self.reason, first_line, answer: 0 }
    }
}

/// A request could not be read: counted as answered, shown as what it was, a line in the access log, and one with the
/// reason in the log.
pub(crate) fn note_unreadable(
    settings: &Settings,
    arrival: &Arrival,
    progress: &Progress,
    unreadable: Unreadable<'_>,
) {
    let Settings { context, observer, .. } = settings;
    let client = observer.client(arrival, progress.requests.get() + 1);
    let now = tine::now();
    let line = format!("(refused: {})", unreadable.status.as_u16());
    context.record().request_began(line.as_str(), client.show().as_str(), now);
    // First, so that a line is there only of what is counted.
    context.request_ended(now);
    observer.refused(arrival, &client, unreadable);
    if !unreadable.reason.is_empty() {
        let told = Told { client: &client, what: "cannot be read", unreadable };
        observer.fault(now, format_args!("{}: {told}", arrival.id()));
    }
}

/// A request was read, and is refused all the same: the reason in the log. Everything else is as for any request.
pub(crate) fn note_refused<B>(
    settings: &Settings,
    client: &Client,
    now: u64,
    refusal: Refusal,
    request: &Request<B>,
) {
    // What is asked for may hold secrets; the access log shows them to whoever wants them there.
    let path = request.uri().path();
    let protocol = access_log::protocol(request.version());
    let line = format!("{} {path} {protocol}", request.method());
    let unreadable = refusal.of(first_line(line.as_bytes()));
    let told = Told { client, what: "is refused", unreadable };
    settings.observer.fault(now, format_args!("{}: {told}", client.id()));
}

/// The same, when its body turned out to be to blame, and what it asked for is with the service.
pub(crate) fn note_refused_body(connected: &Connected, number: u64, refusal: Refusal) {
    let Connected { settings, arrival, progress, .. } = connected;
    let client = settings.observer.client(arrival, number);
    let told = Told { client: &client, what: "is refused", unreadable: refusal.of(b"") };
    settings.observer.fault(progress.now.get(), format_args!("{}: {told}", client.id()));
}

/// How the log says it.
struct Told<'a> {
    client: &'a Client,
    what: &'a str,
    unreadable: Unreadable<'a>,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, what, unreadable: Unreadable { status, reason, first_line, .. } } = self;
        let client = client.show();
        let client = if client.as_str().is_empty() { "unix" } else { client.as_str() };
        write!(f, "a request of {client} {what} ({}): {reason}", status.as_u16())?;
        if first_line.is_empty() {
            return Ok(());
        }
        let cut = if first_line.len() < FIRST_LINE { "" } else { "..." };
        write!(f, "; it begins with \"{}{cut}\"", first_line.escape_ascii())
    }
}

//! What is noted of requests that could not be read, and so reached no service.

use std::fmt;

use http::StatusCode;

use crate::client::Client;
use crate::connection::Settings;
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

/// A request that was refused before there was one: see [`note_unreadable`].
pub(crate) fn note_refused(
    settings: &Settings,
    arrival: &Arrival,
    progress: &Progress,
    status: StatusCode,
) {
    let unreadable = Unreadable { status, reason: "", first_line: b"", answer: 0 };
    note_unreadable(settings, arrival, progress, unreadable);
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
        observer.tell(arrival, format_args!("{}", Told { client: &client, unreadable }));
    }
}

/// How the log says it.
struct Told<'a> {
    client: &'a Client,
    unreadable: Unreadable<'a>,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unreadable { status, reason, first_line, .. } = self.unreadable;
        let client = self.client.show();
        let client = if client.as_str().is_empty() { "unix" } else { client.as_str() };
        write!(f, "a request of {client} cannot be read ({}): {reason}", status.as_u16())?;
        if first_line.is_empty() {
            return Ok(());
        }
        let cut = if first_line.len() < FIRST_LINE { "" } else { "..." };
        write!(f, "; it begins with \"{}{cut}\"", first_line.escape_ascii())
    }
}

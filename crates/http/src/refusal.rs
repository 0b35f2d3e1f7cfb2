//! Why a request is refused, whatever the protocol.

use http::StatusCode;

/// Why a request is answered without a service: the status, and a sentence for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) reason: &'static str,
}

impl Refusal {
    pub(crate) const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    /// 400: the bytes are no request that two readers must understand alike.
    pub(crate) const fn bad(reason: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }
}

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
    pub(crate) fn of(self, first_line: &[u8]) -> Unreadable<'_> {
        Unreadable { status: self.status, reason: self.reason, first_line, answer: 0 }
    }
}

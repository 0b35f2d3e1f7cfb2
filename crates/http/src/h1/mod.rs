//! HTTP/1.1 as pure functions and state machines: bytes in, meaning or bytes out.
//!
//! Nothing here knows a socket, a clock or a service, so every rule can be tested with bytes alone.
//! RFC 9112 (HTTP/1.1) and RFC 9110 (semantics) are the sources; where one lets a server choose, the
//! choice and its reason stand with the rule.

mod decode;
pub(crate) mod driver;
mod encode;
mod fields;
mod head;
mod input;
pub(crate) mod intake;
mod machine;
mod output;
mod target;
#[cfg(test)]
mod tests;
mod upgrade;

use http::StatusCode;

pub(crate) use self::machine::PREFACE;

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

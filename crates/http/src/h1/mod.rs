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
mod machine;
mod output;
mod target;
#[cfg(test)]
mod tests;
mod upgrade;

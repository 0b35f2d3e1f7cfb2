//! TLS for a Tine worker: certificates by host, sessions that resume in every worker and across reloads, and a
//! stream for handlers that block.
//!
//! - [`Tls`] reads certificates and keys, before the service runs: [`Tls::from_files`], [`Tls::from_pem`].
//! - [`Tls::share_tickets`] has all workers share the keys of session tickets.
//! - [`Tls::serve`] serves sessions in a worker, plain ones and encrypted ones by the mark of their listener
//!   (`127.0.0.1:7443/tls`; see [`tine::endpoint`]); [`Acceptor::accept`] does it for a loop of one's own.
//! - HTTP is `tine-http`'s: `Options::tls` there takes a [`Tls`].
//!
//! The protocol is rustls's: TLS 1.2 and 1.3, none before, and no option weakens it. Early data (0-RTT) is off: it can
//! be replayed.
#![forbid(unsafe_code)]

mod acceptor;
mod agreed;
mod certificate;
mod chain;
mod choice;
mod der;
mod error;
mod key;
mod pem;
mod session;
mod ticket_keys;
mod ticketer;
mod tls;

pub use acceptor::{Acceptor, HANDSHAKE_TIMEOUT};
pub use agreed::Agreed;
pub use error::{Error, Result};
pub use session::Session;
pub use tls::Tls;

//! HTTP inside one worker: any tower service, isolated or multiplexed.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     tine::Prefork::new().listen("0.0.0.0:8080").concurrency(1000).run(|worker| {
//!         tine_http::serve(worker, |_context| async {
//!             Ok(axum::Router::new().route("/", axum::routing::get(|| async { "hello" })))
//!         })
//!     })
//! }
//! ```
//!
//! This crate knows a [`tine::Worker`] and no supervisor, pid or fork: it runs just as well on
//! [`tine::Prefork::solo`] in one plain process.
#![forbid(unsafe_code)]

pub mod access_log;
mod batched_writes;
mod body;
mod channel;
mod client;
mod client_extension;
mod connection;
mod connection_state;
mod date;
mod deadlines;
mod eviction;
mod exchange;
mod file;
mod forwarded;
mod frame_budget;
mod frame_room;
mod h1;
mod host;
mod http2;
mod id;
mod ipv4_text;
mod limits;
mod linger;
mod observer;
mod options;
mod patience;
mod piece;
mod proxy;
mod refusal;
mod sendfile;
mod serve;
mod service;
mod settings;
mod socket;
mod stream_memory;
mod text;
mod tls;
mod trim;
mod trouble;
mod trust;
mod wire;

pub use body::{BodyError, RequestBody};
pub use client::Client;
pub use client_extension::{Introduced, introduce};
pub use file::FileBody;
pub use forwarded::Forwarded;
pub use id::{ConnectionId, RequestId};
pub use limits::Limits;
pub use options::Options;
pub use serve::{serve, serve_with};
pub use service::HttpService;
pub use tine_tls::{Agreed, Tls};
pub use trouble::Reason;
pub use trust::Trust;

// What the README and the guide show must compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
#[cfg(doctest)]
#[doc = include_str!("../../../docs/applications.md")]
struct Applications;

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
mod body;
mod channel;
mod client;
mod connected;
mod connection;
mod control;
mod crowd;
mod date;
mod dotted;
mod file;
mod forwarded;
mod fresh;
mod h1;
mod host;
mod http2;
mod id;
mod introduce;
mod known;
mod limits;
mod linger;
mod observe;
mod observed;
mod options;
mod outbox;
mod patience;
mod piece;
mod progress;
mod proxy;
mod refusal;
mod rest;
mod secured;
mod send;
mod serve;
mod service;
mod text;
mod trouble;
mod trust;
mod watch;
mod wire;

pub use body::{BodyError, RequestBody};
pub use client::Client;
pub use file::FileBody;
pub use forwarded::Forwarded;
pub use id::{ConnectionId, RequestId};
pub use introduce::{Introduced, introduce};
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

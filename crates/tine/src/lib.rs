//! To be written.
#![forbid(unsafe_code)]

mod accept;
#[cfg(feature = "tokio")]
mod async_worker;
mod config;
mod conn;
pub mod control;
pub mod endpoint;
mod error;
pub mod listen;
pub mod log;
mod pidfile;
mod plan;
mod prefork;
mod privileges;
mod program;
mod scoreboard;
mod seat;
mod service;
mod shared;
mod signals;
mod supervisor;
mod worker;

#[cfg(feature = "tokio")]
pub use async_worker::Context;
pub use config::{Exhausted, PoolConfig, PrivilegeConfig, Span, Workers};
pub use conn::{Conn, Packet, Stream};
pub use error::{Error, Result};
pub use log::{Level, Log};
pub use prefork::Prefork;
pub use program::Program;
pub use scoreboard::{Activity, Record, Snapshot};
pub use seat::{Busy, Shutdown};
pub use service::{Handle, Pool, Service};
pub use shared::Region;
pub use signals::Signals;
pub use tine_os::privilege::Resource;
pub use worker::{BoxError, Setup, Worker};

/// Monotonic nanoseconds, as all times in the scoreboard are (`CLOCK_MONOTONIC`; no system call).
#[must_use]
pub fn now() -> u64 {
    tine_os::clock::monotonic()
}

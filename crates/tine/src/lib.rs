//! A pre-forking process model for any network server.
//!
//! Many small processes share one set of sockets, so that one bad request can hurt only the process it is
//! in. A *supervisor* binds the sockets, forks *workers*, sizes, replaces, recycles and stops them, and
//! never reads a client's byte.
//!
//! ```no_run
//! use std::{io, process::ExitCode};
//!
//! fn main() -> ExitCode {
//!     tine::Prefork::new()
//!         .listen("127.0.0.1:7007")
//!         .run(|worker| worker.serve(|mut conn| {
//!             let mut reader = conn.try_clone()?;
//!             io::copy(&mut reader, &mut conn).map(drop)
//!         }))
//! }
//! ```
//!
//! - [`Prefork`] builds a server with one pool of workers; [`Service`] and [`Pool`] several pools.
//! - [`Worker`] is what the closure gets, in the worker: [`Worker::serve`] for one connection after the
//!   other, [`Worker::serve_datagrams`] for datagrams, `Worker::serve_async` (feature `tokio`) for
//!   futures, and [`Worker::listeners`] with [`Worker::busy`] and [`Worker::shutdown`] for a server with
//!   an accept loop of its own.
//! - [`Prefork::solo`] makes a worker without any fork: for debuggers, and for tests, whose runner has
//!   threads and therefore cannot fork.
//! - Workers are forked unless something in the program does not survive that: then [`Prefork::exec`] begins each of
//!   them anew. [`Prefork::run_command`] makes workers of somebody else's program: a [`Command`], or what a
//!   [`Producer`] makes for each. [`Program`] compares the three.
//! - [`Hooks`] are called at the turns of a service's life, in the supervisor and in the workers; a [`Sender`]
//!   and a [`Supervision`] carry messages between the two; [`Prefork::helper`] begins processes by the clock.
//! - [`Region`] is memory that all workers share; [`control`] asks a running service what it does.
//!
//! Forking is safe because the supervisor has one thread, and is refused by name where it has not. Start
//! no thread and no runtime before [`Prefork::run`]; in the worker both are welcome.
//!
//! Linux only: elsewhere there is no fork, or no pidfd and no epoll. There [`Prefork`] and [`Worker`] compile, and
//! running is refused with an [`Error`] of which [`Error::is_unsupported`] is true.
#![forbid(unsafe_code)]

mod error;

pub use error::{Error, Result};

// What is not Linux, and this machine as a stand-in for it: see `elsewhere`.
cfg_if::cfg_if! {
    if #[cfg(any(not(target_os = "linux"), tine_unsupported))] {
        mod elsewhere;

        pub use elsewhere::*;
    } else {
        mod accept;
        pub mod access;
        #[cfg(feature = "tokio")]
        mod async_worker;
        mod bytes;
        mod config;
        mod conn;
        pub mod control;
        mod corrections;
        mod counted;
        pub mod daemon;
        mod door;
        pub mod endpoint;
        #[cfg(feature = "tokio")]
        mod exit_guard;
        mod fatal;
        mod handover;
        mod hooks;
        mod last_words;
        pub mod listen;
        pub mod log;
        mod notify;
        mod passthrough;
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
        mod spares;
        mod statusfile;
        mod supervisor;
        mod worker;

        pub use accept::Accept;
        #[cfg(feature = "tokio")]
        pub use accept::Tidy;
        #[cfg(feature = "tokio")]
        pub use async_worker::Context;
        pub use bytes::Bytes;
        pub use config::{Affinity, Exhausted, OnFatal, PoolConfig, PrivilegeConfig, Span, Workers};
        pub use conn::{Conn, Packet, Stream};
        #[cfg(feature = "tokio")]
        pub use exit_guard::ExitGuard;
        pub use fatal::{Alarm, Fatal};
        pub use handover::is_reload;
        pub use hooks::{End, Hooks, Supervision, WorkerInfo};
        pub use log::{Level, Log};
        pub use prefork::Prefork;
        pub use program::{Command, Passed, Probe, Producer, Program, Readiness, Spawn};
        pub use scoreboard::{Activity, Record, RequestLine, Snapshot};
        pub use seat::{Busy, MESSAGE_BYTES, Sender, Shutdown};
        pub use service::{Handle, Pool, Service};
        pub use shared::Region;
        pub use shared::cache::{Cache, CacheSize};
        pub use shared::counter::{Counter, Counters};
        pub use shared::gauge::{Gauge, Gauges};
        pub use shared::limiter::{Limiter, Rate, Verdict};
        pub use shared::shape::Shape;
        pub use signals::Signals;
        pub use supervisor::event::Exit;
        pub use tine_os::nursery::Nursery;
        pub use tine_os::privilege::Resource;
        pub use tine_os::signal::Signal;
        pub use worker::{BoxError, Setup, Worker};

        /// Whether this process is a worker of a service: one that was forked, or one that was executed as a worker,
        /// even before [`Service::run`] in it (see [`Program::exec`]). Not what a worker or a command has started, be its
        /// environment what it may (row F4); and not [`Prefork::solo`], which is no worker's process.
        ///
        /// Asks the environment until the process is a worker, so not while other threads may change it.
        #[must_use]
        pub fn is_worker() -> bool {
            supervisor::spawn::is_worker()
        }

        /// Monotonic nanoseconds, as all times in the scoreboard are (`CLOCK_MONOTONIC`; no system call).
        #[must_use]
        pub fn now() -> u64 {
            tine_os::clock::monotonic()
        }

        /// Gives memory that this process has freed back to the system; see [`tine_os::memory::trim`].
        pub fn trim() {
            tine_os::memory::trim();
        }

        /// How many bytes written to a socket are not with its peer yet; see [`tine_os::fd::bytes_unsent`].
        ///
        /// # Errors
        /// What `ioctl(2)` says.
        pub fn bytes_unsent(socket: impl std::os::fd::AsFd) -> std::io::Result<usize> {
            tine_os::fd::bytes_unsent(socket)
        }
    }
}

//! Tine on a system that is not Linux: programs compile, and running them is refused.
//!
//! There is no pidfd, no epoll and no memfd there, so there is nothing to serve with. What is here is the way most
//! programs go: a [`Prefork`], what is usually said of it, and a [`Worker`] that never exists. So a crate that uses
//! Tine in one of its programs can be built, checked and tested on other systems, and
//! [`Error::is_unsupported`] says why that program does not start. What is not here (several pools, hooks, regions,
//! the control protocol) has to be behind `cfg(target_os = "linux")` in such a crate.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::{Error, Result};

/// What a program's code inside a worker may fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How many workers a pool would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers(());

impl Workers {
    /// Always so many.
    #[must_use]
    pub const fn fixed(_workers: u32) -> Self {
        Self(())
    }

    /// One a CPU.
    #[must_use]
    pub const fn per_cpu() -> Self {
        Self(())
    }

    /// Between the two, by load.
    #[must_use]
    pub const fn dynamic(_range: RangeInclusive<u32>) -> Self {
        Self(())
    }

    /// As many as there are connections to serve.
    #[must_use]
    pub const fn on_demand(_range: RangeInclusive<u32>) -> Self {
        Self(())
    }

    /// How many of them are idle, at least and at most.
    #[must_use]
    pub const fn spare(self, _range: RangeInclusive<u32>) -> Self {
        self
    }
}

/// A limit of a worker's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(());

impl From<u64> for Span {
    fn from(_exactly: u64) -> Self {
        Self(())
    }
}

impl From<RangeInclusive<u64>> for Span {
    fn from(_range: RangeInclusive<u64>) -> Self {
        Self(())
    }
}

/// A server that cannot run on this system.
#[derive(Debug, Default)]
#[must_use = "a server does nothing until it runs"]
pub struct Prefork(());

/// Things that can be said of a server, and mean nothing here.
macro_rules! said {
    ($($(#[$doc:meta])* $name:ident: $type:ty),* $(,)?) => {
        $($(#[$doc])* pub fn $name(self, _: $type) -> Self {
            self
        })*
    };
}

impl Prefork {
    /// A server.
    pub fn new() -> Self {
        Self::default()
    }

    said! {
        /// The pool's name.
        name: impl Into<String>,
        /// An address to listen on.
        listen: impl Into<String>,
        /// How many workers.
        workers: Workers,
        /// Connections a worker serves at once.
        concurrency: u32,
        /// Connections after which a worker is replaced.
        max_connections: impl Into<Span>,
        /// Requests after which a worker is replaced.
        max_requests: impl Into<Span>,
        /// Private memory above which a worker is replaced, in bytes.
        max_memory: impl Into<Span>,
        /// Age at which a worker is replaced.
        max_age: Range<Duration>,
        /// A worker must be ready within this.
        boot_timeout: Duration,
        /// A worker that leaves while the service goes on must be gone within this.
        drain_timeout: Duration,
        /// A service that stops must be gone within this.
        stop_timeout: Duration,
        /// The user workers become.
        user: impl Into<String>,
        /// The group workers become.
        group: impl Into<String>,
        /// The file with the supervisor's pid.
        pid_file: impl Into<PathBuf>,
        /// The control socket.
        control: impl Into<PathBuf>,
    }

    /// No control socket.
    pub fn no_control(self) -> Self {
        self
    }

    /// In the background.
    pub fn daemonize(self) -> Self {
        self
    }

    /// Writes the refusal to standard error, and says that the program should exit with 1.
    #[must_use = "it is the program's exit code"]
    pub fn run(
        self,
        serve: impl Fn(Worker) -> std::result::Result<(), BoxError> + 'static,
    ) -> ExitCode {
        match self.try_run(serve) {
            Ok(()) => ExitCode::SUCCESS,
            Err(refusal) => {
                let _ = writeln!(io::stderr(), "tine: {refusal}");
                ExitCode::from(refusal.exit_code())
            }
        }
    }

    /// The refusal, for the caller.
    ///
    /// # Errors
    /// Always: one for which [`Error::is_unsupported`] is true.
    pub fn try_run(
        self,
        _serve: impl Fn(Worker) -> std::result::Result<(), BoxError> + 'static,
    ) -> Result<()> {
        Err(Error::unsupported())
    }

    /// The same: a worker without a supervisor needs epoll, too.
    ///
    /// # Errors
    /// As [`Self::try_run`].
    pub fn solo(self) -> Result<Worker> {
        Err(Error::unsupported())
    }
}

/// A worker: there is none on this system.
#[derive(Debug)]
pub struct Worker(Infallible);

impl Worker {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> u64 {
        match self.0 {}
    }

    /// Its place in the pool.
    #[must_use]
    pub fn place(&self) -> usize {
        match self.0 {}
    }

    /// Its pool's name.
    #[must_use]
    pub fn pool(&self) -> &str {
        match self.0 {}
    }

    /// Serves stream connections one after the other.
    ///
    /// # Errors
    /// None: there is no worker.
    pub fn serve<H>(self, _handler: H) -> std::result::Result<(), BoxError>
    where
        H: FnMut(Conn) -> io::Result<()>,
    {
        match self.0 {}
    }

    /// Serves datagrams one after the other.
    ///
    /// # Errors
    /// None: there is no worker.
    pub fn serve_datagrams<H>(self, _handler: H) -> std::result::Result<(), BoxError>
    where
        H: FnMut(&Packet<'_>) -> io::Result<()>,
    {
        match self.0 {}
    }
}

/// A connection: there is none on this system.
#[derive(Debug)]
pub struct Conn(Infallible);

impl Conn {
    /// A second handle of the same connection.
    ///
    /// # Errors
    /// None: there is no connection.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self.0 {}
    }

    /// Bounds each read and each write.
    ///
    /// # Errors
    /// None: there is no connection.
    pub fn set_timeout(&self, _timeout: Option<Duration>) -> io::Result<()> {
        match self.0 {}
    }
}

impl Read for Conn {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl Write for Conn {
    fn write(&mut self, _buffer: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}

/// A datagram: there is none on this system.
#[derive(Debug)]
pub struct Packet<'a>(Infallible, std::marker::PhantomData<&'a [u8]>);

impl<'a> Packet<'a> {
    /// What was sent.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        match self.0 {}
    }

    /// Sends something back.
    ///
    /// # Errors
    /// None: there is no datagram.
    pub fn reply(&self, _bytes: &[u8]) -> io::Result<()> {
        match self.0 {}
    }
}

/// Whether this process is a worker: there are none on this system.
#[must_use]
pub fn is_worker() -> bool {
    false
}

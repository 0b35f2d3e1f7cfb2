//! The paved path: one pool, built in a few lines.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tine_os::privilege::Resource;

use crate::access::AccessConfig;
use crate::config::{Exhausted, PoolConfig, PrivilegeConfig, Span, Workers};
use crate::listen::ListenOptions;
use crate::log::{Log, error};
use crate::program::Program;
use crate::service::{Handle, Pool, Service};
use crate::signals::Signals;
use crate::worker::{BoxError, Setup, Worker};
use crate::{Error, Result};

/// A pre-forking server with one pool of workers.
///
/// ```no_run
/// use std::{io, process::ExitCode};
/// use tine::{Prefork, Workers};
///
/// fn main() -> ExitCode {
///     Prefork::new()
///         .listen("127.0.0.1:7007")
///         .workers(Workers::dynamic(5..=50).spare(2..=10))
///         .max_connections(1000)
///         .run(|worker| worker.serve(|mut conn| {
///             let mut reader = conn.try_clone()?;
///             io::copy(&mut reader, &mut conn).map(drop)
///         }))
/// }
/// ```
#[derive(Debug)]
#[must_use = "a server does nothing until it runs"]
pub struct Prefork {
    pool: Pool,
    service: Service,
    log: Log,
}

impl Default for Prefork {
    fn default() -> Self {
        Self::new()
    }
}

macro_rules! pool_numbers {
    ($($(#[$doc:meta])* $name:ident: $type:ty),* $(,)?) => {
        $($(#[$doc])* pub fn $name(mut self, $name: $type) -> Self {
            self.pool.config.$name = $name;
            self
        })*
    };
}

impl Prefork {
    /// A server with the defaults of [`PoolConfig`] and no address yet.
    pub fn new() -> Self {
        let program = Program::fork(|_| Ok(()));
        Self { pool: Pool::new("main", program), service: Service::new(), log: Log::default() }
    }

    /// The pool's name in logs and status. Default `main`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.pool.name = name.into();
        self
    }

    /// An address to listen on; any number. See [`crate::endpoint::Endpoint`] for what can be written.
    pub fn listen(self, address: impl Into<String>) -> Self {
        self.listen_with(address, ListenOptions::default())
    }

    /// The same, with options of its own.
    pub fn listen_with(mut self, address: impl Into<String>, options: ListenOptions) -> Self {
        self.pool = self.pool.listen(address, options);
        self
    }

    /// A socket that is bound already.
    pub fn socket(mut self, socket: impl Into<OwnedFd>) -> Self {
        self.pool = self.pool.socket(socket.into());
        self
    }

    pool_numbers! {
        /// How many workers. Default: one a CPU.
        workers: Workers,
        /// Connections a worker serves at once; 1 = isolated, the default.
        concurrency: u32,
        /// A worker must be ready within this. Default 30 s.
        boot_timeout: Duration,
        /// A worker that leaves while the service goes on must be gone within this. Default 10 min.
        drain_timeout: Duration,
        /// The same when the service stops. Default 30 s.
        stop_timeout: Duration,
        /// Between `SIGTERM` and `SIGKILL`. Default 1 s.
        term_grace: Duration,
        /// Between a worker's being stopped by a signal and `SIGKILL`. Default 1 s.
        halt_grace: Duration,
        /// First and longest delay after quick failures. Default 100 ms to 30 s.
        backoff: (Duration, Duration),
        /// Failures to boot that end a service none of whose workers was ever ready. Default 3.
        boot_attempts: u32,
    }

    /// Connections after which a worker is replaced; exactly so many are taken (row N25).
    pub fn max_connections(mut self, connections: impl Into<Span>) -> Self {
        self.pool.config.max_connections = connections.into();
        self
    }

    /// Requests after which a worker is replaced; the HTTP layer counts them (row T2).
    pub fn max_requests(mut self, requests: impl Into<Span>) -> Self {
        self.pool.config.max_requests = requests.into();
        self
    }

    /// Age at which a worker is replaced, drawn between the two.
    pub fn max_age(mut self, age: std::ops::Range<Duration>) -> Self {
        self.pool.config.max_age = age;
        self
    }

    /// Between two shrinkings; after growing; and without a connection before the pool goes to its
    /// floor. Default 10, 10 and 30 s (row N21).
    pub fn shrink(mut self, interval: Duration, settle: Duration, quiet: Duration) -> Self {
        let config = &mut self.pool.config;
        (config.shrink_interval, config.settle, config.quiet) = (interval, settle, quiet);
        self
    }

    /// How many failures within how long open the breaker, and what it does then (row F8). Default 1000
    /// within 60 s, throttle.
    pub fn breaker(mut self, failures: u32, window: Duration, then: Exhausted) -> Self {
        self.pool.config.breaker = (failures, window);
        self.pool.config.exhausted = then;
        self
    }

    /// Who may come in; see [`crate::access`]. Default: everybody.
    pub fn access(mut self, access: AccessConfig) -> Self {
        self.pool.config.access = access;
        self
    }

    /// All numbers of the pool at once.
    pub fn config(mut self, config: PoolConfig) -> Self {
        self.pool.config = config;
        self
    }

    /// Who the workers become; all of it at once.
    pub fn privileges(mut self, privileges: PrivilegeConfig) -> Self {
        self.pool.privileges = privileges;
        self
    }

    /// The user the workers become: a name, or a number with a [`Prefork::group`].
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.pool.privileges.user = Some(user.into());
        self
    }

    /// Their group: a name or a number. Default: the user's own.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.pool.privileges.group = Some(group.into());
        self
    }

    /// Their supplementary groups. Default: those of the user's name.
    pub fn groups(mut self, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.pool.privileges.groups = Some(groups.into_iter().map(Into::into).collect());
        self
    }

    /// Their root directory; the working directory becomes it, too.
    pub fn chroot(mut self, root: impl Into<PathBuf>) -> Self {
        self.pool.privileges.chroot = Some(root.into());
        self
    }

    /// Their file mode mask.
    pub fn umask(mut self, mask: u32) -> Self {
        self.pool.privileges.umask = Some(mask);
        self
    }

    /// A soft and a hard limit of theirs, as in `setrlimit(2)`.
    pub fn limit(mut self, resource: Resource, soft: u64, hard: u64) -> Self {
        self.pool.privileges.limits.push((resource, soft, hard));
        self
    }

    /// No program they start gains privileges.
    pub fn no_new_privileges(mut self) -> Self {
        self.pool.privileges.no_new_privileges = true;
        self
    }

    /// Runs in every worker before its privileges are dropped: the place to read keys.
    pub fn prepare(
        mut self,
        f: impl Fn(&Setup<'_>) -> std::result::Result<(), BoxError> + 'static,
    ) -> Self {
        self.pool.program = self.pool.program.prepare(f);
        self
    }

    /// Runs in a worker, once, when it ends because its supervisor is dead (row F11).
    pub fn on_orphaned(mut self, f: impl Fn() + 'static) -> Self {
        self.pool.program = self.pool.program.on_orphaned(f);
        self
    }

    /// Shared memory of `words` 64-bit words that all workers find by its name, see
    /// [`Worker::region`].
    pub fn region(mut self, name: impl Into<String>, version: u32, words: usize) -> Self {
        self.service = self.service.region(name, version, words);
        self
    }

    /// The log. Default: standard error, level info.
    pub fn log(mut self, log: Log) -> Self {
        self.log = log.clone();
        self.service = self.service.log(log);
        self
    }

    /// What signals mean. Default: Tine's own table.
    pub fn signals(mut self, signals: Signals) -> Self {
        self.service = self.service.signals(signals);
        self
    }

    /// Writes the supervisor's pid to a file.
    pub fn pid_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.service = self.service.pid_file(path);
        self
    }

    /// Where the control socket is. Default: by pid, in the runtime directory.
    pub fn control(mut self, path: impl Into<PathBuf>) -> Self {
        self.service = self.service.control(path);
        self
    }

    /// Runs in the background; see [`Service::daemonize`].
    pub fn daemonize(mut self) -> Self {
        self.service = self.service.daemonize();
        self
    }

    /// No control socket.
    pub fn no_control(mut self) -> Self {
        self.service = self.service.no_control();
        self
    }

    /// Something to stop the service by, from code.
    ///
    /// # Errors
    /// What `eventfd(2)` says.
    pub fn handle(&self) -> Result<Handle> {
        self.service.handle()
    }

    /// Serves until it is stopped, writes an error to the log, and says how the program should exit:
    /// 0 stopped, 1 run-time failure, 2 configuration, 3 cannot bind, 4 cannot drop privileges.
    #[must_use = "it is the program's exit code"]
    pub fn run(
        self,
        serve: impl Fn(Worker) -> std::result::Result<(), BoxError> + 'static,
    ) -> ExitCode {
        let log = self.log.clone();
        match self.try_run(serve) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                error!(log, "{failure}");
                ExitCode::from(failure.exit_code())
            }
        }
    }

    /// The same, with the error for the caller.
    ///
    /// # Errors
    /// See [`Service::run`].
    pub fn try_run(
        mut self,
        serve: impl Fn(Worker) -> std::result::Result<(), BoxError> + 'static,
    ) -> Result<()> {
        self.pool.program.serve = std::rc::Rc::new(serve);
        self.service.pool(self.pool).run()
    }

    /// A worker in this very process, its sockets bound, without a fork: for debuggers, and for tests,
    /// whose runner has threads and therefore cannot fork.
    ///
    /// # Errors
    /// A configuration or bind error.
    pub fn solo(self) -> Result<Worker> {
        self.service.pool(self.pool).solo().map(|(worker, _)| worker)
    }

    /// Serves in this very process until a signal (TERM, INT, QUIT, HUP) or [`Handle::stop`] ends it
    /// (row A35).
    ///
    /// # Errors
    /// As [`Prefork::solo`]; a boot error if the program's code fails.
    pub fn run_solo(
        self,
        serve: impl Fn(Worker) -> std::result::Result<(), BoxError> + 'static,
    ) -> Result<()> {
        let worker = self.solo()?;
        let grace = Duration::from_secs(30);
        tine_os::signal::on_leave(
            &worker.seat.leave_event(),
            grace,
            &crate::supervisor::spawn::LEAVES_ON,
        )
        .map_err(|error| Error::os("cannot catch signals", error))?;
        serve(worker).map_err(|failure| Error::boot(failure.to_string()))
    }
}

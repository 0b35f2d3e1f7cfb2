//! What can be said of the one pool.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use tine_os::privilege::Resource;

use super::Prefork;
use crate::accept::Accept;
use crate::access::{AccessConfig, Lookups};
use crate::config::{Affinity, Exhausted, OnFatal, PoolConfig, PrivilegeConfig, Span, Workers};
use crate::listen::ListenOptions;
use crate::service::Pool;
use crate::worker::{BoxError, Setup, Worker};

macro_rules! pool_numbers {
    ($($(#[$doc:meta])* $name:ident: $type:ty),* $(,)?) => {
        $($(#[$doc])* pub fn $name(mut self, $name: $type) -> Self {
            self.pool.config.$name = $name;
            self
        })*
    };
}

impl Prefork {
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

    /// The sockets that systemd has passed in; see [`Pool::inherited`].
    pub fn inherited(mut self) -> Self {
        self.pool = self.pool.inherited();
        self
    }

    pool_numbers! {
        /// How many workers. Default: one a CPU.
        workers: Workers,
        /// Connections a worker serves at once; 1 = isolated, the default.
        concurrency: u32,
        /// How the workers share the pool's listeners; see [`Accept`]. Default: one socket for all.
        accept: Accept,
        /// A worker must be ready within this. Default 30 s.
        boot_timeout: Duration,
        /// A worker that leaves while the service goes on must be gone within this. Default 10 min.
        drain_timeout: Duration,
        /// The same when the service stops. Default 30 s.
        stop_timeout: Duration,
        /// How long it serves on when it is to stop; see [`PoolConfig::lame_duck`]. Default 0.
        lame_duck: Duration,
        /// Between `SIGTERM` and `SIGKILL`. Default 1 s.
        term_grace: Duration,
        /// Between a worker's being stopped by a signal and `SIGKILL`. Default 1 s.
        halt_grace: Duration,
        /// How long a worker may be at one request; see [`PoolConfig::request_timeout`]. Default: no limit.
        request_timeout: Option<Duration>,
        /// How long an isolated worker may be at one connection. Default: no limit.
        connection_timeout: Option<Duration>,
        /// A worker is not replaced for its memory before it has served so long. Default 10 s.
        min_lifetime: Duration,
        /// Places that may stand empty while workers that serve are replaced; see
        /// [`PoolConfig::max_unavailable`]. Default 0: the new one is ready first.
        max_unavailable: u32,
        /// From one such replacement to the next. Default 0.
        replace_interval: Duration,
        /// What a worker's [`crate::Fatal`] does. Default: the service stops.
        fatal: OnFatal,
        /// First and longest delay before a place is tried again; see [`PoolConfig::backoff`]. Default 100 ms to 30 s.
        backoff: (Duration, Duration),
        /// How long a successor that is ready serves beside the worker it succeeds. Default 0.
        linger: Duration,
        /// Whether workers that cannot boot are tried for ever; see [`PoolConfig::persists`]. Default: no.
        persists: bool,
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

    /// Private memory in bytes at which a worker is replaced; see [`PoolConfig::max_memory`].
    pub fn max_memory(mut self, bytes: impl Into<Span>) -> Self {
        self.pool.config.max_memory = bytes.into();
        self
    }

    /// Workers that may be on their way beside those they are to replace; see [`PoolConfig::max_surge`]. Default: one
    /// in four of the pool, and one at least.
    pub fn max_surge(mut self, workers: u32) -> Self {
        self.pool.config.max_surge = Some(workers);
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

    /// How many failures within how long open the breaker, and what it does then; see [`PoolConfig::breaker`]. Default
    /// 1000 within 60 s, throttle.
    pub fn breaker(mut self, failures: u32, window: Duration, then: Exhausted) -> Self {
        self.pool.config.breaker = (failures, window);
        self.pool.config.exhausted = then;
        self
    }

    /// Whether each worker stays on one processor. Default: no.
    pub fn affinity(mut self, affinity: Affinity) -> Self {
        self.pool.config.affinity = affinity;
        self
    }

    /// Who may come in; see [`crate::access`]. Default: everybody.
    pub fn access(mut self, access: AccessConfig) -> Self {
        self.pool.config.access = access;
        self
    }

    /// Looks every client's name up, for handlers: [`crate::Conn::peer_name`] (row N18). With
    /// [`Lookups::Double`] who has no name that leads back to its address stays out. Lookups are kept,
    /// shared, bounded in time, and run beside a worker that serves many. Call it after
    /// [`Prefork::access`], which it adds to.
    pub fn reverse_lookups(mut self, lookups: Lookups) -> Self {
        let access = &mut self.pool.config.access;
        access.names_for_all = lookups != Lookups::Off;
        access.lookups = lookups;
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

    /// Where workers leave their cores; see [`PrivilegeConfig::core_directory`].
    pub fn core_directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.pool.privileges.core_directory = Some(path.into());
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

    /// Something to be done beside the workers by a process of its own, every so often; any number of them,
    /// each with a name. See [`Pool::helper`]; it has the workers' privileges, `term_grace` and
    /// `stop_timeout`, and none of their listeners. Not in [`Prefork::solo`].
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use tine::{Prefork, Workers};
    /// let policy = Workers::every(Duration::from_secs(60)).at_most(2).within(Duration::from_secs(300));
    /// Prefork::new().helper("queue", policy, |worker| {
    ///     // One batch; and out, if the service stops meanwhile.
    ///     while !worker.shutdown().is_requested() {
    /// #       break;
    ///     }
    ///     Ok(())
    /// })
    /// # ;
    /// ```
    pub fn helper(
        mut self,
        name: impl Into<String>,
        policy: Workers,
        run: impl Fn(&Worker) -> std::result::Result<(), BoxError> + 'static,
    ) -> Self {
        self.helpers.push(Pool::helper(name, policy, run));
        self
    }

    /// Runs in a worker, once, when it ends because its supervisor is dead (row F11).
    pub fn on_orphaned(mut self, f: impl Fn() + 'static) -> Self {
        self.pool.program = self.pool.program.on_orphaned(f);
        self
    }
}

//! What somebody asked for: plain values, nothing resolved, nothing opened.
//!
//! [`crate::plan`] gives them their meaning, or refuses them by name.

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tine_os::privilege::Resource;

use crate::accept::Accept;
use crate::access::AccessConfig;
use crate::{Error, Result};

/// How many workers a pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers(pub(crate) Policy);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Fixed(u32),
    PerCpu,
    Dynamic { min: u32, max: u32, spare: Option<(u32, u32)> },
    Every { interval: Duration, at_most: u32, within: Duration },
    OnDemand { max: u32 },
}

impl Workers {
    /// Always so many (Twiggy::Prefork's way).
    #[must_use]
    pub const fn fixed(workers: u32) -> Self {
        Self(Policy::Fixed(workers))
    }

    /// One a CPU this process may use: affinity and cgroup quota count, not the machine's cores
    /// (fasthttp/prefork's way, row F1). This is the default.
    #[must_use]
    pub const fn per_cpu() -> Self {
        Self(Policy::PerCpu)
    }

    /// Between the two, by load (Apache's and Net::Server's way).
    #[must_use]
    pub const fn dynamic(range: RangeInclusive<u32>) -> Self {
        Self(Policy::Dynamic { min: *range.start(), max: *range.end(), spare: None })
    }

    /// A helper: one process begins every interval, does something and ends; a moment in which as many as may
    /// be are under way already is left out (Net::Server's dequeue, row N37). The first begins an interval
    /// after the start. Given to [`crate::Prefork::helper`] or [`crate::Pool::helper`].
    ///
    /// At most one at once, within 10 min; see [`Workers::at_most`] and [`Workers::within`].
    #[must_use]
    pub const fn every(interval: Duration) -> Self {
        Self(Policy::Every { interval, at_most: 1, within: Duration::from_secs(600) })
    }

    /// How many runs of a helper may be under way at once. Without meaning for other pools.
    #[must_use]
    pub const fn at_most(mut self, runs: u32) -> Self {
        if let Policy::Every { at_most, .. } = &mut self.0 {
            *at_most = runs;
        }
        self
    }

    /// How long a run of a helper may take: then it is sent `SIGTERM`, and after
    /// [`PoolConfig::term_grace`] `SIGKILL`. Without meaning for other pools.
    #[must_use]
    pub const fn within(mut self, deadline: Duration) -> Self {
        if let Policy::Every { within, .. } = &mut self.0 {
            *within = deadline;
        }
        self
    }

    /// As many as there are connections to serve, and none after a quiet time; the supervisor watches the
    /// listeners while no worker is free, and forks for what waits there. The range begins at 0: with
    /// another beginning it is [`Workers::dynamic`].
    #[must_use]
    pub const fn on_demand(range: RangeInclusive<u32>) -> Self {
        match *range.start() {
            0 => Self(Policy::OnDemand { max: *range.end() }),
            _ => Self::dynamic(range),
        }
    }

    /// How many workers should be idle: below the first the pool grows, above the second it shrinks.
    /// Default 2 and 10, as far as the pool's bounds allow. Without meaning for pools of fixed size.
    #[must_use]
    pub const fn spare(mut self, range: RangeInclusive<u32>) -> Self {
        if let Policy::Dynamic { spare, .. } = &mut self.0 {
            *spare = Some((*range.start(), *range.end()));
        }
        self
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self::per_cpu()
    }
}

impl FromStr for Workers {
    type Err = Error;

    /// `4`, `2..16`, `0..8` (on demand), `auto`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::config(format!("workers {text:?}: it is N, MIN..MAX or auto"));
        if text == "auto" {
            return Ok(Self::per_cpu());
        }
        let span = Span::from_str(text).map_err(|_| wrong())?;
        let (min, max) = (narrow(span.0).ok_or_else(wrong)?, narrow(span.1).ok_or_else(wrong)?);
        Ok(if text.contains("..") { Self::on_demand(min..=max) } else { Self::fixed(min) })
    }
}

fn narrow(number: u64) -> Option<u32> {
    u32::try_from(number).ok()
}

/// A limit of a worker's life, drawn anew for each worker between two bounds, both included; so that
/// workers born together do not leave together (row T3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span(pub(crate) u64, pub(crate) u64);

impl Span {
    /// No limit.
    pub const NONE: Self = Self(0, 0);
}

impl From<u64> for Span {
    fn from(exactly: u64) -> Self {
        Self(exactly, exactly)
    }
}

impl From<RangeInclusive<u64>> for Span {
    fn from(range: RangeInclusive<u64>) -> Self {
        Self(*range.start(), *range.end())
    }
}

impl FromStr for Span {
    type Err = Error;

    /// `1000` or `800..1200`.
    fn from_str(text: &str) -> Result<Self> {
        let number = |part: &str| {
            part.parse::<u64>().map_err(|_| Error::config(format!("{text:?}: it is N or MIN..MAX")))
        };
        match text.split_once("..") {
            None => Ok(Self::from(number(text)?)),
            Some((min, max)) => {
                let max = max.strip_prefix('=').unwrap_or(max);
                Ok(Self(number(min)?, number(max)?))
            }
        }
    }
}

/// What the breaker of a pool does when failures come too fast (row F8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// Workers that serve go on; replacements wait as long as the back-off allows. Where no worker is left, one place
    /// goes on by its own delays. The default.
    Throttle,
    /// The service ends with an error.
    Stop,
}

/// Whether a worker stays on one processor (row F20).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// The kernel moves it as it likes. The default.
    #[default]
    Off,
    /// Each place has one of those this process may use, one after the other, and again from the first.
    Places,
    /// The same with these, by their numbers.
    Of(Vec<usize>),
}

/// What becomes of the service when a worker says that it cannot go on (row A25).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFatal {
    /// It stops in good order: what is in flight is finished, and the reason is its error. The default. A
    /// worker of an older generation that says so while a newer one takes over is only replaced, and one of that newer
    /// generation leads back to the older.
    Stop,
    /// The worker is replaced, like one that failed.
    Replace,
}

/// The numbers of a pool. Every wait has one; defaults and reasons stand with each.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// How many workers. Default: one a CPU.
    pub workers: Workers,
    /// Connections a worker serves at once; 1 = isolated, the default.
    pub concurrency: u32,
    /// How the workers share the pool's listeners. Default: one socket for all.
    pub accept: Accept,
    /// Connections after which a worker is replaced; exactly so many are taken (row N25).
    pub max_connections: Span,
    /// Requests after which a worker is replaced; counted by the HTTP layer (row T2).
    pub max_requests: Span,
    /// Age at which a worker is replaced, drawn between the two. Default: never.
    pub max_age: Range<Duration>,
    /// A worker must be ready within this. Default 30 s.
    pub boot_timeout: Duration,
    /// A worker that leaves while the service goes on (recycled, retired) must be gone within this.
    /// Default 10 min: a download may take that long.
    pub drain_timeout: Duration,
    /// The same when the service stops. Default 30 s, what Kubernetes and systemd grant at least.
    pub stop_timeout: Duration,
    /// When the service is to stop, it serves on for so long while health checks say no already
    /// (`wants_clients` of [`crate::Context`] and [`crate::Shutdown`]), so that a load balancer can send clients
    /// elsewhere; of several pools the longest counts. Default 0. A second signal cuts it short, and `SIGINT` (a
    /// person at a terminal) does not wait for it.
    pub lame_duck: Duration,
    /// Between `SIGTERM` and `SIGKILL` to a worker that is overdue. Default 1 s.
    pub term_grace: Duration,
    /// Between a worker's being stopped by a signal and `SIGKILL`. Default 1 s; it is replaced at once.
    pub halt_grace: Duration,
    /// How long a worker may be at one request, looked at by the supervisor: whatever hangs, loops or blocks in
    /// it cannot hide that. An isolated worker's request begins when the HTTP layer says so, or with its
    /// connection and anew at each [`crate::Conn::answered`]. Over HTTP it lasts until its answer has been
    /// handed over to the last byte; time in which the client takes none of it does not count, and begins it
    /// anew. A multiplexed worker may go so long without
    /// its loop coming up for air, in whichever request. Then it gets `SIGABRT`, and `SIGKILL` after
    /// `term_grace`; its place has a new worker at once. Noticed up to a second late. Default: no limit.
    pub request_timeout: Option<Duration>,
    /// How long an isolated worker may be at one connection, idle time between requests included; ended like
    /// an overrun of `request_timeout`. Not for multiplexed workers. Default: no limit.
    pub connection_timeout: Option<Duration>,
    /// Private memory in bytes, at least 1 MiB, at which a worker is replaced: pages that no other process has,
    /// so what all share costs nobody. Looked at once a second at most, and only while somebody works; the
    /// worker is first asked to give back what it has freed. Default: no limit.
    pub max_memory: Span,
    /// A worker is not replaced for its memory before it has served so long. Default 10 s.
    pub min_lifetime: Duration,
    /// How many workers may wait for a successor because of their memory at once. Default: an eighth of the
    /// pool's most workers, and at least one.
    pub memory_recycles: Option<u32>,
    /// Workers that may be on their way beside those they are to replace, when workers that serve are replaced: by a
    /// reload, for their age or their memory. Default: one in four of the pool, and one at least.
    ///
    /// With 0 there are never more processes than the pool is large, but for those that crash or are stopped: a worker
    /// leaves first, at a limit of its own too, and its place is taken when it has ended. Give
    /// `max_unavailable` then.
    pub max_surge: Option<u32>,
    /// Places that may stand empty for that at once, those counted that do so for another reason. Default 0: the new
    /// worker is ready before the old one leaves. Meanwhile connections wait in the queue, and none is lost.
    pub max_unavailable: u32,
    /// From one such replacement to the next; then they come one by one (row T18). Default 0: as fast as the two
    /// numbers above let them.
    pub replace_interval: Duration,
    /// Between two shrinkings. Default 10 s, as in Net::Server.
    pub shrink_interval: Duration,
    /// No shrinking so soon after growing. Default 10 s, as in Net::Server.
    pub settle: Duration,
    /// Without a connection for this long the pool goes to its floor. Default 30 s, as in Net::Server.
    pub quiet: Duration,
    /// First and longest delay before a place is tried again; it doubles, half of it drawn. Two that are equal are
    /// a pace: from one beginning to the next. Default 100 ms to 30 s.
    ///
    /// A place waits after a worker that could not boot or ended within a second without having served, and after one
    /// that the kernel killed for want of memory. A worker that was killed from outside, or ended within a second of
    /// being ready though it had served, is replaced at once; the next one in a row waits, for a second at most.
    pub backoff: (Duration, Duration),
    /// How long a successor that is ready serves beside the worker it succeeds, before that one is asked to leave:
    /// for workers that take work before they are told to, as foreign commands do (row S10). Default 0.
    pub linger: Duration,
    /// Failures to boot, before any worker was ready, that end the service; of a new generation, that bring the old
    /// one back. Default 3.
    pub boot_attempts: u32,
    /// Such failures end nothing, and a new generation that fails is tried until it can boot, while the old one serves
    /// (row S8). Whoever waits for a reload is told of the first failure. Default false.
    pub persists: bool,
    /// Failures within a window that open the breaker. Clean and wanted ends do not count, nor do kills from outside of
    /// workers that were ready for a second. Holds for a pool of up to 32 workers; for each further 32 so many more are
    /// let pass. Default 1000 within 60 s; 0 = no breaker.
    pub breaker: (u32, Duration),
    /// What an open breaker does.
    pub exhausted: Exhausted,
    /// Whether each worker stays on one processor, with all its threads and whatever it starts.
    pub affinity: Affinity,
    /// What a worker's [`crate::Fatal`] does.
    pub fatal: OnFatal,
    /// Who may come in, asked in the worker after the accept: a refused client counts as a connection
    /// and is closed without a word (rows N15 to N18). Default: everybody.
    pub access: AccessConfig,
}

impl Default for PoolConfig {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            workers: Workers::default(),
            concurrency: 1,
            accept: Accept::default(),
            max_connections: Span::NONE,
            max_requests: Span::NONE,
            max_age: Duration::ZERO..Duration::ZERO,
            boot_timeout: seconds(30),
            drain_timeout: seconds(600),
            stop_timeout: seconds(30),
            lame_duck: Duration::ZERO,
            term_grace: seconds(1),
            halt_grace: seconds(1),
            request_timeout: None,
            connection_timeout: None,
            max_memory: Span::NONE,
            min_lifetime: seconds(10),
            memory_recycles: None,
            max_surge: None,
            max_unavailable: 0,
            replace_interval: Duration::ZERO,
            shrink_interval: seconds(10),
            settle: seconds(10),
            quiet: seconds(30),
            backoff: (Duration::from_millis(100), seconds(30)),
            linger: Duration::ZERO,
            boot_attempts: 3,
            persists: false,
            breaker: (1000, seconds(60)),
            exhausted: Exhausted::Throttle,
            affinity: Affinity::default(),
            fatal: OnFatal::Stop,
            access: AccessConfig::default(),
        }
    }
}

/// Who a worker becomes, and what it may do, after `prepare`.
#[derive(Clone, Debug, Default)]
pub struct PrivilegeConfig {
    /// Name or number.
    pub user: Option<String>,
    /// Name or number; default: the user's own.
    pub group: Option<String>,
    /// Supplementary groups, names or numbers; default: those of the user's name, none for a number
    /// without one.
    pub groups: Option<Vec<String>>,
    /// New root directory; the working directory becomes it, too.
    pub chroot: Option<PathBuf>,
    /// File mode mask, as in `umask(2)`.
    pub umask: Option<u32>,
    /// Soft and hard limits, as in `setrlimit(2)`.
    pub limits: Vec<(Resource, u64, u64)>,
    /// Where workers leave their cores (row A29): it becomes their working directory, and the limit of a
    /// core's size is lifted. Must exist, inside `chroot` if there is one, and their user must be able to
    /// write there.
    pub core_directory: Option<PathBuf>,
    /// No program started by the worker gains privileges (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privileges: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_configured_is_as_it_is_documented() {
        let it = PoolConfig::default();
        let seconds = Duration::from_secs;
        assert_eq!(it.backoff, (Duration::from_millis(100), seconds(30)));
        assert_eq!(
            (it.boot_timeout, it.drain_timeout, it.stop_timeout),
            (seconds(30), seconds(600), seconds(30))
        );
        assert_eq!((it.term_grace, it.halt_grace), (seconds(1), seconds(1)));
        assert_eq!(
            (it.shrink_interval, it.settle, it.quiet),
            (seconds(10), seconds(10), seconds(30))
        );
        assert_eq!((it.boot_attempts, it.breaker), (3, (1000, seconds(60))));
    }

    #[test]
    fn workers_are_a_number_a_range_or_auto() {
        let parse = |text: &str| text.parse::<Workers>();
        assert_eq!(parse("4").expect("a number"), Workers::fixed(4));
        assert_eq!(parse("5..256").expect("a range"), Workers::dynamic(5..=256));
        assert_eq!(parse("0..8").expect("a range"), Workers::on_demand(0..=8));
        assert_eq!(Workers::on_demand(1..=8), Workers::dynamic(1..=8));
        assert_eq!(parse("auto").expect("auto"), Workers::per_cpu());
        for nonsense in ["", "-1", "a", "4..", "..4", "4294967296"] {
            let error = parse(nonsense).expect_err(nonsense);
            assert!(error.is_config() && error.to_string().contains("MIN..MAX"), "{error}");
        }
    }
}

//! What a configuration means: numbers checked, names resolved, bounds computed. Immutable.
//!
//! Made before a socket is bound, so that nonsense leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use crate::accept::Accept;
use crate::access::{AccessConfig, Gate, Resolver, ResolverConfig, Rules as AccessRules};
use crate::config::{Affinity, Exhausted, OnFatal, Policy, PoolConfig, PrivilegeConfig, Workers};
use crate::counted::arc;
use crate::privileges::{self, Privileges};
use crate::program::{Producer, Readiness};
use crate::supervisor::scale::Sizing;
use crate::supervisor::state::{Nanos, Rules};
use crate::supervisor::turnover::Turnover;
use crate::{Error, Result, corrections};

/// Places a pool may gain beyond its maximum by TTIN.
const HEADROOM: u32 = 32;
/// Most workers a pool may be asked for: Linux has about four million pids, and each worker costs two
/// descriptors.
const WORKERS_MAX: u32 = 100_000;
/// Spare workers of a dynamic pool that names none (Net::Server's documented defaults, row N19).
const SPARE: (u32, u32) = (2, 10);

/// A pool's part of the plan.
#[derive(Clone, Debug)]
pub(crate) struct PoolPlan {
    pub(crate) name: String,
    pub(crate) rules: Rules,
    pub(crate) concurrency: u32,
    pub(crate) accept: Accept,
    /// Sockets an address has.
    pub(crate) sockets: u32,
    pub(crate) privileges: Privileges,
    /// Processors that the places have in turn; empty: they have none.
    processors: Vec<usize>,
    /// Asked only where there are rules.
    pub(crate) gate: Option<Arc<Gate>>,
    /// What was corrected, in words.
    pub(crate) corrected: Vec<String>,
}

impl PoolPlan {
    /// Checks and resolves one pool.
    pub(crate) fn resolve(
        name: &str,
        config: &PoolConfig,
        privileges: &PrivilegeConfig,
    ) -> Result<Self> {
        let wrong = |text: String| Error::config(format!("pool {name}: {text}"));
        corrections::refuse(config).map_err(wrong)?;
        let (config, mut corrected) = corrections::correct(config);
        let asked = sizing(config.workers).map_err(wrong)?;
        let sizing = asked.at_least(config.accept.least_workers(cpus()));
        if sizing != asked {
            let (mode, few, least) = (config.accept, asked.min, sizing.min);
            corrected
                .push(format!("{few} workers at least for {mode}: one a socket; {least} is used"));
        }
        Ok(Self {
            name: name.to_owned(),
            corrected,
            rules: rules(&config, sizing),
            concurrency: config.concurrency,
            accept: config.accept,
            sockets: config.accept.sockets(sizing.max, cpus()),
            privileges: privileges::resolve(privileges)?,
            processors: processors(&config.affinity).map_err(wrong)?,
            gate: gate(&config.access)?,
        })
    }

    /// Of a pool that is no more, while it has workers.
    pub(crate) fn of_none(name: &str, rules: Rules) -> Self {
        Self {
            name: name.to_owned(),
            rules,
            concurrency: 1,
            privileges: Privileges::default(),
            processors: Vec::new(),
            gate: None,
            accept: Accept::Shared,
            sockets: 1,
            corrected: Vec::new(),
        }
    }

    /// The same for a foreign program; what cannot be had of one is refused.
    pub(crate) fn of_command(mut self, producer: &Producer) -> Result<Self> {
        self.rules.command = true;
        // Nobody can ask a stranger to hurry: the next deploys need not wait for those who take their time.
        self.rules.draining = HEADROOM;
        self.check_command(producer).map(|()| self)
    }

    fn check_command(&self, producer: &Producer) -> Result<()> {
        let Self { name, rules, gate, .. } = self;
        let wrong = |text: &str| Err(Error::config(format!("pool {name}: {text}")));
        if !rules.sizing.is_fixed() {
            return wrong("a command does not tell its load: give it a fixed number of workers");
        }
        if rules.connections.1 > 0 || rules.requests.1 > 0 {
            return wrong("nobody counts a command's connections and requests: recycle it by age");
        }
        if rules.is_watched() {
            return wrong(
                "a command does not tell what it is at: no timeout, and no bound on memory",
            );
        }
        if self.accept != Accept::Shared {
            return wrong("a command takes its clients itself: its listeners are shared");
        }
        if gate.is_some() {
            return wrong("a command takes its clients itself: no access rules can be asked");
        }
        if let Readiness::Lived(time) = producer.readiness
            && nanos(time) >= rules.boot_timeout
        {
            let boot = Duration::from_nanos(rules.boot_timeout);
            return wrong(&format!(
                "ready after {time:?}, and boot_timeout is {boot:?}: make it longer"
            ));
        }
        if let Err(text) = producer.check_numbers() {
            return wrong(&text);
        }
        let rooted = self.privileges.chroot.is_some();
        producer.check(rooted).map_err(|text| Error::command(format!("pool {name}: {text}")))
    }

    /// The processor that this place's workers stay on.
    pub(crate) fn processor(&self, place: usize) -> Option<usize> {
        self.processors.iter().cycle().nth(place % self.processors.len().max(1)).copied()
    }

    /// Records the pool needs: its places, their successors, and as many who drain.
    pub(crate) fn records(&self) -> usize {
        3 * self.rules.capacity as usize + 4
    }
}

/// The gate of a pool that has one. Made here, so that a rule that cannot be read ends the start; asked in
/// the workers alone.
fn gate(access: &AccessConfig) -> Result<Option<Arc<Gate>>> {
    if *access == AccessConfig::default() {
        return Ok(None);
    }
    let resolver = Resolver::new(&ResolverConfig::default())?;
    Ok(Some(arc(Gate::new(AccessRules::new(access)?, resolver))))
}

fn processors(affinity: &Affinity) -> std::result::Result<Vec<usize>, String> {
    let allowed = || tine_os::cpu::allowed().map_err(|error| format!("affinity: {error}"));
    match affinity {
        Affinity::Off => Ok(Vec::new()),
        Affinity::Places => allowed(),
        Affinity::Of(list) => {
            let allowed = allowed()?;
            match list.iter().find(|cpu| !allowed.contains(cpu)) {
                _ if list.is_empty() => Err("affinity: no processor is named".to_owned()),
                Some(cpu) => Err(format!(
                    "affinity: processor {cpu} is none of those this process may use: {allowed:?}"
                )),
                None => Ok(list.clone()),
            }
        }
    }
}

fn sizing(workers: Workers) -> std::result::Result<Sizing, String> {
    let sizing = match workers.0 {
        Policy::Fixed(n) => Sizing::fixed(n),
        Policy::PerCpu => Sizing::fixed(cpus()),
        Policy::Every { interval, within, .. } if interval.is_zero() || within.is_zero() => {
            return Err(format!("a helper every {interval:?} within {within:?}: not 0"));
        }
        Policy::Every { at_most, .. } => Sizing::fixed(at_most),
        Policy::OnDemand { max } => {
            Sizing { min: 0, max, min_spare: 0, max_spare: SPARE.1.min(max) }
        }
        Policy::Dynamic { min, max, spare } => {
            if min > max {
                return Err(format!("workers {min}..{max}: the first is the smaller one"));
            }
            let max_default = SPARE.1.max(min).min(max);
            let (min_spare, max_spare) = spare.unwrap_or((SPARE.0.min(max), max_default));
            if min_spare > max_spare {
                let text = format!("spare workers {min_spare}..{max_spare}");
                return Err(format!("{text}: the first is the smaller one"));
            }
            if min_spare > max {
                return Err(format!("{min_spare} spare workers of {max}: there are never so many"));
            }
            Sizing { min, max, min_spare, max_spare }
        }
    };
    match sizing.max {
        0 => Err("0 workers: nobody would serve".to_owned()),
        1..=WORKERS_MAX => Ok(sizing),
        many => Err(format!("{many} workers: at most {WORKERS_MAX}")),
    }
}

/// CPUs this process may use: affinity mask and cgroup quota count (row F1).
pub(crate) fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

fn rules(config: &PoolConfig, sizing: Sizing) -> Rules {
    let age = (nanos(config.max_age.start), nanos(config.max_age.end));
    let (every, age, headroom) = match config.workers.0 {
        Policy::Every { interval, within, .. } => {
            (Some(nanos(interval)), (nanos(within), nanos(within)), 0)
        }
        _ => (None, age, HEADROOM),
    };
    Rules {
        every,
        sizing,
        capacity: sizing.max + headroom,
        connections: (config.max_connections.0, config.max_connections.1),
        requests: (config.max_requests.0, config.max_requests.1),
        age,
        boot_timeout: nanos(config.boot_timeout),
        drain_timeout: nanos(config.drain_timeout),
        stop_timeout: nanos(config.stop_timeout),
        lame_duck: nanos(config.lame_duck),
        term_grace: nanos(config.term_grace),
        halt_grace: nanos(config.halt_grace),
        request_timeout: config.request_timeout.map_or(0, nanos),
        connection_timeout: config.connection_timeout.map_or(0, nanos),
        memory: (config.max_memory.0, config.max_memory.1),
        min_lifetime: nanos(config.min_lifetime),
        memory_recycles: config.memory_recycles.unwrap_or((sizing.max / 8).max(1)),
        turnover: Turnover {
            surge: config.max_surge,
            unavailable: config.max_unavailable,
            pace: nanos(config.replace_interval),
        },
        shrink_interval: nanos(config.shrink_interval),
        settle: nanos(config.settle),
        quiet: nanos(config.quiet),
        backoff: (nanos(config.backoff.0), nanos(config.backoff.1)),
        linger: nanos(config.linger),
        draining: 0,
        boot_attempts: config.boot_attempts,
        persists: config.persists,
        command: false,
        breaker: (config.breaker.0, nanos(config.breaker.1)),
        breaker_stops: config.exhausted == Exhausted::Stop,
        multiplexed: config.concurrency > 1,
        fatal_stops: config.fatal == OnFatal::Stop,
    }
}

/// A duration in [`Nanos`]; what does not fit is for ever.
fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(workers: Workers) -> Result<PoolPlan> {
        let config = PoolConfig { workers, ..PoolConfig::default() };
        PoolPlan::resolve("p", &config, &PrivilegeConfig::default())
    }

    #[test]
    fn a_small_maximum_is_a_small_pool_and_no_error() {
        let pool = plan(Workers::dynamic(1..=4)).expect("a pool").rules.sizing;
        assert_eq!(pool, Sizing { min: 1, max: 4, min_spare: 2, max_spare: 4 });
    }

    #[test]
    fn a_pool_on_demand_has_no_floor_and_needs_a_maximum() {
        let pool = plan(Workers::on_demand(0..=4)).expect("a pool").rules.sizing;
        assert_eq!((pool.start(), pool.max, pool.is_on_demand()), (0, 4, true));
        assert!(plan(Workers::on_demand(0..=0)).expect_err("refused").is_config());
    }

    #[test]
    fn the_minimum_that_was_asked_for_is_respected() {
        let pool = plan(Workers::dynamic(1..=3)).expect("a pool").rules.sizing;
        assert_eq!(pool.min, 1);
    }

    #[test]
    fn nonsense_is_refused_with_the_pool_and_the_number() {
        let spare = Workers::dynamic(1..=4).spare(5..=6);
        for workers in [Workers::fixed(0), "4..2".parse().expect("a range"), spare] {
            let error = plan(workers).expect_err("refused");
            assert!(error.is_config() && error.to_string().starts_with("pool p:"), "{error}");
        }
    }

    #[test]
    fn one_worker_a_usable_cpu_is_the_default() {
        assert_eq!(plan(Workers::default()).expect("a pool").rules.sizing, Sizing::fixed(cpus()));
    }

    #[test]
    fn without_a_word_the_times_are_those_that_are_written_down() {
        use crate::supervisor::state::{MILLISECOND, SECOND};
        let rules = plan(Workers::fixed(4)).expect("a pool").rules;
        assert_eq!(rules.backoff, (100 * MILLISECOND, 30 * SECOND));
        assert_eq!((rules.breaker, rules.breaker_stops), ((1000, 60 * SECOND), false));
        assert_eq!((rules.boot_timeout, rules.boot_attempts), (30 * SECOND, 3));
        assert_eq!((rules.drain_timeout, rules.stop_timeout), (600 * SECOND, 30 * SECOND));
        assert_eq!((rules.term_grace, rules.halt_grace), (SECOND, SECOND));
        assert_eq!(
            (rules.shrink_interval, rules.settle, rules.quiet),
            (10 * SECOND, 10 * SECOND, 30 * SECOND)
        );
    }

    #[test]
    fn each_time_that_is_asked_for_is_its_own() {
        let seconds = Duration::from_secs;
        let config = PoolConfig {
            workers: Workers::fixed(4),
            boot_timeout: seconds(1),
            drain_timeout: seconds(2),
            stop_timeout: seconds(3),
            term_grace: seconds(4),
            halt_grace: seconds(5),
            shrink_interval: seconds(6),
            settle: seconds(7),
            quiet: seconds(8),
            backoff: (seconds(9), seconds(10)),
            linger: seconds(11),
            breaker: (12, seconds(13)),
            ..PoolConfig::default()
        };
        let resolved = PoolPlan::resolve("p", &config, &PrivilegeConfig::default());
        let rules = resolved.expect("a pool").rules;
        let found = [
            rules.boot_timeout,
            rules.drain_timeout,
            rules.stop_timeout,
            rules.term_grace,
            rules.halt_grace,
            rules.shrink_interval,
            rules.settle,
            rules.quiet,
            rules.backoff.0,
            rules.backoff.1,
            rules.linger,
            u64::from(rules.breaker.0) * 1_000_000_000,
            rules.breaker.1,
        ];
        let expected: Vec<u64> = (1..=13).map(|seconds| seconds * 1_000_000_000).collect();
        assert_eq!(found.as_slice(), expected);
    }
}

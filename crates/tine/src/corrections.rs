//! Numbers that cannot mean what they say: refused where nobody can know what was meant, and corrected, with a
//! warning that names value, bound and what is used instead, where there is one thing it can be (row A6).

use std::time::Duration;

use crate::config::{Policy, PoolConfig, Span, Workers};

/// The least memory a worker can be bound to, in bytes.
const MEMORY_MIN: u64 = 1 << 20;

/// Why this makes no sense, if it makes none.
pub(crate) fn refuse(config: &PoolConfig) -> Result<(), String> {
    if config.concurrency == 0 {
        return Err("concurrency 0: a worker serves at least one connection".to_owned());
    }
    config.accept.check()?;
    check_span("max_connections", config.max_connections)?;
    check_span("max_requests", config.max_requests)?;
    check_span("max_memory", config.max_memory)?;
    if (1..MEMORY_MIN).contains(&config.max_memory.0) {
        let few = config.max_memory.0;
        return Err(format!(
            "max_memory {few}: it is in bytes, at least {MEMORY_MIN}: a worker has more when it begins"
        ));
    }
    let age = &config.max_age;
    if age.start > age.end {
        let (start, end) = (age.start, age.end);
        return Err(format!("max_age {start:?}..{end:?}: the first is the smaller one"));
    }
    if (config.max_surge, config.max_unavailable) == (Some(0), 0) {
        return Err(
            "max_surge 0 and max_unavailable 0: no worker could be replaced; give one of them"
                .to_owned(),
        );
    }
    check_times(config)
}

fn check_span(what: &str, span: Span) -> Result<(), String> {
    match span {
        Span(min, max) if min > max => {
            Err(format!("{what} {min}..{max}: the first is the smaller one"))
        }
        Span(0, 1..) => Err(format!("{what} 0..: 0 means no limit, begin with 1")),
        _ => Ok(()),
    }
}

fn check_times(config: &PoolConfig) -> Result<(), String> {
    for (what, time) in [
        ("request_timeout", config.request_timeout),
        ("connection_timeout", config.connection_timeout),
        ("boot_timeout", Some(config.boot_timeout)),
    ] {
        if time == Some(Duration::ZERO) {
            return Err(format!("{what} 0: nothing can be done in no time"));
        }
    }
    if config.connection_timeout.is_some() && config.concurrency > 1 {
        let many = config.concurrency;
        return Err(format!(
            "connection_timeout with concurrency {many}: ending one connection would end the worker's others; \
             it is for workers that serve one at a time"
        ));
    }
    let (first, longest) = config.backoff;
    if first.is_zero() {
        return Err(format!(
            "backoff 0..{longest:?}: a worker that cannot boot would be tried for ever"
        ));
    }
    if first > longest {
        return Err(format!("backoff {first:?}..{longest:?}: the first is the smaller one"));
    }
    match config.breaker {
        (1.., Duration::ZERO) => {
            Err("breaker within 0: failures are counted over a time".to_owned())
        }
        _ => Ok(()),
    }
}

/// What is used instead, and what is said about it.
pub(crate) fn correct(config: &PoolConfig) -> (PoolConfig, Vec<String>) {
    let (mut config, mut notes) = (config.clone(), Vec::new());
    if let Workers(Policy::Dynamic { max, spare: Some((_, most)), .. }) = &mut config.workers
        && *most > *max
    {
        notes
            .push(format!("{most} spare workers of {max}: there are never so many; {max} is used"));
        *most = *max;
    }
    if config.boot_attempts == 0 {
        notes.push("boot_attempts 0: a worker is tried at least once; 1 is used".to_owned());
        config.boot_attempts = 1;
    }
    if config.memory_recycles == Some(0) {
        notes.push("memory_recycles 0: max_memory would do nothing; 1 is used".to_owned());
        config.memory_recycles = Some(1);
    }
    (config, notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> PoolConfig {
        PoolConfig::default()
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_name_and_value() {
        const SECOND: Duration = Duration::from_secs(1);
        let none = Some(Duration::ZERO);
        for (nonsense, said) in [
            (PoolConfig { concurrency: 0, ..config() }, "concurrency 0"),
            (PoolConfig { max_connections: Span(9, 3), ..config() }, "max_connections 9..3"),
            (PoolConfig { max_requests: Span(0, 3), ..config() }, "max_requests 0.."),
            (PoolConfig { max_memory: Span(64, 64), ..config() }, "max_memory 64"),
            (PoolConfig { max_age: SECOND..Duration::ZERO, ..config() }, "max_age 1s..0ns"),
            (PoolConfig { request_timeout: none, ..config() }, "request_timeout 0"),
            (PoolConfig { connection_timeout: none, ..config() }, "connection_timeout 0"),
            (PoolConfig { boot_timeout: Duration::ZERO, ..config() }, "boot_timeout 0"),
            (PoolConfig { backoff: (Duration::ZERO, SECOND), ..config() }, "backoff 0"),
            (PoolConfig { backoff: (2 * SECOND, SECOND), ..config() }, "backoff 2s..1s"),
            (PoolConfig { breaker: (3, Duration::ZERO), ..config() }, "breaker"),
            (
                PoolConfig { concurrency: 2, connection_timeout: Some(SECOND), ..config() },
                "connection_timeout with concurrency 2",
            ),
        ] {
            let text = refuse(&nonsense).expect_err(said);
            assert!(text.starts_with(said), "{text}");
        }
        refuse(&config()).expect("the defaults make sense");
    }

    #[test]
    fn what_is_corrected_is_said_with_its_value_and_what_is_used() {
        let workers = Workers::dynamic(1..=4).spare(2..=50);
        let asked = PoolConfig { workers, boot_attempts: 0, memory_recycles: Some(0), ..config() };
        let (used, notes) = correct(&asked);
        assert_eq!(used.workers, Workers::dynamic(1..=4).spare(2..=4));
        assert_eq!((used.boot_attempts, used.memory_recycles), (1, Some(1)));
        assert_eq!(notes.len(), 3);
        assert_eq!(notes[0], "50 spare workers of 4: there are never so many; 4 is used");
        assert!(notes[1].starts_with("boot_attempts 0") && notes[1].ends_with("1 is used"));
        assert!(correct(&config()).1.is_empty());
    }
}

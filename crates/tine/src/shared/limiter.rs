//! A rate limiter that all workers share: the generic cell rate algorithm, one word a key.
//!
//! What is kept of a key is one time: when a client that had sent evenly, one per interval, would be due
//! again ("theoretical arrival time", ITU-T I.371). It may run ahead of now by the burst; every request that
//! is let through moves it on by one interval. That is a token bucket, in one compare-and-swap.

use std::hint::spin_loop;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::time::Duration;

use super::Region;
use super::hash::{SECRET_LINE, Secret};
use super::shape::Shape;
use super::ways::{Found, TIME_MAX, WAYS, micros, pack, seek};
use crate::{Error, Result};

/// How often a change is tried while others change the same word. A failed try is somebody else's success,
/// so more than a few say that memory is being scribbled on: the key is limited then.
const TRIES: u32 = 1000;
/// The longest time a full burst may take to come back, microseconds: 366 days.
const WINDOW_MAX: u128 = 366 * 24 * 3_600_000_000;

/// How much a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    per: Duration,
    burst: u32,
}

impl Rate {
    /// So many in so much time, e.g. 100 per minute; as many may come at once, see [`Rate::burst`].
    ///
    /// At most a million a second: intervals are whole microseconds, rounded up.
    #[must_use]
    pub const fn new(count: u32, per: Duration) -> Self {
        Self { count, per, burst: count }
    }

    /// How many may come at once after a silence. Default: the rate's count.
    #[must_use]
    pub const fn burst(self, burst: u32) -> Self {
        Self { burst, ..self }
    }

    /// Interval and burst in microseconds; `None` for a rate that nobody can keep, or check.
    fn micros(self) -> Option<(u64, u64)> {
        let interval = self.per.as_nanos().div_ceil(1000 * u128::from(self.count.max(1)));
        let burst = interval * u128::from(self.burst);
        let sound = self.count > 0 && burst > 0 && burst <= WINDOW_MAX;
        sound.then_some((u64::try_from(interval).ok()?, u64::try_from(burst).ok()?))
    }
}

/// What a [`Limiter`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on; it is counted.
    Allowed {
        /// How many more could come right now.
        remaining: u32,
    },
    /// Too many; this one is not counted.
    Limited {
        /// When the next one is let through, if none comes before it. Over 0.
        retry_after: Duration,
    },
}

/// A rate limiter for any number of keys (client addresses, API keys), in a shared region of fixed size.
///
/// - **Where**: the region is declared before the fork, see [`Limiter::shape`]; each worker opens it, see
///   [`Region::limiter`], and asks it before it does the work.
/// - **Promise**: in any span of time, all workers together let through at most the burst and one more an
///   interval, for every key, to the microsecond; whatever other keys do, and whoever dies.
/// - **Error**: only ever towards less. A key that finds its set full of keys still in their window takes
///   over the oldest one's word, and what that one owed: it may be limited early, it is never let through
///   twice. Two keys with one tag in one set (1 in 8000 in a full set) share a budget.
/// - **Costs**: 8 bytes a key; a check is a keyed hash, one cache line and one compare-and-swap: less than
///   0.1 µs, and no system call. Declare twice as many keys as are active within a window, and sets hardly
///   ever fill.
/// - **Death**: there is no lock. A worker dies before it has counted, or after.
/// - **Rates** are not in the region, so they may change at a reload. While workers have two rates for one
///   key, each judges it by what both have counted.
/// - **Times** last for 8.9 years of the machine's; then everything is limited until it is started again.
#[derive(Clone, Debug)]
pub struct Limiter {
    region: Region,
    secret: Secret,
    /// Microseconds from one to the next.
    interval: u64,
    /// Microseconds that a key's time may be ahead.
    burst: u64,
}

impl Limiter {
    /// What to declare a region for so many keys at a time with; rounded up to whole sets of eight.
    #[must_use]
    pub fn shape(keys: usize) -> Shape {
        let words = match keys.div_ceil(WAYS).saturating_mul(WAYS) {
            0 => 0,
            words => words.saturating_add(SECRET_LINE),
        };
        Shape::new("limiter/1", [], words)
    }

    /// Asks for one more of this key at `now`, monotonic nanoseconds ([`crate::now`]), and counts it if it
    /// is allowed.
    #[must_use = "a limit is kept by whoever asked"]
    pub fn check(&self, key: &[u8], now: u64) -> Verdict {
        let sets = &self.region.words()[SECRET_LINE..];
        let (index, hash) = self.secret.locate(key, sets.len() / WAYS);
        let set = &sets[index * WAYS..][..WAYS];
        let latest = micros(now).saturating_add(self.burst).min(TIME_MAX);
        for _ in 0..TRIES {
            let Found { way, word, time, .. } = seek(set, hash, latest);
            let due = time.max(micros(now)) + self.interval;
            if due > latest {
                let at = (due - self.burst).saturating_mul(1000);
                return limited(Duration::from_nanos(at.saturating_sub(now)));
            }
            if set[way].compare_exchange(word, pack(hash, due), AcqRel, Relaxed).is_ok() {
                let remaining = (latest - due) / self.interval;
                return Verdict::Allowed {
                    remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
                };
            }
            spin_loop();
        }
        limited(Duration::from_micros(self.interval))
    }
}

fn limited(retry_after: Duration) -> Verdict {
    Verdict::Limited { retry_after: retry_after.max(Duration::from_nanos(1)) }
}

impl Region {
    /// A limiter in this region, which must have been declared with `Limiter::shape`. Every worker should
    /// give it the same rate.
    ///
    /// # Errors
    /// A configuration error if the region was declared with anything else, or the rate is 0 or needs more
    /// than a year for its burst.
    pub fn limiter(&self, rate: Rate) -> Result<Limiter> {
        let content = self.words();
        Limiter::shape(content.len().saturating_sub(SECRET_LINE)).check(self, "limiter")?;
        let (interval, burst) = rate.micros().ok_or_else(|| {
            let name = self.name();
            Error::config(format!("shared region {name:?}: no limiter can keep {rate:?}"))
        })?;
        let secret = Secret::of([&content[0], &content[1]]);
        Ok(Limiter { region: self.clone(), secret, interval, burst })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_000_000 * SECOND + 123;

    fn limiter(keys: usize, rate: Rate) -> Limiter {
        let shape = Limiter::shape(keys);
        let region = Region::create("limits", shape.version, shape.words).expect("a region");
        region.limiter(rate).expect("a limiter")
    }

    fn is_allowed(verdict: Verdict) -> bool {
        matches!(verdict, Verdict::Allowed { .. })
    }

    #[test]
    fn a_burst_is_let_through_and_then_one_an_interval() {
        let limiter = limiter(100, Rate::new(10, Duration::from_secs(1)).burst(3));
        let left = [2, 1, 0].map(|remaining| Verdict::Allowed { remaining });
        assert_eq!([(); 3].map(|()| limiter.check(b"key", START)), left);
        let Verdict::Limited { retry_after } = limiter.check(b"key", START) else {
            panic!("a fourth at once");
        };
        let wait = u64::try_from(retry_after.as_nanos()).expect("short");
        assert!((99_999_000..=100_000_000).contains(&wait), "{wait}");
        assert!(!is_allowed(limiter.check(b"key", START + wait - 1)));
        assert_eq!(limiter.check(b"key", START + wait), left[2]);
        assert_eq!(limiter.check(b"other", START), left[0], "another key has its own");
        assert_eq!(limiter.check(b"key", START + SECOND), left[0], "after a silence, all of it");
    }

    #[test]
    fn many_at_once_get_exactly_the_budget() {
        let limiter = limiter(64, Rate::new(20_000, Duration::from_secs(3600)));
        let ask = || (0..5000).filter(|_| is_allowed(limiter.check(b"key", START))).count();
        let total: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().expect("a count")).sum()
        });
        assert_eq!(total, 20_000);
    }

    /// Whether one bucket by the book would have let all of these through.
    fn keeps(rate: Rate, mut times: Vec<u64>) -> bool {
        let (interval, burst) = rate.micros().expect("a rate");
        times.sort_unstable();
        let mut due = 0;
        times.into_iter().map(micros).all(|time| {
            due = due.max(time) + interval;
            due <= time + burst
        })
    }

    #[test]
    fn a_full_set_lets_no_key_through_too_often() {
        let rate = Rate::new(1000, Duration::from_secs(1)).burst(4);
        let limiter = limiter(8, rate);
        let clock = AtomicU64::new(START);
        let allowed = || {
            let mut times: HashMap<u64, Vec<u64>> = HashMap::new();
            for turn in 0..40_000 {
                let now = clock.fetch_add(10_000, Relaxed);
                // Eleven keys for eight words, some often.
                let key = (now / 10_000 * 7 + turn) % 23 % 11;
                if is_allowed(limiter.check(&key.to_le_bytes(), now)) {
                    times.entry(key).or_default().push(now);
                }
            }
            times
        };
        let mut all: HashMap<u64, Vec<u64>> = HashMap::new();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(allowed)).collect();
            for (key, times) in threads.into_iter().flat_map(|thread| thread.join().expect("times"))
            {
                all.entry(key).or_default().extend(times);
            }
        });
        assert_eq!(all.len(), 11, "nobody is shut out");
        for (key, times) in all {
            assert!(times.len() > 100, "key {key} was let through {} times", times.len());
            assert!(keeps(rate, times), "key {key} was let through too often");
        }
    }

    #[test]
    fn rates_nobody_can_keep_are_refused() {
        let region = limiter(8, Rate::new(1, Duration::from_secs(1))).region;
        let minute = Duration::from_secs(60);
        for rate in [
            Rate::new(0, minute),
            Rate::new(1, Duration::ZERO),
            Rate::new(1, minute).burst(0),
            Rate::new(1, Duration::MAX),
            Rate::new(1, minute).burst(u32::MAX),
        ] {
            assert!(region.limiter(rate).expect_err("refused").is_config(), "{rate:?}");
        }
        let shape = Limiter::shape(8);
        for words in [1, 8, 15, 17] {
            let region = Region::create("limits", shape.version, words).expect("a region");
            assert!(region.limiter(Rate::new(1, minute)).is_err(), "{words} words");
        }
        assert_eq!((Limiter::shape(0).words, Limiter::shape(usize::MAX).words), (0, usize::MAX));
    }

    #[test]
    fn times_that_cannot_be_are_forgotten() {
        let limiter = limiter(8, Rate::new(2, Duration::from_secs(1)));
        limiter.region.words()[8..].iter().for_each(|word| word.store(u64::MAX, Relaxed));
        let verdicts = [(); 3].map(|()| is_allowed(limiter.check(b"key", START)));
        assert_eq!(verdicts, [true, true, false]);
    }

    proptest! {
        #[test]
        fn any_words_and_times_can_be_checked(
            words in prop::collection::vec(any::<u64>(), 24),
            checks in prop::collection::vec((any::<[u8; 3]>(), any::<u64>()), 20),
        ) {
            let limiter = limiter(16, Rate::new(3, Duration::from_millis(7)));
            for (place, word) in limiter.region.words().iter().zip(words) {
                place.store(word, Relaxed);
            }
            for (key, now) in checks {
                if let Verdict::Limited { retry_after } = limiter.check(&key, now) {
                    prop_assert!(retry_after > Duration::ZERO);
                }
            }
        }
    }
}

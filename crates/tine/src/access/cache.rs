//! Answers that are still good: a bounded table, pure, told what time it is.

use super::name::Name;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long answers are good, and how many are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) entries: usize,
    pub(super) positive: Duration,
    pub(super) negative: Duration,
}

/// When it is full, the answer that came first leaves first.
#[derive(Debug)]
pub(super) struct Cache<K> {
    limits: Limits,
    entries: BTreeMap<K, Entry>,
    /// The entries as they came. One that was replaced since has another stamp than stands here.
    order: VecDeque<(K, u64)>,
    stamp: u64,
}

#[derive(Debug)]
struct Entry {
    name: Name,
    until: Instant,
    stamp: u64,
}

impl<K: Ord + Copy> Cache<K> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, entries: BTreeMap::new(), order: VecDeque::new(), stamp: 0 }
    }

    pub(super) fn get(&self, key: K, now: Instant) -> Option<&Name> {
        self.entries.get(&key).filter(|entry| now < entry.until).map(|entry| &entry.name)
    }

    pub(super) fn put(&mut self, key: K, name: Name, now: Instant) {
        let life =
            if name.as_str().is_some() { self.limits.positive } else { self.limits.negative };
        self.stamp += 1;
        self.entries.insert(key, Entry { name, until: now + life, stamp: self.stamp });
        self.order.push_back((key, self.stamp));
        while self.order.len() > self.limits.entries {
            let Some((key, stamp)) = self.order.pop_front() else { break };
            if self.entries.get(&key).is_some_and(|entry| entry.stamp == stamp) {
                self.entries.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: usize) -> Cache<u32> {
        let (positive, negative) = (Duration::from_secs(300), Duration::from_secs(30));
        Cache::new(Limits { entries, positive, negative })
    }

    #[test]
    fn names_are_good_longer_than_their_absence() {
        let (mut cache, start) = (cache(8), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let name = Name::Claimed("a.example".into());
        cache.put(1, name.clone(), start);
        cache.put(2, Name::Missing, start);
        cache.put(3, Name::Mismatch("b.example".into()), start);
        assert_eq!(cache.get(1, after(299)), Some(&name));
        assert_eq!(cache.get(1, after(300)), None);
        for negative in [2, 3] {
            assert!(cache.get(negative, after(29)).is_some());
            assert_eq!(cache.get(negative, after(30)), None);
        }
        assert_eq!(cache.get(4, start), None);
    }

    #[test]
    fn no_more_are_kept_than_the_limit_however_often_they_are_replaced() {
        let (mut cache, now) = (cache(4), Instant::now());
        for round in 0..100 {
            cache.put(round % 3, Name::Missing, now);
            cache.put(round + 100, Name::Missing, now);
            assert!(cache.entries.len() <= 4 && cache.order.len() <= 4);
        }
        assert!(cache.get(199, now).is_some(), "the newest is there");
        assert!(cache.get(150, now).is_none(), "an old one is not");
    }

    #[test]
    fn a_replaced_answer_does_not_take_its_successor_along() {
        let (mut cache, now) = (cache(2), Instant::now());
        cache.put(1, Name::Missing, now);
        cache.put(1, Name::Claimed("a.example".into()), now);
        cache.put(2, Name::Missing, now);
        assert!(cache.get(1, now).is_some());
    }
}

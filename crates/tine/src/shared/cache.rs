//! A small cache that all workers share: fixed entries, no lock, and nothing wrong in it.
//!
//! | words | content |
//! |---|---|
//! | 8 | the secret, and room |
//! | a set: 8 | its entries' states: the key's tag, the time of the last change; an odd time is a claim |
//! | then 8 times | checksum; when it expires; lengths; key; value |
//!
//! A writer claims an entry by one compare-and-swap of its state, writes, and publishes by another. If it
//! dies in between, the state stays odd: readers see nothing there, and after [`CLAIM_MICROS`] the next
//! writer claims it as if it were free. If it was only slow, its own publishing fails, and what it may still
//! have spoilt no longer fits the checksum, which the state is a part of.

use std::hint::spin_loop;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};
use std::time::Duration;

use super::Region;
use super::hash::{SECRET_LINE, Secret, words_of};
use super::shape::Shape;
use super::ways::{Found, TIME_MAX, WAYS, micros, pack, seek};
use crate::Result;

/// After so many microseconds a claim is a dead writer's. One takes about one.
const CLAIM_MICROS: u64 = 100_000;
/// How often an entry that changes under our eyes is tried again.
const TRIES: u32 = 4;
/// Words of an entry before its key: checksum, expiry, lengths.
const FRONT: usize = 3;

/// How many entries a [`Cache`] has, and how long a key and a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSize {
    /// Entries; rounded up to whole sets of eight.
    pub entries: usize,
    /// Bytes a key may have.
    pub key: usize,
    /// Bytes a value may have.
    pub value: usize,
}

impl CacheSize {
    fn sets(self) -> usize {
        self.entries.div_ceil(WAYS)
    }

    fn entry_words(self) -> usize {
        FRONT.saturating_add(self.key.div_ceil(8)).saturating_add(self.value.div_ceil(8))
    }

    fn set_words(self) -> usize {
        self.entry_words().saturating_add(1).saturating_mul(WAYS)
    }
}

/// A bounded cache in a shared region: rendered fragments, looked-up names, sessions that may be lost.
///
/// - **Where**: the region is declared before the fork, see [`Cache::shape`]; each worker opens it, see
///   [`Region::cache`].
/// - **Promise**: what [`get`](Cache::get) returns was put for that very key, whole, and has not expired. A
///   put that has returned hides all values put before it. An entry torn by a death, or of random bytes, is
///   a miss (the check is 64 bits wide). It keeps out accidents: a worker that was taken over can put into
///   it what it likes.
/// - **Bounded**: a full set loses its oldest entry; lost are puts that meet another writer at the same
///   entry, as if they had been overwritten at once. Any value may be gone at any time.
/// - **Costs**: 32 bytes an entry and the sizes of key and value rounded up to 8; memory is taken as entries
///   are first used. A hit or a put is about 0.1 µs and 0.35 µs a KiB, nearly all of it the checksum. No
///   system call.
/// - **Death**: the entry in hand is a miss for everyone, and free again after 0.1 s. Nobody waits, ever.
#[derive(Clone, Debug)]
pub struct Cache {
    region: Region,
    secret: Secret,
    size: CacheSize,
}

/// The set of a key.
struct Set<'a> {
    states: &'a [AtomicU64],
    entries: &'a [AtomicU64],
    hash: u64,
}

impl Cache {
    /// What to declare a region of this size with.
    #[must_use]
    pub fn shape(size: CacheSize) -> Shape {
        let words = match size.sets().saturating_mul(size.set_words()) {
            0 => 0,
            words => words.saturating_add(SECRET_LINE),
        };
        let bytes = [size.key, size.value].map(|bytes| (bytes as u64).to_le_bytes());
        Shape::new("cache/1", bytes.iter().map(<[u8; 8]>::as_slice), words)
    }

    /// A copy of what was last put for this key, unless it is gone. `now` is in monotonic nanoseconds
    /// ([`crate::now`]).
    #[must_use]
    pub fn get(&self, key: &[u8], now: u64) -> Option<Vec<u8>> {
        let set = self.set(key);
        for _ in 0..TRIES {
            let Found { way, word, time, matches } = seek(set.states, set.hash, micros(now));
            if !matches || is_claim(time) {
                return None;
            }
            let value = self.read(self.entry(&set, way), word, key, now);
            // The entry was read before the state is looked at again.
            fence(Acquire);
            if set.states[way].load(Relaxed) == word {
                return value;
            }
            spin_loop();
        }
        None
    }

    /// Keeps a value for `ttl` from `now` on (monotonic nanoseconds); false if it is not kept: it or its key
    /// is too long, or another writer is at the same entry. The key's older value is gone in any case.
    pub fn put(&self, key: &[u8], value: &[u8], ttl: Duration, now: u64) -> bool {
        if value.len() > self.size.value {
            self.remove(key, now);
            return false;
        }
        let ttl = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
        self.write(key, value, now.saturating_add(ttl), now)
    }

    /// Forgets a key's value, if there is one. `now` is in monotonic nanoseconds.
    pub fn remove(&self, key: &[u8], now: u64) {
        let set = self.set(key);
        if seek(set.states, set.hash, micros(now)).matches {
            self.write(key, &[], 0, now);
        }
    }

    fn set(&self, key: &[u8]) -> Set<'_> {
        let (index, hash) = self.secret.locate(key, self.size.sets());
        let words = self.size.set_words();
        let set = &self.region.words()[SECRET_LINE + index * words..][..words];
        let (states, entries) = set.split_at(WAYS);
        Set { states, entries, hash }
    }

    fn entry<'a>(&self, set: &Set<'a>, way: usize) -> &'a [AtomicU64] {
        let words = self.size.entry_words();
        &set.entries[way * words..][..words]
    }

    /// The value of an entry whose state is `state`, if all of it fits. Every word may be nonsense.
    fn read(&self, entry: &[AtomicU64], state: u64, key: &[u8], now: u64) -> Option<Vec<u8>> {
        let (front, rest) = entry.split_at(FRONT);
        let [sum, expires, lengths] = [0, 1, 2].map(|word: usize| front[word].load(Relaxed));
        let length = usize::try_from(lengths & u64::from(u32::MAX)).ok()?;
        let fits = lengths >> 32 == key.len() as u64 && length <= self.size.value;
        if !fits || key.len() > self.size.key || now >= expires {
            return None;
        }
        let (keys, values) = rest.split_at(self.size.key.div_ceil(8));
        if !words_of(key).zip(keys).all(|(word, kept)| kept.load(Relaxed) == word) {
            return None;
        }
        let mut hash = self.secret.begin();
        [state, expires, lengths].into_iter().chain(words_of(key)).for_each(|word| hash.word(word));
        let mut value = Vec::with_capacity(length.next_multiple_of(8));
        for kept in &values[..length.div_ceil(8)] {
            let word = kept.load(Relaxed);
            hash.word(word);
            value.extend_from_slice(&word.to_le_bytes());
        }
        value.truncate(length);
        (hash.finish(0) == sum).then_some(value)
    }

    /// Writes an entry; `value` fits.
    fn write(&self, key: &[u8], value: &[u8], expires: u64, now: u64) -> bool {
        let set = self.set(key);
        if key.len() > self.size.key {
            return false;
        }
        let Some((way, claim)) = claim(&set, now) else { return false };
        // Whoever reads what follows sees the claim, too.
        fence(Release);
        let (front, rest) = self.entry(&set, way).split_at(FRONT);
        let (keys, values) = rest.split_at(self.size.key.div_ceil(8));
        let published = claim + 1;
        let lengths = (key.len() as u64) << 32 | value.len() as u64;
        let mut hash = self.secret.begin();
        [published, expires, lengths].into_iter().for_each(|word| hash.word(word));
        words_of(key).zip(keys).chain(words_of(value).zip(values)).for_each(|(word, place)| {
            hash.word(word);
            place.store(word, Relaxed);
        });
        front[1].store(expires, Relaxed);
        front[2].store(lengths, Relaxed);
        front[0].store(hash.finish(0), Relaxed);
        set.states[way].compare_exchange(claim, published, Release, Relaxed).is_ok()
    }
}

fn is_claim(time: u64) -> bool {
    time % 2 == 1
}

/// Claims an entry for a key, its own or the oldest: which one, and the state it has now. `None` if another
/// writer is at it.
fn claim(set: &Set<'_>, now: u64) -> Option<(usize, u64)> {
    let now = micros(now);
    for _ in 0..TRIES {
        let Found { way, word, time, .. } = seek(set.states, set.hash, now);
        let is_held = is_claim(time) && now < time + CLAIM_MICROS;
        let odd = (time.max(now) + 1) | 1;
        if is_held || odd >= TIME_MAX {
            return None;
        }
        let claim = pack(set.hash, odd);
        if set.states[way].compare_exchange(word, claim, AcqRel, Relaxed).is_ok() {
            return Some((way, claim));
        }
        spin_loop();
    }
    None
}

impl Region {
    /// The cache in this region, which must have been declared with `Cache::shape` of the same size.
    ///
    /// # Errors
    /// A configuration error if the region was declared with anything else.
    pub fn cache(&self, size: CacheSize) -> Result<Cache> {
        Cache::shape(size).check(self, "cache")?;
        let content = self.words();
        let secret = Secret::of([&content[0], &content[1]]);
        Ok(Cache { region: self.clone(), secret, size })
    }
}

#[cfg(test)]
mod tests;

//! What the cache promises, and what dead, slow and hostile writers make of it.

use std::sync::atomic::AtomicBool;
use std::thread;

use proptest::prelude::*;

use super::*;

const SIZE: CacheSize = CacheSize { entries: 8, key: 12, value: 100 };
const TTL: Duration = Duration::from_secs(60);
const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_000_000 * SECOND;

fn cache(size: CacheSize) -> Cache {
    let shape = Cache::shape(size);
    let region = Region::create("cache", shape.version, shape.words).expect("a region");
    region.cache(size).expect("a cache")
}

fn words(cache: &Cache) -> Vec<u64> {
    cache.region.words().iter().map(|word| word.load(Relaxed)).collect()
}

#[test]
fn what_is_put_is_got_until_it_expires_or_is_removed() {
    let cache = cache(SIZE);
    assert_eq!(cache.get(b"key", NOW), None);
    for length in [0, 1, 7, 8, 9, 100] {
        let value = vec![7; length];
        assert!(cache.put(b"key", &value, TTL, NOW));
        assert_eq!(cache.get(b"key", NOW + 60 * SECOND - 1), Some(value));
    }
    assert_eq!(cache.get(b"key", NOW + 60 * SECOND), None, "expired");
    assert_eq!(cache.get(b"key\0", NOW), None, "another key");
    cache.remove(b"key", NOW);
    assert_eq!(cache.get(b"key", NOW), None, "removed");
    assert!(cache.put(b"", b"empty", Duration::MAX, NOW), "any key, any time to live");
    assert_eq!(cache.get(b"", u64::MAX - 1).as_deref(), Some(&b"empty"[..]));
}

#[test]
fn what_is_too_long_is_not_kept_and_hides_what_was() {
    let cache = cache(SIZE);
    assert!(cache.put(b"key", b"old", TTL, NOW));
    assert!(!cache.put(b"key", &[0; 101], TTL, NOW));
    assert_eq!(cache.get(b"key", NOW), None);
    assert!(!cache.put(&[0; 13], b"value", TTL, NOW));
    assert_eq!(cache.get(&[0; 13], NOW), None);
    cache.remove(&[0; 13], NOW);
}

#[test]
fn a_full_set_loses_its_oldest_entry() {
    let cache = cache(SIZE);
    for key in 0..9_u8 {
        assert!(cache.put(&[key], &[key], TTL, NOW + u64::from(key) * SECOND));
    }
    let kept: Vec<_> = (0..9_u8).filter_map(|key| cache.get(&[key], NOW + 9 * SECOND)).collect();
    assert_eq!(kept, (1..9_u8).map(|key| vec![key]).collect::<Vec<_>>());
}

#[test]
fn an_entry_whose_writer_died_is_a_miss_and_soon_free_again() {
    let cache = cache(SIZE);
    assert!(cache.put(b"key", b"old", TTL, NOW));
    let set = cache.set(b"key");
    let (way, dead) = claim(&set, NOW + 1000).expect("a claim");
    assert_eq!(cache.get(b"key", NOW + 2000), None);
    assert!(!cache.put(b"key", b"new", TTL, NOW + SECOND / 20), "it may be alive");
    let late = NOW + SECOND / 5;
    assert!(cache.put(b"key", b"new", TTL, late));
    assert_eq!(cache.get(b"key", late).as_deref(), Some(&b"new"[..]));
    let publishing = set.states[way].compare_exchange(dead, dead + 1, AcqRel, Relaxed);
    assert!(publishing.is_err(), "it was not dead, but it is too late");
}

#[test]
fn other_sizes_are_refused() {
    let region = cache(SIZE).region;
    for size in [
        CacheSize { entries: 9, ..SIZE },
        CacheSize { entries: 0, ..SIZE },
        CacheSize { key: 13, ..SIZE },
        // The same number of words.
        CacheSize { key: 20, value: 92, ..SIZE },
        CacheSize { value: usize::MAX, ..SIZE },
    ] {
        assert!(region.cache(size).expect_err("refused").is_config(), "{size:?}");
    }
    assert!(region.cache(SIZE).is_ok());
    assert_eq!(Cache::shape(CacheSize { entries: 0, ..SIZE }).words, 0);
}

/// A value that tells its key and number, and how long it is.
fn value_of(key: u8, number: u64) -> Vec<u8> {
    let length = number % 80;
    let mut value = [u64::from(key), number].map(u64::to_le_bytes).concat();
    value.extend((0..length).map(|index| (number * 31 + index) as u8));
    value
}

fn number_of(key: u8, value: &[u8]) -> u64 {
    let number = u64::from_le_bytes(value[8..16].try_into().expect("a number"));
    assert_eq!(value, value_of(key, number), "key {key}");
    number
}

/// Eleven keys for eight entries; a key has one writer, so its numbers only grow.
#[test]
fn no_reader_sees_a_wrong_or_an_older_value() {
    let cache = cache(SIZE);
    let done = AtomicBool::new(false);
    let write = |keys: std::ops::Range<u8>| {
        for number in 1..8000 {
            for key in keys.clone() {
                cache.put(&[key], &value_of(key, number), TTL, crate::now());
                let seen = cache.get(&[key], crate::now());
                assert!(seen.is_none_or(|seen| number_of(key, &seen) == number), "its own");
            }
        }
    };
    let read = || {
        let (mut last, mut hits) = ([0; 11], 0);
        while !done.load(Relaxed) {
            for key in 0..11_u8 {
                let Some(value) = cache.get(&[key], crate::now()) else { continue };
                let number = number_of(key, &value);
                assert!(number >= last[usize::from(key)], "key {key} went back to {number}");
                last[usize::from(key)] = number;
                hits += 1;
            }
        }
        hits
    };
    thread::scope(|scope| {
        let readers = [(); 2].map(|()| scope.spawn(read));
        let writers = [0..4, 4..8, 8..11].map(|keys| scope.spawn(move || write(keys)));
        let written = writers.map(thread::ScopedJoinHandle::join);
        done.store(true, Relaxed);
        assert!(written.iter().all(|writer| writer.is_ok()), "writers");
        for reader in readers {
            assert!(reader.join().expect("hits") > 0);
        }
    });
}

proptest! {
    /// Worse than any death: every word of an entry is the old or the new one, as it happens.
    #[test]
    fn a_torn_entry_is_a_miss(mask in any::<u32>(), old in 0..80_u64, new in 80..160_u64) {
        let cache = cache(SIZE);
        prop_assert!(cache.put(b"\x01", &value_of(1, old), TTL, NOW));
        let before = words(&cache);
        prop_assert!(cache.put(b"\x01", &value_of(1, new), TTL, NOW + SECOND));
        let changed: Vec<_> = cache.region.words().iter().zip(before).filter(|(word, before)| {
            word.load(Relaxed) != *before
        }).collect();
        for (bit, (word, before)) in changed.into_iter().enumerate() {
            if mask >> bit & 1 == 1 {
                word.store(before, Relaxed);
            }
        }
        if let Some(value) = cache.get(b"\x01", NOW + SECOND) {
            let number = number_of(1, &value);
            prop_assert!(number == old || number == new);
        }
    }

    #[test]
    fn any_words_can_be_read_and_written_over(
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 1..200),
        now in any::<u64>(),
    ) {
        let cache = cache(SIZE);
        for key in 0..8_u8 {
            cache.put(&[key], &value_of(key, 5), TTL, now);
        }
        for (place, word) in noise {
            let words = cache.region.words();
            words[place.index(words.len())].store(word, Relaxed);
        }
        for key in 0..8_u8 {
            let value = cache.get(&[key], now);
            prop_assert!(value.is_none_or(|value| number_of(key, &value) == 5));
            cache.put(&[key], b"new", TTL, now);
            cache.remove(&[key], now);
        }
    }

    /// Hostile states heal: whatever time they tell, a put succeeds a little later.
    #[test]
    fn no_state_holds_an_entry_for_long(states in any::<[u64; WAYS]>()) {
        let cache = cache(SIZE);
        for (place, state) in cache.region.words()[SECRET_LINE..].iter().zip(states) {
            place.store(state, Relaxed);
        }
        let later = NOW + 7200 * SECOND;
        prop_assert!(cache.put(b"key", b"value", TTL, later));
        prop_assert_eq!(cache.get(b"key", later), Some(b"value".to_vec()));
    }
}

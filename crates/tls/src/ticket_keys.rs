//! The keys of session tickets, in a region that all workers share.
//!
//! A ticket is a session that its client keeps for us, encrypted (RFC 8446, 4.6.1; RFC 5077). Any worker can
//! take it back if it has the key: so the keys lie in shared memory, where they outlive workers and reloads,
//! and never on disk. The supervisor alone writes: the first before any worker is there, a new one every half of a
//! ticket's life. The one before, and the one before that, are still accepted, so every ticket lives at least
//! as long as was promised; what is older is written over, so that nobody can decrypt old connections later.
//!
//! There is no lock. Each key has a line with a serial number in front, which is 0 while the rest is
//! written. Readers look at it before and after; what does not fit is no key, and its tickets are
//! refused, which costs a client a whole handshake.

use std::sync::atomic::{AtomicU64, Ordering::*, fence};
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use tine::Region;

/// How the region is found.
pub(crate) const NAME: &str = "tine-tls tickets";
pub(crate) const VERSION: u32 = 1;
/// Bytes of a key, and of the name by which a ticket says which one it needs.
pub(crate) const KEY_BYTES: usize = 32;
pub(crate) const NAME_BYTES: usize = 16;
/// Words of a line: the serial number, when the key was made (monotonic nanoseconds), its name, itself.
const LINE: usize = 2 + (NAME_BYTES + KEY_BYTES) / 8;
/// The current key, those accepted, and the one to be written.
const LINES: u64 = ACCEPTED + 2;
/// Keys before the current one that are accepted.
const ACCEPTED: u64 = 2;
/// The first line has the current key's serial number alone.
pub(crate) const WORDS: usize = LINE * (LINES as usize + 1);
/// When the next try is due, should there be no random bytes.
const AGAIN: Duration = Duration::from_secs(1);

/// A key as it was read.
#[derive(Clone)]
pub(crate) struct TicketKey {
    pub(crate) name: [u8; NAME_BYTES],
    pub(crate) key: [u8; KEY_BYTES],
    born: u64,
}

/// Makes a new key if the current one is `period` old; says how long it is good from now on. For the
/// supervisor.
pub(crate) fn rotate(region: &Region, period: Duration, now: u64) -> Duration {
    // Where it cannot be done, keys are where everything else of the process is.
    let _ = region.keep_out_of_cores();
    let words = region.words();
    let current = words[0].load(Acquire);
    if let Some(key) = read(words, current)
        && let Some(age) = now.checked_sub(key.born).map(Duration::from_nanos)
        && age < period
    {
        return period - age;
    }
    let mut random = [0; NAME_BYTES + KEY_BYTES];
    if SystemRandom::new().fill(&mut random).is_err() {
        return AGAIN;
    }
    write(words, current.wrapping_add(1).max(1), now, &random);
    period
}

fn line(words: &[AtomicU64], serial: u64) -> &[AtomicU64] {
    let index = (serial % LINES) as usize + 1;
    &words[index * LINE..][..LINE]
}

fn write(words: &[AtomicU64], serial: u64, now: u64, random: &[u8]) {
    let line = line(words, serial);
    line[0].store(0, Relaxed);
    fence(Release);
    line[1].store(now, Relaxed);
    for (word, bytes) in line[2..].iter().zip(random.as_chunks().0) {
        word.store(u64::from_le_bytes(*bytes), Relaxed);
    }
    line[0].store(serial, Release);
    words[0].store(serial, Release);
}

fn read(words: &[AtomicU64], serial: u64) -> Option<TicketKey> {
    let line = line(words, serial);
    if serial == 0 || line[0].load(Acquire) != serial {
        return None;
    }
    let born = line[1].load(Relaxed);
    let mut bytes = [0; NAME_BYTES + KEY_BYTES];
    for (word, bytes) in line[2..].iter().zip(bytes.as_chunks_mut().0) {
        *bytes = word.load(Relaxed).to_le_bytes();
    }
    fence(Acquire);
    if line[0].load(Relaxed) != serial {
        return None;
    }
    let (name, key) = bytes.split_at(NAME_BYTES);
    Some(TicketKey { born, name: name.try_into().ok()?, key: key.try_into().ok()? })
}

/// The serial number of the current key.
pub(crate) fn current(region: &Region) -> u64 {
    region.words().first().map_or(0, |word| word.load(Acquire))
}

/// The current key, and those before it that are accepted: none that is older than three periods, should the
/// supervisor be no more.
pub(crate) fn all(region: &Region, period: Duration, now: u64) -> Vec<TicketKey> {
    if region.words().len() != WORDS {
        return Vec::new();
    }
    let current = current(region);
    let keys = (0..=ACCEPTED).filter_map(|back| read(region.words(), current.checked_sub(back)?));
    let keys = keys.filter(|key| key.is_good(period, now));
    keys.collect()
}

impl TicketKey {
    pub(crate) fn is_good(&self, period: Duration, now: u64) -> bool {
        // One of the future is nonsense, or a moment's difference between two processes.
        now.saturating_sub(self.born) / (ACCEPTED + 1) <= period.as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const NOW: u64 = 1_000_000_000_000_000;

    fn region() -> Region {
        Region::create(NAME, VERSION, WORDS).expect("a region")
    }

    fn nanos(duration: Duration) -> u64 {
        u64::try_from(duration.as_nanos()).expect("not so long")
    }

    /// The serial numbers of the keys there are, by when they were made.
    fn serials(region: &Region, now: u64) -> Vec<u64> {
        let of_line = |key: &TicketKey| {
            let lines = region.words().chunks(LINE).skip(1);
            let line = lines.into_iter().find(|line| line[1].load(Relaxed) == key.born);
            line.expect("it was read from there")[0].load(Relaxed)
        };
        all(region, HOUR, now).iter().map(of_line).collect()
    }

    #[test]
    fn a_key_is_made_at_once_and_the_next_when_it_is_a_period_old() {
        let region = region();
        assert!(serials(&region, NOW).is_empty());
        assert_eq!(rotate(&region, HOUR, NOW), HOUR);
        assert_eq!(rotate(&region, HOUR, NOW + 1), HOUR - Duration::from_nanos(1), "as it is");
        assert_eq!(serials(&region, NOW), [1]);
        for number in 2..20 {
            let now = NOW + (number - 1) * nanos(HOUR);
            assert_eq!(rotate(&region, HOUR, now), HOUR);
            let back = 0..number.min(3);
            assert_eq!(serials(&region, now), back.map(|back| number - back).collect::<Vec<_>>());
        }
        let keys = all(&region, HOUR, NOW + 19 * nanos(HOUR));
        assert!(keys[0].key != keys[1].key && keys[0].name != keys[1].name);
        assert!(keys.iter().all(|key| key.key != [0; KEY_BYTES]));
    }

    #[test]
    fn keys_that_nobody_replaces_end_all_the_same() {
        let region = region();
        rotate(&region, HOUR, NOW);
        assert_eq!(serials(&region, NOW + 3 * nanos(HOUR)), [1]);
        assert!(serials(&region, NOW + 4 * nanos(HOUR)).is_empty());
    }

    #[test]
    fn nonsense_is_no_key_and_is_written_over() {
        let region = region();
        for nonsense in [u64::MAX, 0, 7] {
            region.words().iter().for_each(|word| word.store(nonsense, Relaxed));
            let _ = all(&region, HOUR, NOW);
            assert_eq!(rotate(&region, HOUR, NOW), HOUR, "{nonsense}");
            let current = current(&region);
            assert_eq!(serials(&region, NOW)[0], current);
        }
        line(region.words(), current(&region))[0].store(0, Relaxed);
        assert!(serials(&region, NOW).is_empty(), "one that is just being written");
        let other = Region::create("other", 1, 2).expect("a region");
        assert!(serials(&other, NOW).is_empty());
    }
}

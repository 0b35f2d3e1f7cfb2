//! Counters that all workers count up, exact and cheap.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Region;
use super::shape::Shape;
use crate::{Error, Result};

/// How many copies of every counter there are. All processes adding to one word would pass its cache line
/// around: a process adds to the copy its pid falls on, and a reader sums.
const STRIPES: usize = 16;
/// Words of a cache line; a stripe is whole lines.
const LINE: usize = 8;

/// A set of named counters in a shared region: requests, errors, bytes.
///
/// - **Where**: the region is declared before the fork, see [`Counters::shape`]; each worker opens it, see
///   [`Region::counters`]. Anybody reads.
/// - **Costs**: adding is one atomic addition on a cache line that few others use, and no system call; a
///   process that opened it before the fork hands its stripe on to its workers, which is as exact and
///   slower. Reading sums 16 words. A counter takes 128 bytes.
/// - **Death**: what was added stays added, at whatever instruction the worker dies; nothing is ever half
///   added. The region outlives the workers, so recycling loses nothing.
/// - **Exact**: every addition is in the sum once. For one reader a value never falls.
#[derive(Clone, Debug)]
pub struct Counters {
    region: Region,
    names: Arc<[String]>,
    /// Where this process's stripe begins, in words.
    own: usize,
}

impl Counters {
    /// What to declare a region of these counters with. The names' order counts.
    #[must_use]
    pub fn shape<S: AsRef<str>>(names: &[S]) -> Shape {
        let words = stripe_words(names.len()).saturating_mul(STRIPES);
        Shape::new("counters/1", names.iter().map(|name| name.as_ref().as_bytes()), words)
    }

    /// A counter, to keep where it is counted up.
    ///
    /// # Errors
    /// A configuration error if there is none of this name.
    pub fn counter(&self, name: &str) -> Result<Counter> {
        let index = position(&self.names, name)
            .ok_or_else(|| unknown(&self.region, "counter", name, &self.names))?;
        Ok(Counter { region: self.region.clone(), index, own: self.own })
    }

    /// All names and values, in the order they were declared.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        let named = self.names.iter().enumerate();
        named.map(|(index, name)| (name.as_str(), sum(self.region.words(), index)))
    }
}

/// One of [`Counters`].
#[derive(Clone, Debug)]
pub struct Counter {
    region: Region,
    index: usize,
    own: usize,
}

impl Counter {
    /// Counts `n` more. Wraps around at 2^64.
    pub fn add(&self, n: u64) {
        self.region.words()[self.own + self.index].fetch_add(n, Relaxed);
    }

    /// The sum over all processes.
    #[must_use]
    pub fn get(&self) -> u64 {
        sum(self.region.words(), self.index)
    }
}

impl Region {
    /// The counters in this region, which must have been declared with `Counters::shape` of the same
    /// names. In the worker, after the fork: processes that open it for themselves do not slow each other
    /// down.
    ///
    /// # Errors
    /// A configuration error if it was declared with anything else, or a name is empty or there twice.
    pub fn counters<S: AsRef<str>>(&self, names: &[S]) -> Result<Counters> {
        let names = checked(self, names)?;
        Counters::shape(&names).check(self, "counters")?;
        let own = std::process::id() as usize % STRIPES * stripe_words(names.len());
        Ok(Counters { region: self.clone(), names, own })
    }
}

fn stripe_words(names: usize) -> usize {
    names.div_ceil(LINE).saturating_mul(LINE)
}

/// Adds up a counter's copies.
fn sum(words: &[AtomicU64], index: usize) -> u64 {
    let copies = words[index..].iter().step_by(words.len() / STRIPES);
    copies.fold(0, |sum: u64, word| sum.wrapping_add(word.load(Relaxed)))
}

/// The names as the view keeps them.
pub(super) fn checked<S: AsRef<str>>(region: &Region, names: &[S]) -> Result<Arc<[String]>> {
    let names: Arc<[String]> = names.iter().map(|name| name.as_ref().to_owned()).collect();
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() || names[..index].contains(name) {
            let region = region.name();
            return Err(Error::config(format!(
                "shared region {region:?}: the name {name:?} is empty or there twice"
            )));
        }
    }
    Ok(names)
}

pub(super) fn position(names: &[String], name: &str) -> Option<usize> {
    names.iter().position(|known| known == name)
}

pub(super) fn unknown(region: &Region, what: &str, name: &str, names: &[String]) -> Error {
    let (region, known) = (region.name(), names.join(", "));
    Error::config(format!("shared region {region:?} has no {what} {name:?}, only {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];

    fn region() -> Region {
        let shape = Counters::shape(&NAMES);
        Region::create("counters", shape.version, shape.words).expect("a region")
    }

    #[test]
    fn every_addition_of_every_thread_and_stripe_is_in_the_sum_once() {
        let region = region();
        std::thread::scope(|scope| {
            for stripe in 0..STRIPES {
                let mut counters = region.counters(&NAMES).expect("counters");
                counters.own = stripe * stripe_words(NAMES.len());
                scope.spawn(move || {
                    let (first, last) = (counters.counter("a"), counters.counter("i"));
                    let (first, last) = (first.expect("a"), last.expect("i"));
                    for _ in 0..1000 {
                        first.add(1);
                        last.add(3);
                    }
                });
            }
        });
        let counters = region.counters(&NAMES).expect("counters");
        let values: Vec<_> = counters.iter().collect();
        let total = 1000 * STRIPES as u64;
        assert_eq!((values[0], values[1], values[8]), (("a", total), ("b", 0), ("i", 3 * total)));
        assert_eq!(counters.counter("i").expect("i").get(), 3 * total);
    }

    #[test]
    fn other_names_are_refused() {
        let region = region();
        let mut others = NAMES;
        others.swap(0, 1);
        for names in [&others[..], &NAMES[..8], &["a", "a"], &[""], &[]] {
            assert!(region.counters(names).expect_err("refused").is_config(), "{names:?}");
        }
        let raw = Region::create("counters", 1, region.words().len()).expect("a region");
        let error = raw.counters(&NAMES).expect_err("another version");
        assert!(error.to_string().contains("version 1 "), "{error}");
        let unknown = region.counters(&NAMES).expect("counters").counter("x").expect_err("none");
        assert!(unknown.to_string().contains("only a, b"), "{unknown}");
    }

    #[test]
    fn names_cannot_be_confused_by_their_ends() {
        assert_ne!(Counters::shape(&["ab", "c"]).version, Counters::shape(&["a", "bc"]).version);
        let none: [&str; 0] = [];
        assert_eq!(Counters::shape(&none).words, 0);
    }

    #[test]
    fn any_words_can_be_summed() {
        let region = region();
        region.words().iter().for_each(|word| word.store(u64::MAX, Relaxed));
        let counters = region.counters(&NAMES).expect("counters");
        assert!(counters.iter().all(|(_, value)| value == 0_u64.wrapping_sub(16)));
        counters.counter("a").expect("a").add(u64::MAX);
    }
}

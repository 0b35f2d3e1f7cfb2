//! Gauges: numbers that go up and down, one for all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Region;
use super::counter::{checked, position, unknown};
use super::shape::Shape;
use crate::Result;

/// A set of named signed numbers in a shared region: jobs in a queue, a feature's level.
///
/// - **Where**: the region is declared before the fork, see [`Gauges::shape`]; each worker opens it, see
///   [`Region::gauges`].
/// - **Costs**: one word each, not striped as [`Counters`](super::counter::Counters) are: a number that can
///   be set has to be in one place. Adding is one atomic addition; many processes at once pass its cache
///   line around.
/// - **Death**: what a dead worker added, and would have taken away again, stays. A number that must be
///   right after a crash is set by whoever knows it, not added up; connections and requests in progress are
///   in the scoreboard already, which is cleared for the dead.
#[derive(Clone, Debug)]
pub struct Gauges {
    region: Region,
    names: Arc<[String]>,
}

impl Gauges {
    /// What to declare a region of these gauges with. The names' order counts.
    #[must_use]
    pub fn shape<S: AsRef<str>>(names: &[S]) -> Shape {
        Shape::new("gauges/1", names.iter().map(|name| name.as_ref().as_bytes()), names.len())
    }

    /// A gauge, to keep where it is used.
    ///
    /// # Errors
    /// A configuration error if there is none of this name.
    pub fn gauge(&self, name: &str) -> Result<Gauge> {
        let index = position(&self.names, name)
            .ok_or_else(|| unknown(&self.region, "gauge", name, &self.names))?;
        Ok(Gauge { region: self.region.clone(), index })
    }

    /// All names and values, in the order they were declared.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        let values = self.region.words().iter().map(|word| word.load(Relaxed).cast_signed());
        self.names.iter().map(String::as_str).zip(values)
    }
}

/// One of [`Gauges`].
#[derive(Clone, Debug)]
pub struct Gauge {
    region: Region,
    index: usize,
}

impl Gauge {
    fn word(&self) -> &AtomicU64 {
        &self.region.words()[self.index]
    }

    /// Adds, or takes away, and returns what it is then. Wraps around.
    pub fn add(&self, n: i64) -> i64 {
        self.word().fetch_add(n.cast_unsigned(), Relaxed).cast_signed().wrapping_add(n)
    }

    /// Sets it, whatever it was.
    pub fn set(&self, value: i64) {
        self.word().store(value.cast_unsigned(), Relaxed);
    }

    /// What it is now.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.word().load(Relaxed).cast_signed()
    }
}

impl Region {
    /// The gauges in this region, which must have been declared with `Gauges::shape` of the same names.
    ///
    /// # Errors
    /// A configuration error if it was declared with anything else, or a name is empty or there twice.
    pub fn gauges<S: AsRef<str>>(&self, names: &[S]) -> Result<Gauges> {
        let names = checked(self, names)?;
        Gauges::shape(&names).check(self, "gauges")?;
        Ok(Gauges { region: self.clone(), names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::counter::Counters;

    #[test]
    fn gauges_go_up_and_down_and_are_set() {
        let shape = Gauges::shape(&["jobs", "level"]);
        let region = Region::create("gauges", shape.version, shape.words).expect("a region");
        let gauges = region.gauges(&["jobs", "level"]).expect("gauges");
        let (jobs, level) = (gauges.gauge("jobs").expect("jobs"), gauges.gauge("level"));
        assert_eq!((jobs.add(2), jobs.add(-5), jobs.get()), (2, -3, -3));
        level.expect("level").set(i64::MIN);
        assert_eq!(gauges.iter().collect::<Vec<_>>(), [("jobs", -3), ("level", i64::MIN)]);
        assert_eq!(jobs.add(i64::MIN), i64::MAX - 2, "it wraps");
    }

    #[test]
    fn counters_are_no_gauges() {
        let shape = Counters::shape(&["jobs"]);
        let region = Region::create("counters", shape.version, shape.words).expect("a region");
        assert!(region.gauges(&["jobs"]).expect_err("refused").is_config());
    }
}

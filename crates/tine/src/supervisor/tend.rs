//! The supervisor's chores: regions whose content it keeps up to date, each when it is due.
//!
//! One writer a region: whatever only the supervisor may decide (which key is the current one) is written
//! here, and read in the workers. Nobody ticks: each chore says when it wants to be done again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tine_os::clock::monotonic;

use super::run::Supervisor;
use crate::log::{Log, error};
use crate::shared::Region;
use crate::shared::wanted::{Tend, Wanted};

/// The shortest time from one to the next: nothing done here may become a tick.
const SHORTEST: Duration = Duration::from_millis(100);
/// When one that panicked is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// A region that is tended.
pub(crate) struct Tended {
    region: Region,
    tend: Tend,
    /// Monotonic nanoseconds.
    due: u64,
}

impl std::fmt::Debug for Tended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tended").field("region", &self.region.name()).finish_non_exhaustive()
    }
}

impl Tended {
    /// Those of the regions, which are in the order they were asked for, that want it; each is tended now,
    /// before the first worker sees it.
    pub(crate) fn all(wanted: &[Wanted], regions: &[Region], log: &Log) -> Vec<Self> {
        let pairs = wanted.iter().zip(regions);
        let tended = pairs.filter_map(|(wanted, region)| {
            let tend = wanted.tend.clone()?;
            let mut tended = Self { region: region.clone(), tend, due: 0 };
            tended.tend(log);
            Some(tended)
        });
        tended.collect()
    }

    fn tend(&mut self, log: &Log) {
        let next = catch_unwind(AssertUnwindSafe(|| (self.tend)(&self.region)));
        let next = next.unwrap_or_else(|_| {
            let name = self.region.name();
            error!(log, "what keeps the region {name} up to date panicked; it is tried again");
            AGAIN
        });
        let next = u64::try_from(next.max(SHORTEST).as_nanos()).unwrap_or(u64::MAX);
        self.due = monotonic().saturating_add(next);
    }
}

impl Supervisor {
    /// Does what is due.
    pub(super) fn tend(&mut self) {
        let now = monotonic();
        for tended in self.tended.iter_mut().filter(|tended| tended.due <= now) {
            tended.tend(&self.log);
        }
    }

    /// When something will be.
    pub(super) fn tend_deadline(&self) -> Option<u64> {
        self.tended.iter().map(|tended| tended.due).min()
    }
}

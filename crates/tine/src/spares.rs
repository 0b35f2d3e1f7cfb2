//! A pool's line in the scoreboard: how many workers may still become busy before the supervisor is told.

use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};

use crate::shared::Region;

/// A pool's line: tells the supervisor of a shortage with one write for many connections.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) region: Region,
    pub(crate) base: usize,
}

impl Line {
    fn spare(&self) -> &AtomicU64 {
        &self.region.words()[self.base]
    }

    fn armed(&self) -> &AtomicU64 {
        &self.region.words()[self.base + 1]
    }

    /// A worker became busy; true if it must wake the supervisor. In the worker.
    pub(crate) fn became_busy(&self) -> bool {
        let before = self.spare().fetch_sub(1, AcqRel).cast_signed();
        before <= 0 && self.armed().swap(0, AcqRel) == 1
    }

    /// A worker became idle. In the worker.
    pub(crate) fn became_idle(&self) {
        self.spare().fetch_add(1, AcqRel);
    }

    /// Sets how many may still become busy, and asks to be told; `recount` counts the idle ones. In the
    /// supervisor.
    ///
    /// A worker stamps its record first and the line second. So a change between our look at the line
    /// and our write to it makes the write fail, and we count again; after four tries the last count
    /// stands, at worst too low: a wake-up for nothing.
    pub(crate) fn rearm(&self, mut recount: impl FnMut() -> i64) {
        for _ in 0..4 {
            let before = self.spare().load(Acquire);
            let spare = recount();
            let set = self.spare().compare_exchange(before, spare.cast_unsigned(), AcqRel, Acquire);
            if set.is_ok() {
                break;
            }
        }
        self.armed().store(1, Release);
    }
}

#[cfg(test)]
mod tests {
    use crate::scoreboard::Scoreboard;

    #[test]
    fn the_supervisor_is_told_once_when_the_spares_are_used_up() {
        let line = Scoreboard::create(1, 1).expect("a board").line(0);
        line.rearm(|| 2);
        assert_eq!(
            [line.became_busy(), line.became_busy(), line.became_busy()],
            [false, false, true]
        );
        assert!(!line.became_busy(), "it has been told");
        line.became_idle();
        line.rearm(|| 0);
        assert!(line.became_busy());
    }
}

//! A pool's bell: rung by the first worker that begins to work while the supervisor sleeps, so that
//! somebody looks after it, and by no other.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::shared::Region;

/// Where it stands in a pool's line, in words: in a cache line of its own, which is written about once a second.
const WORD: usize = 8;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Bell {
    pub(super) region: Region,
    pub(super) line: usize,
}

impl Bell {
    fn hung(&self) -> &AtomicU64 {
        &self.region.words()[self.line + WORD]
    }

    /// Asks to be told of the next worker that begins. Look at the records after this, not before: a worker
    /// writes its record first and asks for the bell second, so it is seen by the one or rings the other.
    /// In the supervisor.
    pub(crate) fn hang(&self) {
        self.hung().store(1, SeqCst);
    }

    /// It need not be rung: somebody is looked after already. In the supervisor.
    pub(crate) fn take_down(&self) {
        self.hung().store(0, SeqCst);
    }

    /// Whether nobody has rung it since it was hung. In the supervisor.
    pub(crate) fn is_silent(&self) -> bool {
        self.hung().load(SeqCst) == 1
    }

    /// Whether the supervisor is to be woken now; true for one of all workers. In the worker.
    pub(crate) fn ring(&self) -> bool {
        self.hung().load(SeqCst) == 1 && self.hung().swap(0, SeqCst) == 1
    }
}

#[cfg(test)]
mod tests {
    use crate::scoreboard::Scoreboard;

    #[test]
    fn it_is_rung_by_one_worker_and_only_while_it_hangs() {
        let board = Scoreboard::create(2, 1).expect("a board");
        let bell = board.bell(1);
        assert!(!bell.ring() && !bell.is_silent());
        bell.hang();
        assert!(bell.is_silent() && !board.bell(0).is_silent());
        assert_eq!([bell.ring(), bell.ring()], [true, false]);
        assert!(!bell.is_silent(), "it was rung");
        bell.hang();
        bell.take_down();
        assert!(!bell.ring());
    }
}

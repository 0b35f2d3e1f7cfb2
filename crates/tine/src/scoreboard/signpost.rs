//! What the supervisor posts for all workers of a pool, in the pool's line: that the service is about to stop, and of which
//! generation a trial is made.
//!
//! Read without asking anybody, also by a worker that is busy. A worker could write here, too: the worst it brings
//! about is a wrong answer to a health check, or a trial with another share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::shared::Region;

/// Words of the line, after those of [`crate::spares`].
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
enum Word {
    /// 1: it takes connections still, and would rather have none.
    LameDuck = 2,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Signpost {
    pub(super) region: Region,
    pub(super) line: usize,
}

impl Signpost {
    fn word(&self, word: Word) -> &AtomicU64 {
        &self.region.words()[self.line + word as usize]
    }

    /// The service is about to stop. In the supervisor.
    pub(crate) fn post_lame_duck(&self) {
        self.word(Word::LameDuck).store(1, Relaxed);
    }

    /// Whether it is. In the worker.
    pub(crate) fn says_lame_duck(&self) -> bool {
        self.word(Word::LameDuck).load(Relaxed) != 0
    }
}

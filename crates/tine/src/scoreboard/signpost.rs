//! What the supervisor posts for all workers of a pool, in the pool's line: that the service is about to stop, and of which
//! generation a trial is made.
//!
//! Read without asking anybody, also by a worker that is busy. A worker could write here, too: the worst it brings
//! about is a wrong answer to a health check, or a trial with another share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use crate::shared::Region;

/// Words of the line, after those of [`crate::spares`].
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
enum Word {
    /// 1: it takes connections still, and would rather have none.
    LameDuck = 2,
    /// The generation that is on trial; 0 = none is.
    Trial = 3,
    /// Its share of the connections, in thousandths.
    Share = 4,
    /// Connections it has taken since then.
    Its = 5,
    /// Connections all have taken since then.
    All = 6,
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

    /// Nothing is posted. In the supervisor, when it takes the scoreboard over.
    pub(crate) fn clear(&self) {
        self.word(Word::LameDuck).store(0, Relaxed);
        self.post_trial(None);
    }

    /// The service is about to stop. In the supervisor.
    pub(crate) fn post_lame_duck(&self) {
        self.word(Word::LameDuck).store(1, Relaxed);
    }

    /// This generation is on trial, with this share of the connections; or none is. In the supervisor.
    pub(crate) fn post_trial(&self, trial: Option<(u32, u32)>) {
        let (generation, share) = trial.unwrap_or((0, 0));
        // Not before what belongs to it.
        self.word(Word::Trial).store(0, SeqCst);
        self.word(Word::Share).store(u64::from(share), SeqCst);
        self.word(Word::Its).store(0, SeqCst);
        self.word(Word::All).store(0, SeqCst);
        self.word(Word::Trial).store(u64::from(generation), SeqCst);
    }

    /// The generation on trial and its share, if one is. In the worker.
    pub(crate) fn trial(&self) -> Option<(u64, u64)> {
        match self.word(Word::Trial).load(Relaxed) {
            0 => None,
            generation => Some((generation, self.word(Word::Share).load(Relaxed))),
        }
    }

    /// Whether the next connection is for the generation on trial. In the worker.
    pub(crate) fn is_trials_turn(&self, share: u64) -> bool {
        let (its, all) = (self.word(Word::Its), self.word(Word::All));
        let wanted = all.load(Relaxed).wrapping_add(1).wrapping_mul(share);
        its.load(Relaxed).wrapping_mul(1000) < wanted
    }

    /// Counts a connection, of the generation on trial or of another. In the worker.
    pub(crate) fn count(&self, its: bool) {
        if its {
            self.word(Word::Its).fetch_add(1, Relaxed);
        }
        self.word(Word::All).fetch_add(1, Relaxed);
    }

    /// Whether it is. In the worker.
    pub(crate) fn says_lame_duck(&self) -> bool {
        self.word(Word::LameDuck).load(Relaxed) != 0
    }
}

#[cfg(test)]
mod tests {
    use crate::scoreboard::Scoreboard;

    #[test]
    fn the_turns_keep_the_share_from_the_first_connection_on() {
        let post = Scoreboard::create(2, 1).expect("a board").signpost(1);
        assert_eq!(post.trial(), None);
        post.post_trial(Some((7, 250)));
        let turns: Vec<bool> = (0..8)
            .map(|_| {
                let (_, share) = post.trial().expect("one is on trial");
                let its = post.is_trials_turn(share);
                post.count(its);
                its
            })
            .collect();
        assert_eq!(turns.iter().filter(|its| **its).count(), 2, "{turns:?}");
        // Who could not come in time catches up.
        (0..4).for_each(|_| post.count(false));
        assert!(post.is_trials_turn(250));
        post.post_trial(None);
        assert_eq!(post.trial(), None);
    }
}

//! Giving a generation that is on trial its share of the connections.
//!
//! Connections are counted, those of the generation on trial and all, in the pool's
//! [signpost](crate::scoreboard::Signpost). Whose turn it is follows from that; the others step aside for a moment, as in
//! [`super::courtesy`]. What is still there after it they take, so nobody waits for a generation that is busy, slow, or stuck:
//! then its share is smaller, and the counts let it catch up. Workers on trial are woken by every connection, so that
//! nobody has to tell them when it is their turn.

use std::time::{Duration, Instant};

use crate::scoreboard::Signpost;
use crate::seat::Seat;

/// How long workers step aside for the generation on trial, and those on trial for the others, who are more.
const ASIDE: Duration = Duration::from_millis(1);
const TRIAL_ASIDE: Duration = Duration::from_millis(4);
/// After so many times in a row in which nobody came instead, the others go on for so long.
const TIMES: u32 = 8;
const INSISTS: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Steer {
    signpost: Signpost,
    generation: u64,
    in_vain: u32,
    insists: Option<Instant>,
}

impl Steer {
    pub(super) fn new(seat: &Seat) -> Self {
        let (signpost, generation) = (seat.signpost(), seat.generation());
        Self { signpost, generation, in_vain: 0, insists: None }
    }

    /// Whether this worker is of the generation that is on trial.
    pub(super) fn is_on_trial(&self) -> bool {
        self.signpost.trial().is_some_and(|(generation, _)| generation == self.generation)
    }

    /// Until when to step aside, if it is not our turn; asked when there may be a connection.
    pub(super) fn asks_until(&self) -> Option<Instant> {
        let (generation, share) = self.signpost.trial()?;
        let on_trial = generation == self.generation;
        if on_trial == self.signpost.is_trials_turn(share) {
            return None;
        }
        let (now, aside) = (Instant::now(), if on_trial { TRIAL_ASIDE } else { ASIDE });
        self.insists.is_none_or(|until| until <= now).then(|| now + aside)
    }

    /// It has stepped aside, and says whether a connection was still there after it.
    pub(super) fn has_waited(&mut self, in_vain: bool) {
        self.in_vain = if in_vain { self.in_vain + 1 } else { 0 };
        if self.in_vain >= TIMES {
            self.in_vain = 0;
            self.insists = Some(Instant::now() + INSISTS);
        }
    }

    /// We have taken a connection.
    pub(super) fn taken(&self) {
        if let Some((generation, _)) = self.signpost.trial() {
            self.signpost.count(generation == self.generation);
        }
    }
}

//! Leaving a connection to a sibling that has fewer.
//!
//! Workers that serve many connections at once are all awake when one comes, and whoever is quickest takes
//! it: so the quick grow quicker than the others. One that has clearly more open than its least loaded
//! sibling therefore steps aside for a moment, and takes what is still there after it: so nobody waits
//! for a sibling that is stuck, and nobody is asked to step aside for it again soon.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::seat::Seat;

/// Connections a worker may have more than the least loaded: this many, and one in so many of them.
const MORE: u64 = 4;
const ONE_IN: u64 = 32;
/// How long it steps aside; the runtime's clock knows whole milliseconds.
const ASIDE: Duration = Duration::from_millis(1);
/// After so many times in a row at which a connection still waited, and the sibling had not stirred, it
/// takes that sibling for stuck and does not step aside for so long.
const TIMES: u32 = 64;
const INSISTS: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Courtesy {
    seat: Arc<Seat>,
    /// For whom it stepped aside last: how many connections that one had.
    least: Option<u64>,
    in_vain: u32,
    insists: Option<Instant>,
}

impl Courtesy {
    pub(super) fn new(seat: &Arc<Seat>) -> Self {
        Self { seat: seat.clone(), least: None, in_vain: 0, insists: None }
    }

    /// Until when to step aside, if it should; asked when there may be a connection.
    pub(super) fn asks_until(&mut self) -> Option<Instant> {
        let least = self.seat.least_open()?;
        if self.seat.open() <= least.saturating_add(MORE).saturating_add(least / ONE_IN) {
            return None;
        }
        let now = Instant::now();
        if self.insists.is_some_and(|until| now < until) {
            return None;
        }
        if self.least != Some(least) {
            self.in_vain = 0;
        }
        self.least = Some(least);
        Some(now + ASIDE)
    }

    /// It has stepped aside, and says whether a connection was still there after it.
    pub(super) fn has_waited(&mut self, in_vain: bool) {
        self.in_vain = if in_vain { self.in_vain + 1 } else { 0 };
        if self.in_vain >= TIMES {
            // Unless the sibling stirs, once is enough the next time.
            self.in_vain = TIMES - 1;
            self.insists = Some(Instant::now() + INSISTS);
        }
    }
}

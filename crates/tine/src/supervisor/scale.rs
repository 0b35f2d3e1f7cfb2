//! How many workers should there be? Pure: numbers in, numbers out.
//!
//! Growing jumps to what is needed at once, the listener's queue included, where Apache doubles once a
//! second (rows A2, A4) and Net::Server ignores the queue. Shrinking is slow on purpose (row N21).

use serde::{Deserialize, Serialize};

/// The bounds of a pool, in workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizing {
    /// Never fewer places than this.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// Grow when fewer than this many workers are idle.
    pub min_spare: u32,
    /// Shrink when more than this many are.
    pub max_spare: u32,
}

impl Sizing {
    /// A pool that does not breathe.
    #[must_use]
    pub const fn fixed(workers: u32) -> Self {
        Self { min: workers, max: workers, min_spare: 0, max_spare: workers }
    }

    /// With all bounds raised, where they are lower, so that there are never fewer workers than this
    /// (row A14).
    #[must_use]
    pub fn at_least(self, workers: u32) -> Self {
        if workers <= self.min {
            return self;
        }
        let (max, max_spare) = (self.max.max(workers), self.max_spare.max(workers));
        Self { min: workers, max, max_spare, ..self }
    }

    /// Whether load can change its size.
    #[must_use]
    pub const fn is_fixed(&self) -> bool {
        self.min == self.max
    }

    /// Whether it may have no worker at all.
    #[must_use]
    pub const fn is_on_demand(&self) -> bool {
        self.start() == 0
    }

    /// Places a pool has when nothing is known about its load.
    #[must_use]
    pub const fn start(&self) -> u32 {
        let floor = if self.min_spare > self.min { self.min_spare } else { self.min };
        if floor > self.max { self.max } else { floor }
    }
}

/// What there is now, in workers and connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    /// Places wanted so far.
    pub wanted: u32,
    /// Workers that could take a connection.
    pub idle: u32,
    /// Workers on their way to becoming idle.
    pub booting: u32,
    /// Connections that wait.
    pub queued: u32,
}

/// How many places to add now.
///
/// The queue counts only once the spares are used up, or nobody is free at all: with spares idle it is a
/// moment's picture of connections about to be taken.
#[must_use]
pub fn grow(sizing: &Sizing, view: View) -> u32 {
    let room = sizing.max.saturating_sub(view.wanted);
    let floor = sizing.min.saturating_sub(view.wanted);
    let coming = view.idle.saturating_add(view.booting);
    let need = if coming >= sizing.min_spare.max(1) {
        0
    } else {
        sizing.min_spare.saturating_add(view.queued).saturating_sub(coming)
    };
    need.max(floor).min(room)
}

/// How many idle places to give up now; `quiet` says that nobody has come for a while.
#[must_use]
pub fn shrink(sizing: &Sizing, view: View, quiet: bool) -> u32 {
    let keep_spare = if quiet { sizing.min_spare } else { sizing.max_spare };
    let surplus = view.idle.saturating_sub(keep_spare);
    let above = view.wanted.saturating_sub(sizing.start());
    let excess = view.wanted.saturating_sub(sizing.max);
    surplus.min(above).max(excess.min(view.idle))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: Sizing = Sizing { min: 5, max: 256, min_spare: 5, max_spare: 10 };

    #[test]
    fn a_burst_is_met_in_one_round_with_the_queue_counted() {
        let view = View { wanted: 5, idle: 0, booting: 0, queued: 251 };
        assert_eq!(grow(&POOL, view), 251);
    }

    #[test]
    fn what_is_booting_is_not_asked_for_twice() {
        let view = View { wanted: 20, idle: 1, booting: 4, queued: 3 };
        assert_eq!(grow(&POOL, view), 0);
    }

    #[test]
    fn a_pool_on_demand_has_as_many_as_wait_and_then_none() {
        let pool = Sizing { min: 0, max: 8, min_spare: 0, max_spare: 8 };
        assert_eq!(grow(&pool, View::default()), 0);
        assert_eq!(grow(&pool, View { queued: 3, ..View::default() }), 3);
        assert_eq!(grow(&pool, View { wanted: 3, booting: 3, queued: 3, ..View::default() }), 0);
        assert_eq!(grow(&pool, View { wanted: 3, queued: 1, ..View::default() }), 1);
        assert_eq!(shrink(&pool, View { wanted: 3, idle: 3, ..View::default() }, true), 3);
    }

    #[test]
    fn a_pool_below_its_minimum_is_filled_even_when_idle() {
        assert_eq!(grow(&POOL, View { wanted: 2, idle: 2, ..View::default() }), 3);
    }

    #[test]
    fn nothing_grows_past_the_maximum() {
        let view = View { wanted: 250, idle: 0, booting: 0, queued: 4000 };
        assert_eq!(grow(&POOL, view), 6);
    }

    #[test]
    fn idle_surplus_goes_to_max_spare_and_after_quiet_to_the_floor() {
        let view = View { wanted: 100, idle: 100, ..View::default() };
        assert_eq!(shrink(&POOL, view, false), 90);
        assert_eq!(shrink(&POOL, view, true), 95);
        assert_eq!(shrink(&POOL, View { wanted: 5, idle: 5, ..view }, true), 0);
    }

    #[test]
    fn a_pool_above_a_lowered_maximum_gives_up_only_idle_places() {
        let lowered = Sizing { min: 2, max: 4, min_spare: 1, max_spare: 8 };
        assert_eq!(shrink(&lowered, View { wanted: 9, idle: 3, ..View::default() }, false), 3);
    }
}

//! A pool's share of the state: its bounds as they are now, and its places.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::last_queue::LastQueue;
use super::scale::Sizing;
use super::state::{Nanos, Rules, WorkerId};
use super::turnover::Turnover;

/// A seat in a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Whether somebody should sit here.
    pub wanted: bool,
    /// Who does, or is about to.
    pub incumbent: Option<WorkerId>,
    /// Whether a healthy worker serves here, as the siblings were told.
    pub staffed: bool,
    /// Who will.
    pub successor: Option<WorkerId>,
    /// Quick failures in a row.
    pub failures: u32,
    /// Not to be tried before this.
    pub not_before: Nanos,
}

/// A pool's share of the state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pool {
    /// Bounds, as TTIN and TTOU have moved them.
    pub sizing: Sizing,
    /// By how many workers they have.
    pub offset: i64,
    /// A helper's: nanoseconds from one run to the next.
    pub every: Option<Nanos>,
    /// When the next one begins; settled by the first step.
    pub due: Option<Nanos>,
    /// See [`Rules::linger`].
    pub linger: Nanos,
    /// See [`Rules::draining`].
    pub draining: u32,
    /// Its places.
    pub places: Vec<Place>,
    /// Whether any worker was ever ready; a pool that needs none is.
    pub ever_ready: bool,
    /// Boot failures before the first ready worker.
    pub boot_failures: u32,
    /// Times of failures within the breaker's window.
    pub failures: VecDeque<Nanos>,
    /// The breaker is open.
    pub breaker_open: bool,
    /// Saturation was said.
    pub saturated: bool,
    /// How workers that serve are replaced.
    pub turnover: Turnover,
    /// No worker that serves is replaced before this.
    pub next_replacement: Nanos,
    /// When it last shrank.
    pub shrunk_at: Nanos,
    /// When it last grew.
    pub grown_at: Nanos,
    /// Connections taken at the last look, and when that number last changed.
    pub taken: (u64, Nanos),
    /// The listeners are watched, because nobody else does.
    pub watched: bool,
    /// The service stops, and the pool's commands take what is queued before they are asked to leave.
    #[serde(default)]
    pub last_queue: Option<LastQueue>,
    /// When to look at the load again; `None` while nothing can change by itself.
    pub look_at: Option<Nanos>,
}

impl Pool {
    pub(super) fn new(rules: &Rules) -> Self {
        let mut places = vec![Place::default(); rules.capacity as usize];
        let start = if rules.every.is_some() { 0 } else { rules.sizing.start() };
        for place in places.iter_mut().take(start as usize) {
            place.wanted = true;
        }
        Self {
            sizing: rules.sizing,
            offset: 0,
            every: rules.every,
            due: None,
            linger: rules.linger,
            draining: rules.draining,
            places,
            ever_ready: rules.every.is_some() || rules.sizing.is_on_demand(),
            boot_failures: 0,
            failures: VecDeque::new(),
            breaker_open: false,
            saturated: false,
            turnover: rules.turnover,
            next_replacement: 0,
            shrunk_at: 0,
            grown_at: 0,
            taken: (0, 0),
            watched: false,
            last_queue: None,
            look_at: None,
        }
    }

    /// How many workers may drain before nobody else is asked to leave for another.
    #[must_use]
    pub fn most_draining(&self) -> usize {
        self.sizing.max.max(1).saturating_add(self.draining) as usize
    }

    /// How many places are wanted.
    #[must_use]
    pub fn wanted(&self) -> u32 {
        let wanted = self.places.iter().filter(|place| place.wanted).count();
        u32::try_from(wanted).unwrap_or(u32::MAX)
    }
}

//! The supervisor's scales: how much private memory the workers of a pool have that has a bound.
//!
//! A cheap number first: what belongs to no file. It is never too small, but counts what a worker still shares
//! with the supervisor it was forked from. Only who is over its limit by that is measured exactly, and few of
//! those at a time, since the kernel walks all their pages for it.

use tine_os::inspect;

use super::event::Event;
use super::run::Supervisor;
use super::state::{Nanos, Stage, WorkerId};

/// Processes sampled in one look at a pool, at most; the others have their turn at the next. Some 10 µs each.
const SAMPLES: usize = 256;
/// Of them measured exactly, at most: who was not for longest. About a millisecond for 100 MiB each.
const MEASURED: usize = 4;

/// What is known of a worker's memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scale {
    /// When it was last sampled, and when it was last measured.
    sampled: Nanos,
    measured: Nanos,
    /// The last event said that it is too heavy.
    heavy: bool,
}

impl Supervisor {
    /// Weighs the workers of a pool that has a bound on memory.
    pub(super) fn weigh(&mut self, pool: usize, now: Nanos) {
        let mut candidates = self.serving_since(pool);
        candidates.truncate(SAMPLES);
        let mut suspects = Vec::new();
        let mut found = Vec::new();
        for (_, id) in candidates {
            let Some(proc) = self.procs.get_mut(&id) else { continue };
            proc.scale.sampled = now;
            let Ok(memory) = inspect::memory(proc.pid) else { continue };
            let limit = self.state.workers.get(&id).map_or(u64::MAX, |worker| worker.max_memory);
            if memory.anonymous > limit {
                suspects.push((proc.scale.measured, id, memory.anonymous));
            } else if proc.scale.heavy {
                found.push((id, memory.anonymous, false));
            }
        }
        suspects.sort_unstable();
        for (_, id, estimate) in suspects.into_iter().take(MEASURED) {
            let Some(proc) = self.procs.get_mut(&id) else { continue };
            proc.scale.measured = now;
            // Where this process may not look, the estimate has to do.
            found.push((id, inspect::private_bytes(proc.pid).unwrap_or(estimate), true));
        }
        for (worker, private, heavy) in found {
            if let Some(proc) = self.procs.get_mut(&worker) {
                proc.scale.heavy = heavy;
            }
            self.happen(Event::Memory { worker, private });
        }
    }

    /// The serving workers of a pool, who was not sampled for longest first.
    fn serving_since(&self, pool: usize) -> Vec<(Nanos, WorkerId)> {
        let procs = self.procs.iter().filter(|(_, proc)| proc.pool == pool);
        let serving = procs.filter(|(id, _)| {
            self.state.workers.get(id).is_some_and(|worker| worker.stage == Stage::Serving)
        });
        let mut serving: Vec<_> = serving.map(|(&id, proc)| (proc.scale.sampled, id)).collect();
        serving.sort_unstable();
        serving
    }
}

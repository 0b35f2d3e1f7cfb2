//! The supervisor's eyes: the load of pools that breathe, and the queues of a service that stops.

use std::rc::Rc;

use super::event::{Event, Load};
use super::procs::Proc;
use super::run::Supervisor;
use super::scale::Sizing;
use super::state::{Phase, Stage};
use super::trial::Work;
use crate::listen::Listener;

impl Supervisor {
    /// Looks at what cannot announce itself: the load of pools that breathe, and the queues of a service
    /// that stops.
    pub(super) fn look(&mut self) {
        match self.state.phase {
            Phase::Running => {
                if self.state.observes() {
                    let (trial, all) = self.work();
                    self.happen(Event::Observed { trial, all });
                }
                for pool in 0..self.pools.len() {
                    if !self.state.pools[pool].sizing.is_fixed() {
                        let load = self.load(pool);
                        self.happen(Event::Load { pool, load });
                    }
                }
            }
            Phase::Stopping { closed, .. } => self.look_at_queues(closed),
            Phase::Ended => {}
        }
    }

    /// The queues of our own workers together, whose listeners are shut down when all are empty; and those of commands,
    /// each for itself.
    fn look_at_queues(&mut self, closed: bool) {
        let is_own = |pool: &usize| !self.rules[*pool].command;
        if !closed && (0..self.pools.len()).filter(is_own).all(|pool| self.queued(pool) == 0) {
            self.happen(Event::QueuesEmpty);
        }
        for pool in 0..self.pools.len() {
            if self.state.pools[pool].last_queue.is_some() {
                // To sockets of others clients come as before, and wait for the next service there.
                let own = self.pools[pool].listeners.iter().filter(|it| !it.adopted());
                let waiting = total(own);
                self.happen(Event::Queued { pool, waiting });
            }
        }
    }

    /// What the generation that serves has done, as far as its workers are alive, and what all have ever done.
    fn work(&self) -> (Work, Work) {
        let past = self.pools.iter().map(|pool| pool.past.work());
        let (mut trial, mut all) = (Work::default(), past.fold(Work::default(), Work::plus));
        for (id, proc) in &self.procs {
            let work = proc.board(&self.board).record(proc.record).work();
            all = all.plus(work);
            if self.state.workers.get(id).is_some_and(|worker| self.state.is_on_trial(worker)) {
                trial = trial.plus(work);
            }
        }
        (trial, all)
    }

    /// Somebody came to a pool whose workers are all busy, or that has none. Datagrams are not counted, and
    /// one is enough to need a worker.
    pub(super) fn knocked(&mut self, pool: u64) {
        let Some(pool) = usize::try_from(pool).ok().filter(|pool| *pool < self.pools.len()) else {
            return;
        };
        let mut load = self.load(pool);
        load.queued = load.queued.max(1);
        self.happen(Event::Load { pool, load });
    }

    /// What the workers of a pool do. The line is armed before the count: who becomes busy after the
    /// count wakes us, so nothing is missed in between.
    fn load(&self, pool: usize) -> Load {
        let Sizing { max, min_spare, .. } = self.state.pools[pool].sizing;
        let concurrency = self.pools[pool].plan.concurrency;
        let serving = || {
            let procs = self.procs.iter().filter(move |(_, proc)| proc.pool == pool);
            procs.filter(|(id, _)| {
                self.state.workers.get(id).is_some_and(|worker| worker.stage == Stage::Serving)
            })
        };
        let idle = |proc: &Proc| proc.board(&self.board).record(proc.record).is_idle(concurrency);
        if self.state.pools[pool].wanted() < max {
            self.pools[pool].line.rearm(|| {
                let idle = serving().filter(|(_, proc)| idle(proc)).count();
                // The last idle one of a pool that keeps no spares is told of, too.
                i64::try_from(idle).unwrap_or(i64::MAX) - i64::from(min_spare.max(1))
            });
        }
        let mut load = Load { queued: self.queued(pool), ..Load::default() };
        for (&id, proc) in serving() {
            load.taken =
                load.taken.wrapping_add(proc.board(&self.board).record(proc.record).taken());
            if idle(proc) {
                load.idle.push(id);
            } else {
                load.busy += 1;
            }
        }
        load.taken = load.taken.wrapping_add(self.pools[pool].past.connections);
        load
    }

    /// Connections that wait in the queues of a pool.
    pub(super) fn queued(&self, pool: usize) -> u32 {
        total(self.pools[pool].listeners.iter())
    }
}

/// Connections that wait in the queues of these.
fn total<'a>(listeners: impl Iterator<Item = &'a Rc<Listener>>) -> u32 {
    let queue = |listener: &Rc<Listener>| listener.queue().map_or(0, |(now, _)| now);
    listeners.map(queue).fold(0, u32::saturating_add)
}

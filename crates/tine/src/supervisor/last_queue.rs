//! Foreign commands at a stop: first they take what has waited for them since before it, then they are asked to leave.
//! Pure.
//!
//! Most programs take no more connections once they are asked to leave, and no process could answer what still waits
//! then. New clients are refused by that time, so the queue only grows shorter.

use serde::{Deserialize, Serialize};

use super::action::{Action, Tell};
use super::state::{Nanos, Phase, Rules, Rung, SECOND, Stage, State, Why, Worker, WorkerId};

/// A queue that does not grow shorter for so long is left to what the program does with it.
const PATIENCE: Nanos = 2 * SECOND;

/// A queue that the commands of a pool still empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastQueue {
    /// Its length, in connections, when it was shortest.
    shortest: u32,
    /// The commands are asked to leave then, whatever waits.
    until: Nanos,
}

impl State {
    /// The service begins to stop: commands go on until their pool's queue is empty. One that does not count as ready yet
    /// may serve already: how long it has lived says nothing about that.
    pub(super) fn begin_last_queues(&mut self, rules: &[Rules], now: Nanos) {
        for (pool, rules) in rules.iter().enumerate() {
            let takes = |worker: &Worker| worker.stage != Stage::Forking && !worker.is_draining();
            let takes = self.in_pool(pool).any(takes);
            let last = LastQueue { shortest: u32::MAX, until: now.saturating_add(PATIENCE) };
            self.pools[pool].last_queue = (rules.command && takes).then_some(last);
        }
    }

    /// Ends a worker because the service stops: one whose pool has a queue to empty is asked after that.
    pub(super) fn dismiss_at_stop(
        &mut self,
        rules: &[Rules],
        id: WorkerId,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let Some(worker) = self.workers.get(&id) else { return };
        if self.pools[worker.pool].last_queue.is_none() {
            self.dismiss(rules, id, Why::Stop, now, actions);
        } else if worker.stage != Stage::Forking {
            self.drain(rules, id, Why::Stop, now);
        }
    }

    /// So many connections wait for a pool's commands.
    pub(super) fn last_queue_is(
        &mut self,
        pool: usize,
        waiting: u32,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let Some(last) = &mut self.pools[pool].last_queue else { return };
        if waiting < last.shortest {
            *last = LastQueue { shortest: waiting, until: now.saturating_add(PATIENCE) };
        }
        if waiting == 0 {
            self.end_last_queue(pool, actions);
        }
    }

    /// Asks the commands to leave whose queue has not become shorter for too long.
    pub(super) fn expire_last_queues(&mut self, now: Nanos, actions: &mut Vec<Action>) {
        for pool in 0..self.pools.len() {
            if self.pools[pool].last_queue.is_some_and(|last| last.until <= now) {
                self.end_last_queue(pool, actions);
            }
        }
    }

    /// Asks a pool's commands to leave, those that have not been told otherwise meanwhile.
    fn end_last_queue(&mut self, pool: usize, actions: &mut Vec<Action>) {
        self.pools[pool].last_queue = None;
        let asked = |stage| matches!(stage, Stage::Draining { rung: Rung::Asked, .. });
        let all = self.workers.iter().filter(|(_, it)| it.pool == pool && asked(it.stage));
        actions.extend(all.map(|(&id, _)| Action::Tell(id, Tell::Leave)));
    }

    /// No more patience.
    pub(super) fn forget_last_queues(&mut self) {
        self.pools.iter_mut().for_each(|pool| pool.last_queue = None);
    }

    /// When to look at the queues of a service that stops; `None` when nothing depends on them.
    pub(super) fn queue_deadline(&self) -> Option<Nanos> {
        let Phase::Stopping { closed, look } = self.phase else { return None };
        let waits = self.pools.iter().any(|pool| pool.last_queue.is_some());
        (!closed || waits).then_some(look)
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Command, Event};
    use super::super::properties::rules;
    use super::super::scale::Sizing;
    use super::super::state::MILLISECOND;
    use super::*;

    const ONE: WorkerId = WorkerId(1);

    /// A command that serves, and is to stop.
    fn stopping() -> (Vec<Rules>, State, Vec<Action>) {
        let rules = vec![Rules { command: true, ..rules(Sizing::fixed(1)) }];
        let mut state = State::new(&rules, 1);
        state.step(&rules, 0, Event::Time);
        state.step(&rules, 0, Event::Forked { worker: ONE, pid: 1 });
        state.step(&rules, 0, Event::Ready(ONE));
        let actions = state.step(&rules, SECOND, Event::Command(Command::Stop));
        (rules, state, actions)
    }

    fn asks(actions: &[Action]) -> usize {
        actions.iter().filter(|action| **action == Action::Tell(ONE, Tell::Leave)).count()
    }

    fn queued(waiting: u32) -> Event {
        Event::Queued { pool: 0, waiting }
    }

    #[test]
    fn a_command_is_asked_to_leave_once_when_its_queue_is_empty() {
        let (rules, mut state, actions) = stopping();
        assert!(actions.contains(&Action::StopNew) && asks(&actions) == 0, "{actions:?}");
        assert_eq!(state.deadline(), Some(SECOND + 10 * MILLISECOND));
        assert_eq!(asks(&state.step(&rules, SECOND, queued(3))), 0);
        assert_eq!(asks(&state.step(&rules, SECOND, Event::QueuesEmpty)), 0, "those of others");
        assert_eq!(asks(&state.step(&rules, SECOND + MILLISECOND, queued(0))), 1);
        assert_eq!(asks(&state.step(&rules, 4 * SECOND, queued(0))), 0);
        assert_eq!(state.deadline(), Some(31 * SECOND), "its time began with the stop");
    }

    #[test]
    fn a_queue_that_grows_shorter_has_time_and_one_that_does_not_has_little() {
        let (rules, mut state, _) = stopping();
        for waiting in (1..=9).rev() {
            let now = SECOND * (11 - u64::from(waiting));
            assert_eq!(asks(&state.step(&rules, now, queued(waiting))), 0);
        }
        assert_eq!(asks(&state.step(&rules, 12 * SECOND - 1, queued(4))), 0);
        assert_eq!(asks(&state.step(&rules, 12 * SECOND, Event::Time)), 1);
    }

    #[test]
    fn a_second_stop_waits_for_no_queue_and_commands_that_are_leaving_have_none() {
        let (rules, mut state, _) = stopping();
        let actions = state.step(&rules, SECOND, Event::Command(Command::Stop));
        assert!(actions.contains(&Action::Terminate(ONE)), "{actions:?}");
        assert_eq!(asks(&state.step(&rules, SECOND, queued(0))), 0, "it was told by a signal");

        let mut state = State::new(&rules, 1);
        state.step(&rules, 0, Event::Time);
        state.step(&rules, 0, Event::Forked { worker: ONE, pid: 1 });
        state.step(&rules, 0, Event::Halted(ONE));
        assert_eq!(asks(&state.step(&rules, SECOND, Event::Command(Command::Stop))), 1);
    }
}

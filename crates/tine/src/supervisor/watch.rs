//! The supervisor's watch: who does not come back from what it is at, and when it is time to weigh.
//!
//! Nothing ticks. A worker stamps its record as it begins and as it rests; from the stamps follows when the
//! first of those who work now could be overdue, and then it is looked, once a second at most. While nobody
//! works nobody looks: the first worker that begins rings the pool's [bell](crate::scoreboard::Bell).

use tine_os::clock::monotonic;

use super::event::{Event, Overrun};
use super::run::Supervisor;
use super::state::{Nanos, Rules, Rung, SECOND, Stage, WorkerId};
use crate::scoreboard::Stamps;

/// Between two looks at a pool, at least.
const LOOK: Nanos = SECOND;

/// When a pool is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    /// The next look; `None` while nobody works.
    next: Option<Nanos>,
    /// The last.
    looked: Nanos,
}

impl Rules {
    /// Whether the pool is looked at at all, and its workers stamp their records.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        patience(self).is_some()
    }
}

impl Watch {
    pub(super) fn deadline(&self) -> Option<Nanos> {
        self.next
    }
}

/// How long after a worker has begun there may be something to see.
fn patience(rules: &Rules) -> Option<Nanos> {
    let memory = if rules.memory.1 > 0 { LOOK } else { 0 };
    let waits = [rules.request_timeout, rules.connection_timeout, memory];
    waits.into_iter().filter(|&wait| wait > 0).min()
}

impl Supervisor {
    /// Looks at the pools whose time has come.
    pub(super) fn watch(&mut self) {
        for pool in 0..self.pools.len() {
            let now = monotonic();
            if self.watch_is_due(pool, now) {
                self.patrol(pool, now);
            }
        }
    }

    fn watch_is_due(&mut self, index: usize, now: Nanos) -> bool {
        let pool = &mut self.pools[index];
        if !self.rules[index].is_watched() {
            return false;
        }
        if pool.watch.next.is_none() && !pool.bell.is_silent() {
            let first = now.saturating_add(patience(&self.rules[index]).unwrap_or(LOOK));
            pool.watch.next = Some(first.max(pool.watch.looked.saturating_add(LOOK)));
        }
        pool.watch.next.is_some_and(|next| next <= now)
    }

    /// Finds who is overdue, and when the next could be.
    fn patrol(&mut self, index: usize, now: Nanos) {
        self.pools[index].bell.hang();
        let weighed = self.rules[index].memory.1 > 0;
        let isolated = self.pools[index].plan.concurrency == 1;
        let mut overdue = Vec::new();
        let mut earliest: Option<Nanos> = None;
        for (&id, proc) in self.procs.iter().filter(|(_, proc)| proc.pool == index) {
            if !self.is_watched(id) {
                continue;
            }
            let stamps = proc.board(&self.board).record(proc.record).stamps();
            if weighed && stamps.running > 0 {
                earliest = Some(earliest.map_or(now, |earliest| earliest.min(now)));
            }
            let life = (proc.story.since, now);
            for (what, due, ran) in deadlines(&self.rules[index], isolated, stamps, life) {
                if due <= now {
                    overdue.push((id, what, ran));
                    break;
                }
                earliest = Some(earliest.map_or(due, |earliest| earliest.min(due)));
            }
        }
        let pool = &mut self.pools[index];
        pool.watch.looked = now;
        pool.watch.next = earliest.map(|due| due.max(now.saturating_add(LOOK)));
        if earliest.is_some() {
            pool.bell.take_down();
        }
        for (worker, what, ran) in overdue {
            self.happen(Event::Overrun { worker, what, ran });
        }
        if weighed {
            self.weigh(index, now);
        }
    }

    /// Who boots, or is being ended already, has another deadline.
    fn is_watched(&self, id: WorkerId) -> bool {
        self.state.workers.get(&id).is_some_and(|worker| match worker.stage {
            Stage::Standby | Stage::Serving => true,
            Stage::Draining { rung, .. } => rung == Rung::Asked,
            Stage::Forking | Stage::Booting(_) => false,
        })
    }
}

/// What the worker is at, when that is overdue, and how long it has been at it. The stamps are whatever the
/// worker wrote, or one of its siblings: of the future is as if of now, and what is older than the worker is not its own.
fn deadlines(
    rules: &Rules,
    isolated: bool,
    stamps: Stamps,
    (born, now): (Nanos, Nanos),
) -> impl Iterator<Item = (Overrun, Nanos, Nanos)> {
    let at_work = if isolated { Overrun::Request } else { Overrun::Turn };
    // Of several requests at once only the last one's stamp is there.
    let request = if isolated { stamps.request } else { 0 };
    let connection = if isolated { stamps.connection } else { 0 };
    let all = [
        (at_work, stamps.running, rules.request_timeout),
        (Overrun::Request, request, rules.request_timeout),
        (Overrun::Connection, connection, rules.connection_timeout),
    ];
    all.into_iter().filter(move |&(_, began, limit)| began > 0 && began >= born && limit > 0).map(
        move |(what, began, limit)| {
            let began = began.min(now);
            (what, began.saturating_add(limit), now - began)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::super::properties::rules;
    use super::super::scale::Sizing;
    use super::*;

    fn due(isolated: bool, stamps: Stamps) -> Vec<(Overrun, Nanos, Nanos)> {
        let mut rules = rules(Sizing::fixed(1));
        (rules.request_timeout, rules.connection_timeout) = (10, 50);
        deadlines(&rules, isolated, stamps, (1, 1000)).collect()
    }

    #[test]
    fn an_isolated_worker_has_a_deadline_for_its_request_and_its_connection() {
        let stamps = Stamps { running: 995, request: 980, connection: 970 };
        let all = [
            (Overrun::Request, 1005, 5),
            (Overrun::Request, 990, 20),
            (Overrun::Connection, 1020, 30),
        ];
        assert_eq!(due(true, stamps), all);
        assert_eq!(due(true, Stamps::default()), []);
    }

    #[test]
    fn a_multiplexed_worker_has_one_for_its_turn_alone() {
        let stamps = Stamps { running: 995, request: 1, connection: 1 };
        assert_eq!(due(false, stamps), [(Overrun::Turn, 1005, 5)]);
    }

    #[test]
    fn any_number_can_stand_in_a_record() {
        let stamps = Stamps { running: u64::MAX, request: 1, connection: u64::MAX };
        let all = [
            (Overrun::Request, 1010, 0),
            (Overrun::Request, 11, 999),
            (Overrun::Connection, 1050, 0),
        ];
        assert_eq!(due(true, stamps), all);
    }

    #[test]
    fn what_is_older_than_the_worker_says_nothing_of_it() {
        let mut rules = rules(Sizing::fixed(1));
        (rules.request_timeout, rules.connection_timeout) = (10, 50);
        let stamps = Stamps { running: 899, request: 1, connection: 900 };
        let found: Vec<_> = deadlines(&rules, true, stamps, (900, 1000)).collect();
        assert_eq!(
            found,
            [(Overrun::Connection, 950, 100)],
            "a sibling can have written the others"
        );
    }
}

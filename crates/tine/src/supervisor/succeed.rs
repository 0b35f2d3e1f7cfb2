//! Fitting what the program before knew to this program's plan. Pure.

use super::scale::Sizing;
use super::state::{Pool, Rules, State};

impl State {
    /// Gives every pool of `before` (names and rules) its place among `names`, whose rules are `rules`. Pools that
    /// are no more, and still have workers, come after the others, and so do their rules. Answers with where each one
    /// is now.
    pub(crate) fn succeed(
        &mut self,
        before: &[(&str, &Rules)],
        names: &[&str],
        rules: &mut Vec<Rules>,
    ) -> Vec<Option<usize>> {
        let mut pools: Vec<Pool> = rules.iter().map(Pool::new).collect();
        let mut places = Vec::new();
        for (index, old) in std::mem::take(&mut self.pools).into_iter().enumerate() {
            let (name, old_rules) = before[index];
            let now = names.iter().position(|it| *it == name);
            let used = self.workers.values().any(|worker| worker.pool == index);
            places.push(match now {
                Some(now) => {
                    pools[now] = old.fit(old_rules, &rules[now]);
                    Some(now)
                }
                None if used => {
                    rules.push(old_rules.of_none());
                    pools.push(old.fit(old_rules, &old_rules.of_none()));
                    Some(pools.len() - 1)
                }
                None => None,
            });
        }
        self.pools = pools;
        for worker in self.workers.values_mut() {
            worker.pool = places[worker.pool].unwrap_or(worker.pool);
        }
        places
    }
}

impl Rules {
    /// Those of a pool that is no more: nobody is forked, and nobody is watched.
    fn of_none(&self) -> Self {
        Self {
            every: None,
            sizing: Sizing::fixed(0),
            request_timeout: 0,
            connection_timeout: 0,
            memory: (0, 0),
            ..self.clone()
        }
    }
}

impl Pool {
    /// The same pool by other rules: as many places are wanted as before, within the new bounds.
    fn fit(mut self, before: &Rules, rules: &Rules) -> Self {
        if before.sizing != rules.sizing {
            (self.sizing, self.offset) = (rules.sizing, 0);
        }
        if before.every != rules.every {
            (self.every, self.due) = (rules.every, None);
        }
        self.turnover = rules.turnover;
        (self.linger, self.draining) = (rules.linger, rules.draining);
        let taken = |place: &super::state::Place| place.incumbent.or(place.successor).is_some();
        let used = self.places.iter().rposition(taken).map_or(0, |last| last + 1);
        self.places.resize_with(used.max(rules.capacity as usize), Default::default);
        // What is shared between siblings, and what is watched, is this program's own.
        self.watched = false;
        self.places.iter_mut().for_each(|place| place.staffed = false);
        if rules.every.is_some() {
            return self;
        }
        let (floor, top) = (self.sizing.start(), self.sizing.max);
        let missing = floor.saturating_sub(self.wanted()) as usize;
        for place in self.places.iter_mut().filter(|place| !place.wanted).take(missing) {
            place.wanted = true;
        }
        let surplus = self.wanted().saturating_sub(top) as usize;
        for place in self.places.iter_mut().rev().filter(|place| place.wanted).take(surplus) {
            place.wanted = false;
        }
        self
    }
}

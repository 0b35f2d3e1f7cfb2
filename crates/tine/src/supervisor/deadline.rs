//! When must the supervisor look again by itself? Pure, and `None` when nothing can change without an
//! event: an idle service sleeps.

use super::state::{Nanos, Phase, Stage, State, Succession, Worker};

impl State {
    /// The earliest instant at which [`super::event::Event::Time`] would change something.
    #[must_use]
    pub fn deadline(&self) -> Option<Nanos> {
        let workers = self.workers.values().filter_map(Worker::deadline);
        let own = match self.phase {
            Phase::Stopping { .. } => self.queue_deadline(),
            Phase::Ended => None,
            Phase::Running => self.staffing_deadline(),
        };
        workers.chain(own).min()
    }

    fn staffing_deadline(&self) -> Option<Nanos> {
        let pools = 0..self.pools.len();
        let looks = self.pools.iter().filter_map(|pool| pool.look_at);
        let runs = self.pools.iter().filter_map(|pool| pool.due);
        let own = looks.chain(runs).chain(self.reloads.deadline()).chain(self.lame_until);
        let own = own.chain(self.trial_deadline()).min();
        // Nobody is forked meanwhile.
        if self.reloads.goes_back() {
            return own;
        }
        let forks = self.fork_trouble.map_or(0, |(_, not_before)| not_before);
        let retry = |pool: usize| {
            let vacancies = self.vacancies(pool);
            vacancies.iter().map(|vacancy| vacancy.not_before.max(forks)).min()
        };
        let given_up = |pool: usize| self.next_given_up(pool).map(|(_, at)| at);
        let successions = pools.clone().flat_map(|pool| {
            let places = 0..self.pools[pool].places.len();
            places.filter_map(move |place| self.succession_due(pool, place))
        });
        let retries = pools.clone().filter_map(retry).chain(pools.filter_map(given_up));
        retries.chain(successions).chain(own).min()
    }
}

impl Worker {
    fn deadline(&self) -> Option<Nanos> {
        match self.stage {
            Stage::Booting(until) => Some(until),
            Stage::Draining { next, .. } => Some(next),
            Stage::Serving if self.succession != Some(Succession::WhenReady) => self.expires,
            Stage::Forking | Stage::Standby | Stage::Serving => None,
        }
    }
}

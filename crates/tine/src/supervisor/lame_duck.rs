//! A stop that is announced: for a while everybody serves on, while health checks say no already, so that whoever sends
//! clients here has the time to send them elsewhere. Pure.

use super::action::{Action, Note};
use super::state::{Nanos, Rules, SECOND, State};

impl State {
    /// Begins to stop: after the lame-duck time, if there is one; a second time, without waiting for its end.
    pub(super) fn announce_stop(&mut self, rules: &[Rules], now: Nanos, actions: &mut Vec<Action>) {
        let time = rules.iter().map(|rules| rules.lame_duck).max().unwrap_or(0);
        // Nobody has been sent here who has never served.
        if time == 0 || !self.staffed || self.lame_until.is_some() {
            return self.begin_stop(rules, now, actions);
        }
        self.stop_reload(now, actions);
        self.lame_until = Some(now.saturating_add(time));
        actions.push(Action::LameDuck);
        actions.push(Action::Note(Note::LameDuck { seconds: time / SECOND }));
    }

    /// The time is over.
    pub(super) fn end_lame_duck(&mut self, rules: &[Rules], now: Nanos, actions: &mut Vec<Action>) {
        if self.lame_until.is_some_and(|until| until <= now) {
            self.begin_stop(rules, now, actions);
        }
    }

    /// Whether clients should be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.staffed && !self.is_stopping() && self.lame_until.is_none() && self.serves()
    }
}

#[cfg(test)]
mod tests {
    use super::super::action::Tell;
    use super::super::event::{Command, Event, Exit};
    use super::super::properties::rules;
    use super::super::scale::Sizing;
    use super::super::state::WorkerId;
    use super::*;

    /// One worker that serves, and ten seconds.
    fn service() -> (Vec<Rules>, State) {
        let rules = vec![Rules { lame_duck: 10 * SECOND, ..rules(Sizing::fixed(1)) }];
        let mut state = State::new(&rules, 1);
        state.step(&rules, 0, Event::Time);
        state.step(&rules, 0, Event::Forked { worker: WorkerId(1), pid: 1 });
        state.step(&rules, 0, Event::Ready(WorkerId(1)));
        (rules, state)
    }

    fn leaves(actions: &[Action]) -> bool {
        actions.contains(&Action::Tell(WorkerId(1), Tell::Leave))
    }

    #[test]
    fn everybody_serves_on_until_the_time_is_over() {
        let (rules, mut state) = service();
        assert!(state.is_ready());
        let actions = state.step(&rules, SECOND, Event::Command(Command::Stop));
        assert!(actions.contains(&Action::LameDuck) && !leaves(&actions), "{actions:?}");
        assert!(!state.is_ready() && !state.is_stopping());
        assert_eq!(state.deadline(), Some(11 * SECOND));
        let exit = Exit::Signal { number: 9, core: false };
        let died = Event::Exited { worker: WorkerId(1), exit, did: Default::default() };
        let actions = state.step(&rules, 2 * SECOND, died);
        assert!(actions.iter().any(|action| matches!(action, Action::Fork(_))), "it is replaced");
        state.step(&rules, 11 * SECOND, Event::Time);
        assert!(state.is_stopping());
    }

    #[test]
    fn a_second_stop_cuts_it_short_and_a_drain_has_none() {
        let (rules, mut state) = service();
        state.step(&rules, SECOND, Event::Command(Command::Stop));
        let actions = state.step(&rules, 2 * SECOND, Event::Command(Command::Stop));
        assert!(leaves(&actions) && state.is_stopping());
        let actions = state.step(&rules, 3 * SECOND, Event::Command(Command::Stop));
        assert!(actions.contains(&Action::Terminate(WorkerId(1))), "the third is: now");
        let (rules, mut state) = service();
        assert!(leaves(&state.step(&rules, SECOND, Event::Command(Command::Drain))));
    }

    #[test]
    fn no_reload_begins_meanwhile() {
        let (rules, mut state) = service();
        state.step(&rules, SECOND, Event::Command(Command::Stop));
        let actions = state.step(&rules, 2 * SECOND, Event::Command(Command::Reload));
        assert!(!actions.contains(&Action::Probe) && !state.reloads.again);
    }
}

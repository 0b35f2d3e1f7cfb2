//! What the service manager is told, and when; see [`crate::notify`].

use tine_os::clock::monotonic;

use super::action::Note;
use super::reload::Stage as Reload;
use super::run::Supervisor;
use super::state::{Nanos, Rules, SECOND, Stage};
use crate::notify::Manager;

/// Beside the time that the service itself allows, for what it does around it.
const MARGIN: Nanos = 5 * SECOND;

impl Supervisor {
    /// The manager hears of it, if it is for it.
    pub(super) fn notify(&mut self, note: &Note) {
        if self.manager.is_none() {
            return;
        }
        let now = monotonic();
        match note {
            // A trial may take long: for the manager the reload is over when it begins.
            Note::OnTrial { .. } => {
                let status = format!("{}, on trial", self.serving_text());
                self.tell_manager(|manager| manager.ready(&status, now));
            }
            Note::Staffed | Note::Rolled { .. } => {
                let status = self.serving_text();
                self.tell_manager(|manager| manager.ready(&status, now));
            }
            Note::ReloadFailed { text, .. } if self.state.is_ready() => {
                let status = format!("{}; the last reload failed: {text}", self.serving_text());
                self.tell_manager(|manager| manager.ready(&status, now));
            }
            Note::Serving(_) if !self.state.staffed || self.state.reloads.stage != Reload::Idle => {
                self.ask_for_time();
            }
            // Else it was told when the new program was tried.
            Note::Rolling { .. } if self.state.reloads.rolls => self.notify_reloading(),
            Note::LameDuck { .. } => {
                let text = "lame duck: serves, and stops soon".to_owned();
                let time = self.stop_time();
                self.tell_manager(|manager| manager.stopping(&text, time, now));
            }
            Note::Stopping { workers, .. } => {
                let text = format!("stopping: {workers} workers finish what they have");
                let time = self.stop_time();
                self.tell_manager(|manager| manager.stopping(&text, time, now));
            }
            _ => {}
        }
    }

    /// People see when no worker serves, and when one serves again. The manager itself has no word for a service that is
    /// not ready any more (sd_notify(3)).
    pub(super) fn notify_serving(&mut self) {
        let state = &self.state;
        let between = state.is_stopping() || state.lame_until.is_some() || !state.staffed;
        if self.manager.is_none() || between || state.reloads.stage != Reload::Idle {
            return;
        }
        let serves = state.is_ready();
        if std::mem::replace(&mut self.serves, serves) != serves {
            let now = monotonic();
            let status = match serves {
                true => self.serving_text(),
                false => format!("generation {}: no worker serves", state.generation),
            };
            self.tell_manager(|manager| manager.status(&status, now));
        }
    }

    /// How long a stop may take from now on.
    fn stop_time(&self) -> Nanos {
        let lame = self.state.lame_until.map_or(0, |until| until.saturating_sub(monotonic()));
        let longest = |rules: &Rules| rules.stop_timeout.saturating_add(rules.term_grace);
        let longest = self.rules.iter().map(longest).max().unwrap_or(0);
        longest.saturating_add(lame).saturating_add(MARGIN)
    }

    /// A reload begins.
    pub(super) fn notify_reloading(&mut self) {
        let now = monotonic();
        self.tell_manager(|manager| manager.reloading("a reload", now));
        self.ask_for_time();
    }

    /// Workers boot, which may take as long as they may.
    pub(super) fn ask_for_time(&mut self) {
        let longest = self.rules.iter().map(|rules| rules.boot_timeout).max().unwrap_or(0);
        let now = monotonic();
        self.tell_manager(|manager| manager.extend(longest.saturating_add(MARGIN), now));
    }

    fn tell_manager(&mut self, tell: impl FnOnce(&mut Manager)) {
        if let Some(manager) = &mut self.manager {
            tell(manager);
        }
    }

    fn serving_text(&self) -> String {
        let serves = self.state.workers.values().filter(|worker| worker.stage == Stage::Serving);
        let (generation, workers) = (self.state.generation, serves.count());
        format!("generation {generation}: {workers} workers serve")
    }
}

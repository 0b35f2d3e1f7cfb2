//! Which signal means what: one closed list of actions, one table, a preset for each system's habits.

use tine_os::signal::Signal;

use crate::supervisor::event::Command;

/// What the supervisor does on each signal.
///
/// | signal | `Tine` | `Apache` | `NetServer` | `Nginx` | `ServerStarter` |
/// |---|---|---|---|---|---|
/// | TERM | stop gracefully | stop now | stop gracefully | stop now | stop gracefully, once |
/// | INT | the same at once | stop now | the same at once | stop now | the same |
/// | QUIT | stop gracefully | – | stop gracefully | stop gracefully | stop gracefully |
/// | HUP | reload | reload | reload | reload | reload |
/// | USR1 | reopen logs | reload | reopen logs | reopen logs | reopen logs |
/// | USR2 | reload | – | – | reload | – |
/// | WINCH | – | stop gracefully | – | – | – |
/// | TTIN, TTOU | one worker more, fewer | – | one more, fewer | – | – |
///
/// A graceful stop begins after the lame-duck time ([`crate::PoolConfig::lame_duck`]); "at once": without it. A second
/// one cuts that time short, or else means now; except for "once": Server::Starter swallows it, and so QUIT is how to
/// have it over with. "–": known, and nothing happens; a terminal's resize (WINCH) stops
/// nothing but in Apache's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signals {
    /// Tine's own.
    #[default]
    Tine,
    /// Apache httpd's.
    Apache,
    /// Net::Server's.
    NetServer,
    /// nginx's.
    Nginx,
    /// Server::Starter's.
    ServerStarter,
}

/// Every signal the supervisor takes; the rest keep their default.
pub(crate) const HANDLED: [Signal; 9] = [
    Signal::TERM,
    Signal::INT,
    Signal::QUIT,
    Signal::HUP,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
    Signal::TTIN,
    Signal::TTOU,
];

impl Signals {
    /// What the signal asks for.
    pub(crate) fn command(self, signal: Signal) -> Command {
        use Command::{Drain, Finish, Grow, Nothing, Reload, Reopen, Shrink, Stop, StopNow};
        let column = self as usize;
        let row = match signal {
            Signal::TERM => [Stop, StopNow, Stop, StopNow, Finish],
            Signal::INT => [Drain, StopNow, Drain, StopNow, Finish],
            Signal::QUIT => [Stop, Nothing, Stop, Stop, Stop],
            Signal::HUP => [Reload; 5],
            Signal::USR1 => [Reopen, Reload, Reopen, Reopen, Reopen],
            Signal::USR2 => [Reload, Nothing, Nothing, Reload, Nothing],
            Signal::WINCH => [Nothing, Stop, Nothing, Nothing, Nothing],
            Signal::TTIN => [Grow, Nothing, Grow, Nothing, Nothing],
            Signal::TTOU => [Shrink, Nothing, Shrink, Nothing, Nothing],
            _ => [Nothing; 5],
        };
        row[column]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resized_terminal_stops_nothing_but_apache() {
        assert_eq!(Signals::Tine.command(Signal::WINCH), Command::Nothing);
        assert_eq!(Signals::Apache.command(Signal::WINCH), Command::Stop);
    }

    #[test]
    fn every_preset_stops_on_term() {
        use Signals::{Apache, NetServer, Nginx, ServerStarter, Tine};
        for preset in [Tine, Apache, NetServer, Nginx, ServerStarter] {
            let command = preset.command(Signal::TERM);
            let stops = [Command::Stop, Command::Drain, Command::Finish, Command::StopNow];
            assert!(stops.contains(&command), "{preset:?}");
        }
    }
}

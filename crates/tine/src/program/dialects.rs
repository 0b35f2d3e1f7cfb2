//! How a foreign program is told where its listeners are: in the words of every system it may know.
//!
//! | system | variables | says |
//! |---|---|---|
//! | systemd (sd_listen_fds(3)) | `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES` | that 3 and on are listeners, and their names; not said where they are elsewhere |
//! | Server::Starter (rows S3, S4) | `SERVER_STARTER_PORT`, `SERVER_STARTER_GENERATION` | name and number of each; how many processes were begun before, plus one |
//! | Einhorn | `EINHORN_FD_COUNT`, `EINHORN_FD_0` …, `EINHORN_MASTER_PID`, `EINHORN_CHILD_INDEX` | the numbers; the process above; which of its siblings it is |

use std::process::Command as Process;

use super::environment::{
    LISTEN_FDNAMES, LISTEN_FDS, LISTEN_FDS_START, LISTEN_PID, SERVER_STARTER_PORT,
};
use super::producer::{Passed, Spawn};

/// What systemd calls a socket that has no name.
const UNNAMED: &str = "unknown";

/// Who the process is that a command is told about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processes {
    /// The command's own.
    pub(crate) own: u32,
    /// Its parent.
    pub(crate) parent: u32,
}

/// systemd's words, which every command gets that can be told so.
pub(crate) fn systemd(process: &mut Process, listeners: &[Passed], who: Processes) {
    let in_a_row = (LISTEN_FDS_START..).zip(listeners).all(|(number, one)| number == one.number);
    if !in_a_row || listeners.is_empty() {
        return;
    }
    process.env(LISTEN_FDS, listeners.len().to_string());
    process.env(LISTEN_PID, who.own.to_string());
    if listeners.iter().any(|one| one.label.is_some()) {
        let names = listeners.iter().map(|one| one.label.as_deref().unwrap_or(UNNAMED));
        process.env(LISTEN_FDNAMES, names.collect::<Vec<_>>().join(":"));
    }
}

/// The others' words.
pub(crate) fn all(process: &mut Process, spawn: &Spawn, who: Processes) {
    process.env(SERVER_STARTER_PORT, server_starter(&spawn.listeners));
    process.env("SERVER_STARTER_GENERATION", spawn.worker.to_string());
    process.env("EINHORN_MASTER_PID", who.parent.to_string());
    process.env("EINHORN_CHILD_INDEX", spawn.place.to_string());
    process.env("EINHORN_FD_COUNT", spawn.listeners.len().to_string());
    for (index, one) in spawn.listeners.iter().enumerate() {
        process.env(format!("EINHORN_FD_{index}"), one.number.to_string());
    }
}

/// `NAME=NUMBER;…`, empty without listeners.
fn server_starter(listeners: &[Passed]) -> String {
    let one = |one: &Passed| format!("{}={}", one.name, one.number);
    listeners.iter().map(one).collect::<Vec<_>>().join(";")
}

/// What Server::Starter would call a listener that was given no name: an address without a word about its kind.
pub(crate) fn name_of(address: &str) -> &str {
    let kinds = ["unix:", "udp:", "unixdgram:"];
    kinds.iter().find_map(|kind| address.strip_prefix(kind)).unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawn(listeners: &[(&str, i32, Option<&str>)]) -> Spawn {
        let listeners = listeners.iter().map(|(name, number, label)| Passed {
            address: (*name).to_owned(),
            name: name_of(name).to_owned(),
            label: label.map(str::to_owned),
            number: *number,
        });
        Spawn { worker: 7, place: 1, generation: 2, listeners: listeners.collect() }
    }

    fn told(spawn: &Spawn) -> Vec<(String, String)> {
        let mut process = Process::new("x");
        let who = Processes { own: 40, parent: 39 };
        systemd(&mut process, &spawn.listeners, who);
        all(&mut process, spawn, who);
        let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
        process
            .get_envs()
            .map(|(name, value)| (text(name), text(value.unwrap_or_default())))
            .collect()
    }

    #[test]
    fn every_dialect_says_the_same() {
        let listeners =
            [("0.0.0.0:80", 3, None), ("udp:[::1]:53", 4, Some("dns")), ("unix:/a", 5, None)];
        let all = told(&spawn(&listeners));
        for (name, value) in [
            ("SERVER_STARTER_PORT", "0.0.0.0:80=3;[::1]:53=4;/a=5"),
            ("SERVER_STARTER_GENERATION", "7"),
            ("LISTEN_FDS", "3"),
            ("LISTEN_PID", "40"),
            ("LISTEN_FDNAMES", "unknown:dns:unknown"),
            ("EINHORN_FD_COUNT", "3"),
            ("EINHORN_FD_1", "4"),
            ("EINHORN_MASTER_PID", "39"),
            ("EINHORN_CHILD_INDEX", "1"),
        ] {
            assert!(all.contains(&(name.to_owned(), value.to_owned())), "{name} in {all:?}");
        }
    }

    #[test]
    fn what_a_dialect_cannot_say_it_does_not() {
        let all = told(&spawn(&[("0.0.0.0:80", 0, None)]));
        assert!(!all.iter().any(|(name, _)| name.starts_with("LISTEN_")), "{all:?}");
        let none = told(&spawn(&[]));
        assert!(none.contains(&("SERVER_STARTER_PORT".to_owned(), String::new())), "{none:?}");
    }
}

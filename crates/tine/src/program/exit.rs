//! What a worker's end says, as an exit status, and as a keeper tells of its command's.

use tine_os::process::Change;

use crate::supervisor::event::Exit;

/// Exit statuses of a worker. Status 0: it did what it was asked. Others: it crashed.
pub(crate) mod status {
    /// It failed after it was ready.
    pub(crate) const FAILED: i32 = 1;
    /// It could not boot (`EX_SOFTWARE` of sysexits).
    pub(crate) const CANNOT_BOOT: i32 = 70;
    /// There is no command to run (`EX_OSFILE`).
    pub(crate) const NO_COMMAND: i32 = 72;
    /// It could not drop its privileges (`EX_NOPERM`).
    pub(crate) const NO_PRIVILEGE: i32 = 77;
    /// It said that the service cannot go on. Apache's 15 could be any program's own.
    pub(crate) const FATAL: i32 = 79;
    /// A panic; Rust's own choice for the main thread.
    pub(crate) const PANICKED: i32 = 101;
}

/// What a child's end means; `None` for what is no end.
pub(crate) fn exit_of(change: Change) -> Option<Exit> {
    Some(match change {
        Change::Exited(0) => Exit::Clean,
        Change::Exited(status::CANNOT_BOOT) => Exit::BootFailed,
        Change::Exited(status::NO_COMMAND) => Exit::NoCommand,
        Change::Exited(status::NO_PRIVILEGE) => Exit::PrivilegeFailed,
        Change::Exited(status::FATAL) => Exit::Fatal,
        Change::Exited(status::PANICKED) => Exit::Panicked,
        Change::Exited(code) => Exit::Code(code),
        Change::Signaled { signal, core } => Exit::Signal { number: signal.number(), core },
        Change::Stopped(_) | Change::Continued => return None,
    })
}

/// A command's end in a keeper's words, for [`exit_told`]. A foreign program's statuses have none of the
/// meanings above.
pub(crate) fn tell_exit(change: Change) -> String {
    match change {
        Change::Signaled { signal, core: true } => format!("core {}", signal.number()),
        Change::Signaled { signal, core: false } => format!("signal {}", signal.number()),
        Change::Exited(code) => format!("status {code}"),
        Change::Stopped(_) | Change::Continued => String::new(),
    }
}

/// What a keeper has told; `None` if that makes no sense.
pub(crate) fn exit_told(text: &str) -> Option<Exit> {
    let (kind, number) = text.split_once(' ')?;
    let number = number.parse().ok()?;
    match kind {
        "status" if number == 0 => Some(Exit::Clean),
        "status" => Some(Exit::Code(number)),
        "signal" | "core" => Some(Exit::Signal { number, core: kind == "core" }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tine_os::signal::Signal;

    use super::*;

    #[test]
    fn a_commands_end_arrives_as_it_was() {
        let core = |core| Change::Signaled { signal: Signal::SEGV, core };
        for (change, exit) in [
            (Change::Exited(0), Exit::Clean),
            (Change::Exited(70), Exit::Code(70)),
            (core(true), Exit::Signal { number: 11, core: true }),
            (core(false), Exit::Signal { number: 11, core: false }),
        ] {
            assert_eq!(exit_told(&tell_exit(change)), Some(exit));
        }
        for nonsense in ["", "status", "status x", "sign 3"] {
            assert_eq!(exit_told(nonsense), None, "{nonsense:?}");
        }
    }
}

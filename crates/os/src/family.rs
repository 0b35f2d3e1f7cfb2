//! Children, their children, and so on: found by what `/proc` says, and signalled without hitting a stranger.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use crate::deliver::deliver;
use crate::process::{Pid, pidfd};
use crate::signal::Signal;

/// The children of a process, zombies included; none if it is gone. One that is born or ends meanwhile may be
/// missing (proc(5), `/proc/PID/task/TID/children`): who wants all of them asks until there are none.
///
/// # Errors
/// `NotFound` if the kernel does not keep these lists (`CONFIG_PROC_CHILDREN`), or `/proc` is not there.
pub fn children(pid: Pid) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    let tasks = match fs::read_dir(format!("/proc/{pid}/task")) {
        Ok(tasks) => tasks,
        Err(error) if is_gone(&error) && fs::exists("/proc/self/task")? => return Ok(found),
        Err(error) => return Err(error),
    };
    for task in tasks.flatten() {
        match fs::read_to_string(task.path().join("children")) {
            Ok(text) => found.extend(text.split_whitespace().filter_map(number)),
            // The thread has ended meanwhile; or there are no such files at all.
            Err(error) if is_gone(&error) && !task.path().exists() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The children of a process, their children, and so on, as far as they can be seen.
///
/// # Errors
/// As [`children`] for the process itself.
pub fn descendants(root: Pid) -> io::Result<Vec<Pid>> {
    let mut found = children(root)?;
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(children(pid).unwrap_or_default());
        next += 1;
    }
    Ok(found)
}

/// What became of a signal to a whole [family](signal_descendants).
#[derive(Debug, Default)]
pub struct Told {
    /// How many processes got it.
    pub told: usize,
    /// A process that did not get it though it was there, and the kernel's reason.
    pub refused: Option<(Pid, io::Error)>,
}

/// Sends a signal to the children of a process, their children, and so on, as far as they can be seen, whatever users
/// they are. A number that has become a stranger's meanwhile is left alone. Only for a process with one thread, see
/// [`deliver`].
///
/// # Errors
/// As [`children`] for the process itself.
pub fn signal_descendants(root: Pid, signal: Signal) -> io::Result<Told> {
    let mut family = BTreeSet::from([root]);
    let mut next = children(root)?;
    let mut all = Told::default();
    while let Some(pid) = next.pop() {
        // From here on the descriptor means one process. If a member of the family is its parent, it is the one
        // that was found.
        let Ok(process) = pidfd(pid) else { continue };
        if !parent_of(pid).is_some_and(|parent| family.contains(&parent)) || !family.insert(pid) {
            continue;
        }
        next.extend(children(pid).unwrap_or_default());
        match deliver(process, pid, signal) {
            Ok(()) => all.told += 1,
            // It has ended meanwhile.
            Err(error) if is_gone(&error) => {}
            Err(error) => all.refused = Some((pid, error)),
        }
    }
    Ok(all)
}

/// The parent of a process, by `/proc/PID/stat`.
fn parent_of(pid: Pid) -> Option<Pid> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses, and may have some in it.
    let (_, rest) = text.rsplit_once(") ")?;
    number(rest.split_whitespace().nth(1)?)
}

fn number(word: &str) -> Option<Pid> {
    word.parse().ok().and_then(Pid::from_raw)
}

fn is_gone(error: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

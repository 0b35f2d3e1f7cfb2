//! The fork, and what becomes of the child: a worker, this program once more, or a foreign one with its keeper.
//!
//! The child never returns into the supervisor's code: whatever happens to it, the process ends in [`end`],
//! without a destructor of the supervisor's (pid file, sockets, control socket) being run.

use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use tine_os::process::{self, Forked, Pid};

use super::action::Assignment;
use super::forks::Newborns;
use super::run::Supervisor;
use crate::program::{Way, status};

mod accepted;
mod again;
mod ask;
mod keeper;
mod launch;
mod letter;
mod life;
mod sign;

pub(crate) use again::{Summons, refuse, summons};
pub(crate) use letter::{Descriptors, Letter};
pub(crate) use life::{Kit, LEAVES_ON, is_worker, live};

/// How much more readily than the supervisor the kernel ends a worker when memory is wanting, in thousandths of the
/// memory there is (`oom_score_adj`). Enough for a small worker to go before a supervisor that has grown; little enough
/// for a worker not to go before a process that takes all there is. The command of a keeper inherits it.
const OOM_SCORE: i32 = 100;

/// Forks; returns in the parent only. `newborns` are those of the same step.
pub(super) fn fork(
    supervisor: &Supervisor,
    newborns: &Newborns,
    seat: (Assignment, usize),
    channel: OwnedFd,
    parents_end: &OwnedFd,
) -> std::io::Result<Pid> {
    match process::fork()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => end(|| child(supervisor, newborns, seat, channel, parents_end)),
    }
}

/// A child's life; its value is the exit status.
fn child(
    supervisor: &Supervisor,
    newborns: &Newborns,
    (assignment, record): (Assignment, usize),
    channel: OwnedFd,
    parents_end: &OwnedFd,
) -> i32 {
    let program = &supervisor.pools[assignment.pool].program;
    // Where there is no /proc, or one that is read-only, all are equal before the kernel.
    let go_first = || drop(tine_os::privilege::raise_oom_score(OOM_SCORE));
    if let Way::Exec = program.way {
        go_first();
        return again::go(supervisor, &assignment, record, channel, parents_end);
    }
    tine_os::nursery::open();
    go_first();
    tine_os::fd::close_many(newborns.descriptors().chain([parents_end.as_raw_fd()]));
    let kit = Kit::inherited(supervisor, assignment, record, channel);
    match &program.way {
        Way::Command(producer) => keeper::keep(kit, producer),
        Way::Fork | Way::Exec => live(kit),
    }
}

/// Runs a child's life, and ends the process with its status.
pub(crate) fn end(life: impl FnOnce() -> i32) -> ! {
    let code = catch_unwind(AssertUnwindSafe(life)).unwrap_or(status::PANICKED);
    let _ = std::io::stdout().flush();
    process::exit_now(code)
}

//! Processes: making them, naming them by pidfd, signalling them, and learning how they ended.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::fmt;
use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process as sys;

use crate::signal::Signal;

/// A process's number. Once the process has been reaped, the number may become another's: hold a
/// [`pidfd`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(u32);

impl Pid {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// `None` for zero and for what does not fit a `pid_t`.
    #[must_use]
    pub const fn from_raw(number: u32) -> Option<Self> {
        match number {
            1..=0x7fff_ffff => Some(Self(number)),
            _ => None,
        }
    }

    fn from_kernel(number: libc::pid_t) -> Option<Self> {
        u32::try_from(number).ok().and_then(Self::from_raw)
    }

    fn for_kernel(self) -> libc::pid_t {
        self.0.cast_signed()
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// On which side of a [`fork`] we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// In the new process.
    Child,
    /// In the old one; here is the new one's number.
    Parent(Pid),
}

/// Where the kernel lists this process's threads.
const TASKS: &str = "/proc/self/task";
/// How long [`fork`] waits for a thread that is on its way out: `join` returns a little before the
/// kernel has taken the thread away.
const EXIT_GRACE: Duration = Duration::from_millis(10);

/// Makes a copy of this process.
///
/// Only of one that has a single thread: the child would get just the calling thread, and with it
/// every lock another one held, locked for ever. Open descriptors and shared mappings are the
/// parent's; alarms, and [`die_with_parent`], are not inherited (fork(2)).
///
/// Where threads cannot be counted, that there are none is the caller's to know; see [`thread_count`].
///
/// # Errors
/// `Other`, naming the other threads, if there are any; `EAGAIN` at the limit of processes; `ENOMEM`.
pub fn fork() -> io::Result<Forked> {
    if settled_thread_count() > 1 {
        let others = other_threads().unwrap_or_default().join(", ");
        let text =
            format!("cannot fork a process with more than one thread; beside this one: {others}");
        return Err(io::Error::other(text));
    }
    // SAFETY: there is no other thread (just counted, and only this one could have started one
    // since), so the child is a whole copy with no lock left held, and may run any code.
    match unsafe { libc::fork() } {
        0 => Ok(Forked::Child),
        pid => Pid::from_kernel(pid).map(Forked::Parent).ok_or_else(io::Error::last_os_error),
    }
}

fn settled_thread_count() -> usize {
    let mut give_up = None;
    loop {
        let count = thread_count().unwrap_or(1);
        // The clock is read only when there is something to wait for: forks come in bursts.
        if count <= 1
            || Instant::now() > *give_up.get_or_insert_with(|| Instant::now() + EXIT_GRACE)
        {
            return count;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// How many threads this process has, the calling one included.
///
/// One stat(2): the kernel adds the number of threads to the two links the directory has. Where `/proc` is not there the
/// kernel is asked in another way, and 2 means more than one.
///
/// # Errors
/// When `/proc` is not there, and a filter forbids unshare(2).
pub fn thread_count() -> io::Result<usize> {
    match count_tasks() {
        // Changes nothing, and is refused in a process with several threads (unshare(2)).
        // SAFETY: takes an integer.
        Err(error) => match unsafe { libc::unshare(libc::CLONE_THREAD) } {
            0 => Ok(1),
            _ if io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) => Ok(2),
            _ => Err(error),
        },
        count => count,
    }
}

fn count_tasks() -> io::Result<usize> {
    // The field's width differs between machines.
    #[allow(clippy::useless_conversion)]
    let links = u64::from(rustix::fs::stat(TASKS)?.st_nlink);
    match usize::try_from(links.saturating_sub(2)) {
        Ok(threads) if threads > 0 => Ok(threads),
        // Something that imitates /proc without this detail.
        _ => Ok(fs::read_dir(TASKS)?.count()),
    }
}

/// The names of all threads but this one. Those that end meanwhile are left out.
///
/// # Errors
/// When `/proc` is not there.
pub fn other_threads() -> io::Result<Vec<String>> {
    let own = rustix::thread::gettid().to_string();
    let mut names = Vec::new();
    for task in fs::read_dir(TASKS)? {
        let task = task?;
        if task.file_name() != *own {
            names.extend(
                fs::read_to_string(task.path().join("comm")).map(|name| name.trim_end().to_owned()),
            );
        }
    }
    Ok(names)
}

/// This process.
#[must_use]
pub fn pid() -> Pid {
    Pid(std::process::id())
}

/// This process's parent; `None` if that is outside this pid namespace. When the parent ends, it is
/// whoever adopts orphans.
#[must_use]
pub fn parent() -> Option<Pid> {
    let parent = sys::getppid()?;
    Pid::from_kernel(parent.as_raw_pid())
}

/// A descriptor that means this very process, whatever becomes of its number, and is readable once
/// it has ended. Close-on-exec.
///
/// # Errors
/// `ESRCH` if there is no such process, `EMFILE`, `ENFILE` (pidfd_open(2), Linux 5.3).
pub fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    let pid = sys::Pid::from_raw(pid.for_kernel()).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(sys::pidfd_open(pid, sys::PidfdFlags::empty())?)
}

/// Sends a signal to the process of a [`pidfd`].
///
/// # Errors
/// `ESRCH` if it has ended and been reaped, `EPERM` if it is not ours to signal
/// (pidfd_send_signal(2)).
pub fn send(pidfd: impl AsFd, signal: Signal) -> io::Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    let number = signal.number();
    // SAFETY: integers, and null for "as kill(2) would fill it in".
    let status = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd,
            number,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal to every process of the group that `leader` leads, or led.
///
/// # Errors
/// `ESRCH` if there is none, `EPERM` if none of them is ours to signal (kill(2)); `InvalidInput`
/// for process 1, whose group's number would mean "everybody" to the kernel.
pub fn signal_group(leader: Pid, signal: Signal) -> io::Result<()> {
    match leader.for_kernel() {
        1 => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the group of process 1 cannot be signalled",
        )),
        leader => kill(-leader, signal),
    }
}

/// Sends a signal to the process that has this number now. Prefer [`send`].
///
/// # Errors
/// `ESRCH` if there is none, `EPERM` if it is not ours to signal (kill(2)).
pub fn signal_pid(pid: Pid, signal: Signal) -> io::Result<()> {
    kill(pid.for_kernel(), signal)
}

fn kill(target: libc::pid_t, signal: Signal) -> io::Result<()> {
    // SAFETY: takes two integers.
    match unsafe { libc::kill(target, signal.number()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What has happened to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It ended with this status, 0 to 255.
    Exited(i32),
    /// A signal ended it.
    Signaled {
        /// Which.
        signal: Signal,
        /// Whether the kernel says that it dumped core.
        core: bool,
    },
    /// A signal stopped it.
    Stopped(Signal),
    /// It goes on after a stop.
    Continued,
}

/// How a child ended, and with this it is gone for good; `None` if it has not ended.
///
/// # Errors
/// `ECHILD` if it is not our child, or has been reaped: by somebody else, or, if this process was
/// started with CHLD ignored, by the kernel (waitid(2), `P_PIDFD`, Linux 5.4).
pub fn reap(pidfd: impl AsFd) -> io::Result<Option<Change>> {
    let id = pidfd.as_fd().as_raw_fd().cast_unsigned();
    Ok(wait(libc::P_PIDFD, id, libc::WEXITED)?.map(|(_, change)| change))
}

/// The same as [`reap`], by number: for orphans this process has adopted, which it has no pidfd of.
///
/// # Errors
/// `ECHILD` if it is not our child, or has been reaped.
pub fn reap_pid(pid: Pid) -> io::Result<Option<Change>> {
    Ok(wait(libc::P_PID, pid.0, libc::WEXITED)?.map(|(_, change)| change))
}

/// Whether a child has stopped or gone on since this was last asked; `None` if neither, or if it
/// has ended.
///
/// # Errors
/// None is to be expected.
pub fn stop_state(pidfd: impl AsFd) -> io::Result<Option<Change>> {
    let id = pidfd.as_fd().as_raw_fd().cast_unsigned();
    let news = unless_childless(wait(libc::P_PIDFD, id, libc::WSTOPPED | libc::WCONTINUED))?;
    Ok(news.map(|(_, change)| change))
}

/// Whether any child has news for [`stop_state`]. Only looks.
///
/// # Errors
/// None is to be expected.
pub fn any_stop_pending() -> io::Result<bool> {
    let options = libc::WSTOPPED | libc::WCONTINUED | libc::WNOWAIT;
    Ok(unless_childless(wait(libc::P_ALL, 0, options))?.is_some())
}

/// A child that has ended and waits to be reaped, if there is one. Only looks, so asking again
/// gives the same one until it is [reaped](reap_pid).
///
/// # Errors
/// None is to be expected.
pub fn peek_exited() -> io::Result<Option<Pid>> {
    let found = unless_childless(wait(libc::P_ALL, 0, libc::WEXITED | libc::WNOWAIT))?;
    Ok(found.map(|(pid, _)| pid))
}

/// waitid(2) without waiting.
fn wait(kind: libc::idtype_t, id: u32, options: c_int) -> io::Result<Option<(Pid, Change)>> {
    // SAFETY: integers and pointers that may be null, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    // SAFETY: room for one siginfo_t.
    if unsafe { libc::waitid(kind, id, &raw mut info, options | libc::WNOHANG) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: waitid has filled it in, or left the zero there, which means nobody.
    let Some(pid) = Pid::from_kernel(unsafe { info.si_pid() }) else {
        return Ok(None);
    };
    // SAFETY: waitid has filled it in.
    let status = unsafe { info.si_status() };
    // A tracer would see more than a signal in the higher bits.
    let signal = Signal::from_number(status & 0x7f);
    let change = match (info.si_code, signal) {
        (libc::CLD_EXITED, _) => Change::Exited(status),
        (libc::CLD_CONTINUED, _) => Change::Continued,
        (libc::CLD_KILLED, Some(signal)) => Change::Signaled { signal, core: false },
        (libc::CLD_DUMPED, Some(signal)) => Change::Signaled { signal, core: true },
        (libc::CLD_STOPPED | libc::CLD_TRAPPED, Some(signal)) => Change::Stopped(signal),
        (code, _) => return Err(io::Error::other(format!("waitid: code {code}, status {status}"))),
    };
    Ok(Some((pid, change)))
}

/// The kernel says `ECHILD` too if there are children, but none of which this kind of news could
/// come.
fn unless_childless<T>(answer: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match answer {
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        other => other,
    }
}

/// Ends this process now: no destructor runs, no `atexit` function, no buffer is flushed. The way
/// out of a forked child, in which all of those are the parent's. The status is `code`'s lowest
/// eight bits.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: takes an integer and ends the process; nothing can go wrong after it.
    unsafe { libc::_exit(code) }
}

/// Makes this process the leader of a process group of its own, so that it no longer gets the
/// terminal's Ctrl-C.
///
/// # Errors
/// `EPERM` if it leads a session (setpgid(2)).
pub fn lead_own_group() -> io::Result<()> {
    Ok(sys::setpgid(None, None)?)
}

/// The leader of a process's session, a shell mostly; `None` if that is outside this pid namespace, or there is no such
/// process (getsid(2)).
#[must_use]
pub fn session_leader(pid: Pid) -> Option<Pid> {
    // SAFETY: takes an integer. The answer is 0 for a leader that has no number here, and -1 for an error.
    Pid::from_kernel(unsafe { libc::getsid(pid.for_kernel()) })
}

/// Makes this process leave its terminal and lead a session, and a group, of its own.
///
/// # Errors
/// `EPERM` if it leads a group already (setsid(2)).
pub fn new_session() -> io::Result<()> {
    sys::setsid()?;
    Ok(())
}

/// Has the kernel send this process `signal` when its parent (more exactly: the thread that made
/// it) ends.
///
/// If the parent may have ended before this call, ask [`parent`] afterwards. The kernel forgets
/// this at a fork and at every change of user or group, so call it after dropping privileges
/// (prctl(2), `PR_SET_PDEATHSIG`).
///
/// # Errors
/// None is to be expected.
pub fn die_with_parent(signal: Signal) -> io::Result<()> {
    // SAFETY: this operation takes an integer.
    match unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, signal.number().cast_unsigned() as libc::c_ulong)
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes this process the one that adopts its descendants' orphans. Not inherited; kept by `exec`.
///
/// # Errors
/// None is to be expected (prctl(2), `PR_SET_CHILD_SUBREAPER`, Linux 3.4).
pub fn become_subreaper() -> io::Result<()> {
    Ok(sys::set_child_subreaper(Some(sys::getpid()))?)
}

/// Whether this process adopts its descendants' orphans because of [`become_subreaper`]. Process 1
/// does in any case, and is `false` here.
#[must_use]
pub fn is_subreaper() -> bool {
    matches!(sys::child_subreaper(), Ok(Some(_)))
}

/// The calling thread's name in `ps`, `top` and `/proc/PID/comm`, and, if it is the first thread,
/// the process's. Cut to the 15 bytes the kernel keeps (never through a character), or before a
/// zero byte.
///
/// # Errors
/// None is to be expected (prctl(2), `PR_SET_NAME`).
pub fn set_name(name: &str) -> io::Result<()> {
    let mut length = name.find('\0').unwrap_or(name.len()).min(15);
    while !name.is_char_boundary(length) {
        length -= 1;
    }
    let name = CString::new(&name[..length])?;
    Ok(rustix::thread::set_name(&name)?)
}

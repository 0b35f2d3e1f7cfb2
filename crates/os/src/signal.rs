//! Signals: their names, the mask, dispositions, reading them from a descriptor, and being told to
//! leave.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::ffi::c_int;
use std::fmt;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::ptr;
use std::str::FromStr;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use crate::event::EventFd;

/// The highest signal number on Linux (signal(7)).
const LAST: i32 = 64;

/// A signal's number, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(i32);

macro_rules! named {
    ($($name:ident $number:ident $what:literal)*) => {
        impl Signal {
            $(#[doc = concat!("`", stringify!($number), "`: ", $what, ".")]
            pub const $name: Self = Self(libc::$number);)*
            /// The standard signals.
            const NAMED: &[(Self, &str)] = &[$((Self::$name, stringify!($number))),*];
        }
    };
}

named! {
    HUP SIGHUP "the terminal is gone; for daemons, by custom, reload"
    INT SIGINT "Ctrl-C"
    QUIT SIGQUIT "Ctrl-\\"
    ILL SIGILL "no such instruction"
    TRAP SIGTRAP "a breakpoint"
    ABRT SIGABRT "abort(3)"
    BUS SIGBUS "an access to memory that is not there"
    FPE SIGFPE "an impossible calculation"
    KILL SIGKILL "the end; cannot be caught"
    USR1 SIGUSR1 "the program's own"
    SEGV SIGSEGV "an access to memory that is not its own"
    USR2 SIGUSR2 "the program's own"
    PIPE SIGPIPE "a write nobody will read"
    ALRM SIGALRM "alarm(2) went off"
    TERM SIGTERM "please leave"
    CHLD SIGCHLD "a child has ended, stopped or continued"
    CONT SIGCONT "continue after a stop"
    STOP SIGSTOP "stop; cannot be caught"
    TSTP SIGTSTP "Ctrl-Z"
    TTIN SIGTTIN "a background process reads from the terminal"
    TTOU SIGTTOU "a background process writes to the terminal"
    URG SIGURG "urgent data on a socket"
    XCPU SIGXCPU "over the limit of processor time"
    XFSZ SIGXFSZ "over the limit of a file's size"
    VTALRM SIGVTALRM "a timer of processor time went off"
    PROF SIGPROF "a profiling timer went off"
    WINCH SIGWINCH "the terminal's size has changed"
    IO SIGIO "a descriptor is ready"
    PWR SIGPWR "the power fails"
    SYS SIGSYS "a system call that does not exist or is forbidden"
}

impl Signal {
    /// The number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    /// `None` unless it is 1 to 64.
    #[must_use]
    pub const fn from_number(number: i32) -> Option<Self> {
        match number {
            1..=LAST => Some(Self(number)),
            _ => None,
        }
    }

    /// The name: `SIGTERM`; `SIGRTMIN+3` for a real-time signal; `SIG32` for one the C library
    /// keeps for itself.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        let named = Self::NAMED.iter().find(|(signal, _)| *signal == self);
        match (named, self.0 - libc::SIGRTMIN()) {
            (Some((_, name)), _) => Cow::Borrowed(name),
            (None, 0) => Cow::Borrowed("SIGRTMIN"),
            (None, over @ 1..) => Cow::Owned(format!("SIGRTMIN+{over}")),
            (None, _) => Cow::Owned(format!("SIG{}", self.0)),
        }
    }

    /// Whether a program gets this from its own fault: what a crash report is worth writing for.
    #[must_use]
    pub fn is_fatal_fault(self) -> bool {
        let faults =
            [Self::SEGV, Self::BUS, Self::ILL, Self::FPE, Self::ABRT, Self::SYS, Self::TRAP];
        faults.contains(&self)
    }

    fn all() -> impl Iterator<Item = Self> {
        (1..=LAST).map(Self)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

/// A word that is no signal's name or number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownSignal(String);

impl fmt::Display for UnknownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown signal {:?}", self.0)
    }
}

impl std::error::Error for UnknownSignal {}

/// Reads a name with or without `SIG`, in any case, or a number: `TERM`, `SIGTERM`, `term`, `15`,
/// `RTMIN+3`.
impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        let found = match bare.parse() {
            Ok(number) => Self::from_number(number),
            Err(_) => Self::all().find(|signal| &signal.name()[3..] == bare),
        };
        found.ok_or_else(|| UnknownSignal(text.to_owned()))
    }
}

/// Holds these signals back from the calling thread, beside those already held: they stay pending
/// until they are unblocked or read from a [`SignalFd`]. The mask is inherited by `fork` and kept
/// by `exec`.
///
/// # Errors
/// `EINVAL` for a signal the C library keeps for itself.
pub fn block(signals: &[Signal]) -> io::Result<()> {
    mask(libc::SIG_BLOCK, &set_of(signals)?)
}

/// Lets every signal through to the calling thread again.
///
/// # Errors
/// None is to be expected.
pub fn unblock_all() -> io::Result<()> {
    mask(libc::SIG_SETMASK, &set_of(&[])?)
}

fn mask(how: c_int, set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: a whole signal set, and no wish for the old one.
    match unsafe { libc::pthread_sigmask(how, set, ptr::null_mut()) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

fn set_of(signals: &[Signal]) -> io::Result<libc::sigset_t> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: room for one set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: sigemptyset has filled it in.
    let mut set = unsafe { set.assume_init() };
    for signal in signals {
        // SAFETY: a whole signal set; a number it has no place for is refused.
        check(unsafe { libc::sigaddset(&raw mut set, signal.0) })?;
    }
    Ok(set)
}

/// The kernel's own reaction to `signal` from now on.
///
/// # Errors
/// `EINVAL` for KILL and STOP.
pub fn set_default(signal: Signal) -> io::Result<()> {
    dispose(signal, libc::SIG_DFL, 0, &[])
}

/// `signal` is thrown away from now on. Inherited by `fork` and kept by `exec`. Ignoring CHLD also
/// makes the kernel reap every child itself, so don't.
///
/// # Errors
/// `EINVAL` for KILL and STOP.
pub fn ignore(signal: Signal) -> io::Result<()> {
    dispose(signal, libc::SIG_IGN, 0, &[])
}

/// `signal` does nothing from now on, by a handler that does nothing: unlike [`ignore`] that ends with
/// `exec`, so a program started from here has the signal at its default. System calls go on after it
/// (`SA_RESTART`), except after TTIN and TTOU: a background process's terminal access fails with `EINTR`
/// instead of being tried for ever.
///
/// # Errors
/// `EINVAL` for KILL and STOP.
pub fn disregard(signal: Signal) -> io::Result<()> {
    extern "C" fn nothing(_: c_int) {}
    let handler: extern "C" fn(c_int) = nothing;
    let flags = if matches!(signal, Signal::TTIN | Signal::TTOU) { 0 } else { libc::SA_RESTART };
    dispose(signal, handler as *const () as libc::sighandler_t, flags, &[])
}

/// Whether this process ignores the signal: as nohup(1) has it started with HUP ignored, and a shell without job control
/// its background programs with INT and QUIT.
#[must_use]
pub fn is_ignored(signal: Signal) -> bool {
    // SAFETY: integers and a pointer that may be null, for which zero is a value.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: null changes nothing, and there is room for the answer.
    let status = unsafe { libc::sigaction(signal.0, ptr::null(), &raw mut action) };
    status == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Every signal back to the kernel's own reaction: what a foreign program expects to start with.
/// That includes what Rust's runtime has set up: PIPE ignored, and the report of a stack overflow.
///
/// # Errors
/// None is to be expected: those that cannot be set are left out.
pub fn reset_all_dispositions() -> io::Result<()> {
    for signal in Signal::all() {
        match set_default(signal) {
            // KILL, STOP, and the two the C library keeps.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            other => other?,
        }
    }
    Ok(())
}

pub(crate) fn dispose(
    signal: Signal,
    handler: libc::sighandler_t,
    flags: c_int,
    held: &[Signal],
) -> io::Result<()> {
    // SAFETY: integers and a pointer that may be null, for which zero is a value.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    action.sa_mask = set_of(held)?;
    // SAFETY: a whole structure; the handler is SIG_DFL, SIG_IGN or one of this crate, each of them
    // async-signal-safe.
    check(unsafe { libc::sigaction(signal.0, &raw const action, ptr::null_mut()) })
}

fn check(status: c_int) -> io::Result<()> {
    match status {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Signals as something to read: signalfd(2). It is readable while one of its signals is pending.
///
/// The signals have to be [blocked](block) as well, in every thread, or they take their usual way.
/// After a `fork` a process reads its own signals from it, never its parent's; but an epoll
/// instance that was told of it before the fork goes on watching the parent's.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

/// A signal that was read, and where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalInfo {
    /// Which.
    pub signal: Signal,
    /// The sender, or for CHLD the child; 0 from the kernel or from outside this pid namespace.
    pub pid: u32,
    /// The sender's, or the child's, real user.
    pub uid: u32,
    /// How it was sent: `si_code` in sigaction(2), such as `SI_USER` (0) for kill(2).
    pub code: i32,
}

impl SignalInfo {
    /// Whether the kernel has sent it by itself, and no process by kill(2) (`SI_KERNEL`, sigaction(2)).
    #[must_use]
    pub fn is_from_kernel(&self) -> bool {
        self.code == libc::SI_KERNEL
    }
}

impl SignalFd {
    /// For these signals; close-on-exec and non-blocking.
    ///
    /// # Errors
    /// `EMFILE` or `ENFILE` (signalfd(2)), `EINVAL` for a signal the C library keeps for itself.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let set = set_of(signals)?;
        // SAFETY: a whole signal set; -1 asks for a new descriptor.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        check(fd)?;
        // SAFETY: new, so nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Takes one pending signal; `None` when there is none. Of several standard signals of one
    /// number that came before the read, there is one (signal(7)).
    #[must_use]
    pub fn read(&self) -> Option<SignalInfo> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        let length = rustix::io::read(&self.0, &mut info).ok()?;
        let mut fields = info[..length]
            .chunks_exact(4)
            .map(|field| u32::from_ne_bytes([field[0], field[1], field[2], field[3]]));
        // In this order (signalfd(2)): ssi_signo, ssi_errno, ssi_code, ssi_pid, ssi_uid.
        let mut next = || fields.next();
        let (number, _errno, code, pid, uid) = (next()?, next()?, next()?, next()?, next()?);
        let signal = Signal::from_number(number.cast_signed())?;
        Some(SignalInfo { signal, pid, uid, code: code.cast_signed() })
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What [`leave`] knows. A handler can be given nothing, so it is the process's.
static LEAVES: AtomicU32 = AtomicU32::new(0);
static LEAVE_EVENT: AtomicI32 = AtomicI32::new(-1);
static LEAVE_GRACE: AtomicU32 = AtomicU32::new(1);

/// From now on any of `signals` asks this process to leave: the first one adds to
/// [`leave_signals`], signals `event` and gives the process `grace` (in whole seconds, rounded up,
/// at least 1) before `SIGALRM` kills it, whatever its code is busy with; a second one ends it at
/// once with status 143 (what a shell shows for a death by TERM). [`cancel_alarm`] takes the
/// deadline back. System calls go on after it (`SA_RESTART`).
///
/// ALRM is set to its default here and unblocked. The caller unblocks `signals` when it is ready
/// for them. The count starts at zero again; the process keeps a descriptor of its own for `event`,
/// for its whole life.
///
/// # Errors
/// `EMFILE`; `EINVAL` for a signal that cannot be caught.
pub fn on_leave(event: &EventFd, grace: Duration, signals: &[Signal]) -> io::Result<()> {
    set_default(Signal::ALRM)?;
    mask(libc::SIG_UNBLOCK, &set_of(&[Signal::ALRM])?)?;
    // Leaked on purpose: the handler may run at any time, even after the caller's `event` is
    // dropped.
    let event = crate::fd::duplicate(event)?.into_raw_fd();
    LEAVE_EVENT.store(event, Ordering::SeqCst);
    LEAVE_GRACE.store(alarm_seconds(grace), Ordering::SeqCst);
    LEAVES.store(0, Ordering::SeqCst);
    let handler: extern "C" fn(c_int) = leave;
    let handler = handler as *const () as libc::sighandler_t;
    for &signal in signals {
        dispose(signal, handler, libc::SA_RESTART, signals)?;
    }
    Ok(())
}

/// How many signals to [leave](on_leave) this process has had: 0 or 1, for it does not live to see
/// more.
#[must_use]
pub fn leave_signals() -> u32 {
    LEAVES.load(Ordering::SeqCst)
}

/// The handler. It may interrupt anything, an allocation too, so it uses atomics and what
/// signal-safety(7) lists, and leaves errno as it found it.
extern "C" fn leave(_signal: c_int) {
    // SAFETY: always answers with the thread's errno.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: valid for as long as the thread lives, and only this thread's.
    let before = unsafe { *errno };
    if LEAVES.fetch_add(1, Ordering::SeqCst) > 0 {
        // SAFETY: async-signal-safe, and runs nothing of this process's any more.
        unsafe { libc::_exit(143) };
    }
    let one = 1_u64.to_ne_bytes();
    // SAFETY: eight bytes; the descriptor was leaked by `on_leave`, so is open.
    unsafe { libc::write(LEAVE_EVENT.load(Ordering::SeqCst), one.as_ptr().cast(), one.len()) };
    // SAFETY: takes an integer.
    unsafe { libc::alarm(LEAVE_GRACE.load(Ordering::SeqCst)) };
    // SAFETY: as for reading it.
    unsafe { *errno = before };
}

/// Takes back what [`arm_alarm`] or [`on_leave`] has armed; nothing happens if nothing has.
pub fn cancel_alarm() {
    // SAFETY: takes an integer; zero means none.
    unsafe { libc::alarm(0) };
}

/// Sends this process `SIGALRM` after `delay` (in whole seconds, rounded up, at least 1): death,
/// unless it catches or blocks it. A process has one alarm, so this replaces any other. A forked
/// child starts without one; `exec` keeps it (alarm(2)).
pub fn arm_alarm(delay: Duration) {
    // SAFETY: takes an integer.
    unsafe { libc::alarm(alarm_seconds(delay)) };
}

fn alarm_seconds(time: Duration) -> u32 {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

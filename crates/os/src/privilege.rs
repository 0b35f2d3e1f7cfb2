//! What a process may do: users, groups, capabilities, its root directory and its limits.
//!
//! Users and groups are set through the C library, which sets them for every thread of the process;
//! the kernel's own calls would set them for the calling one. The order that works is groups,
//! group, user: each of them needs the privilege that the last one gives up.
#![allow(unsafe_code)]

use std::io::{self, Write as _};
use std::path::Path;

use rustix::fs::{Gid, Mode, Uid};
use rustix::process as sys;

/// What setresuid(2) and its like take for "leave it as it is", so no user or group.
const NOBODY: u32 = u32::MAX;

/// Replaces the supplementary groups.
///
/// # Errors
/// `EPERM` without `CAP_SETGID`, or in a user namespace that denies it; `EINVAL` for more than
/// 65536 (setgroups(2)).
pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: as many groups at the pointer as are announced.
    check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })
}

/// Sets the real, effective and saved group, and looks whether they are set.
///
/// # Errors
/// `EPERM` without `CAP_SETGID` (setresgid(2)); `InvalidInput` for 4294967295, which is no group;
/// `PermissionDenied` if the kernel agreed and did not do it.
pub fn set_gid(gid: u32) -> io::Result<()> {
    valid(gid)?;
    // SAFETY: takes three integers.
    check(unsafe { libc::setresgid(gid, gid, gid) })?;
    let mut now = [NOBODY; 3];
    let [real, effective, saved] = &mut now;
    // SAFETY: room for three groups.
    check(unsafe { libc::getresgid(real, effective, saved) })?;
    expect(now == [gid; 3], || format!("the group is {now:?}, not {gid}, after it was set"))
}

/// Sets the real, effective and saved user, looks whether they are set, and, unless it is root,
/// whether the way back to root is closed.
///
/// # Errors
/// `EPERM` without `CAP_SETUID`; `EAGAIN` at the user's limit of processes (setresuid(2));
/// `InvalidInput` for 4294967295, which is no user; `PermissionDenied` if the kernel agreed and did
/// not do it, or if the process could become root again. It must not go on after an error: what it
/// is then is not known.
pub fn set_uid(uid: u32) -> io::Result<()> {
    valid(uid)?;
    // SAFETY: takes three integers.
    check(unsafe { libc::setresuid(uid, uid, uid) })?;
    let mut now = [NOBODY; 3];
    let [real, effective, saved] = &mut now;
    // SAFETY: room for three users.
    check(unsafe { libc::getresuid(real, effective, saved) })?;
    expect(now == [uid; 3], || format!("the user is {now:?}, not {uid}, after it was set"))?;
    // A capability kept by mistake (CAP_SETUID through ambient capabilities or securebits) shows
    // here.
    // SAFETY: takes three integers.
    let root_again = uid != 0 && unsafe { libc::setresuid(NOBODY, 0, NOBODY) } == 0;
    expect(!root_again, || format!("user {uid} could become root again"))
}

fn valid(id: u32) -> io::Result<()> {
    if id == NOBODY {
        let text = format!("{id} is not a user or group");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> io::Result<()> {
    if holds { Ok(()) } else { Err(io::Error::new(io::ErrorKind::PermissionDenied, otherwise())) }
}

fn check(status: libc::c_int) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The user whose rights this process has.
#[must_use]
pub fn effective_uid() -> u32 {
    sys::geteuid().as_raw()
}

/// The group whose rights this process has.
#[must_use]
pub fn effective_gid() -> u32 {
    sys::getegid().as_raw()
}

/// The supplementary groups, in the kernel's order. The effective group may be among them.
///
/// # Errors
/// None is to be expected (getgroups(2)).
pub fn current_groups() -> io::Result<Vec<u32>> {
    let groups = sys::getgroups()?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

/// From now on no `exec` gives the calling thread, its children, or theirs more rights: set-user-id
/// bits and file capabilities count for nothing. Cannot be undone (prctl(2),
/// `PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// None is to be expected.
pub fn no_new_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Empties the set of capabilities that survive an `exec` by a user other than root. That a user
/// other than root was started with such (systemd's `AmbientCapabilities=`) is the common way to
/// keep more than was meant.
///
/// # Errors
/// None is to be expected (prctl(2), `PR_CAP_AMBIENT`, Linux 4.3).
pub fn clear_ambient_capabilities() -> io::Result<()> {
    Ok(rustix::thread::clear_ambient_capability_set()?)
}

/// Makes `dir` this process's root directory, and the current one. Open descriptors still lead
/// outside.
///
/// # Errors
/// `EPERM` without `CAP_SYS_CHROOT`, or the path's (chroot(2)). If it is the second step that
/// fails, the process is left with a current directory outside its root, so must not go on.
pub fn chroot(dir: &Path) -> io::Result<()> {
    sys::chroot(dir)?;
    Ok(sys::chdir("/")?)
}

/// Makes `dir` the current directory.
///
/// # Errors
/// The path's (chdir(2)).
pub fn change_dir(dir: &Path) -> io::Result<()> {
    Ok(sys::chdir(dir)?)
}

/// Sets the permissions that new files of this process do not get (the lowest nine bits count), and
/// answers with those before (umask(2)).
pub fn umask(mode: u32) -> u32 {
    sys::umask(Mode::from_bits_truncate(mode & 0o777)).bits()
}

/// Changes a file's owner, its group, or both. Follows symbolic links.
///
/// # Errors
/// `EPERM` without `CAP_CHOWN` (chown(2)), the path's, or `InvalidInput` for 4294967295.
pub fn chown(path: &Path, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    uid.map_or(Ok(()), valid)?;
    gid.map_or(Ok(()), valid)?;
    Ok(rustix::fs::chown(path, uid.map(Uid::from_raw), gid.map(Gid::from_raw))?)
}

/// Changes a file's permissions (the lowest twelve bits count). Follows symbolic links.
///
/// # Errors
/// `EPERM` for somebody else's file (chmod(2)), or the path's.
pub fn chmod(path: &Path, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode & 0o7777))?)
}

/// Whether this process may dump core and be looked into by others of its user. The kernel turns it
/// off at a change of user or group, so a worker that is to dump core turns it on afterwards
/// (prctl(2), `PR_SET_DUMPABLE`).
///
/// # Errors
/// None is to be expected.
pub fn set_dumpable(on: bool) -> io::Result<()> {
    use sys::DumpableBehavior as Behavior;
    let behavior = if on { Behavior::Dumpable } else { Behavior::NotDumpable };
    Ok(sys::set_dumpable_behavior(behavior)?)
}

/// Something a process can be given a limit of: setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Descriptor numbers (`RLIMIT_NOFILE`): one above the highest.
    OpenFiles,
    /// A core file's size, in bytes (`RLIMIT_CORE`).
    Core,
    /// The address space, in bytes (`RLIMIT_AS`).
    AddressSpace,
    /// The user's processes and threads, all together (`RLIMIT_NPROC`).
    Processes,
    /// Processor time, in seconds; XCPU at the soft limit, KILL at the hard one (`RLIMIT_CPU`).
    Cpu,
    /// The size of a file this process writes, in bytes (`RLIMIT_FSIZE`).
    FileSize,
    /// The first thread's stack, in bytes (`RLIMIT_STACK`).
    Stack,
    /// Memory locked into RAM, in bytes (`RLIMIT_MEMLOCK`).
    LockedMemory,
    /// Data, heap and private writable mappings, in bytes (`RLIMIT_DATA`).
    Data,
}

impl Resource {
    /// The C libraries disagree on its type.
    #[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast)]
    fn number(self) -> i32 {
        (match self {
            Self::OpenFiles => libc::RLIMIT_NOFILE,
            Self::Core => libc::RLIMIT_CORE,
            Self::AddressSpace => libc::RLIMIT_AS,
            Self::Processes => libc::RLIMIT_NPROC,
            Self::Cpu => libc::RLIMIT_CPU,
            Self::FileSize => libc::RLIMIT_FSIZE,
            Self::Stack => libc::RLIMIT_STACK,
            Self::LockedMemory => libc::RLIMIT_MEMLOCK,
            Self::Data => libc::RLIMIT_DATA,
        }) as i32
    }
}

/// This process's limit: `(soft, hard)`. The soft one is in force, and may be raised up to the hard
/// one; `u64::MAX` is none.
///
/// # Errors
/// None is to be expected (getrlimit(2)), but from a filter that forbids the call.
pub fn limit(resource: Resource) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: room for the answer, and an integer of this meaning.
    match unsafe { libc::getrlimit(resource.number().cast_unsigned() as _, &raw mut limit) } {
        0 => Ok((limit.rlim_cur, limit.rlim_max)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets both limits; `u64::MAX` is none. Inherited by `fork`, kept by `exec`.
///
/// # Errors
/// `EPERM` for raising the hard one without `CAP_SYS_RESOURCE`, `EINVAL` for a soft one above it
/// (setrlimit(2)).
pub fn set_limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: a whole structure, and an integer of this meaning.
    match unsafe { libc::setrlimit(resource.number().cast_unsigned() as _, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Raises the soft limit of descriptors to the hard one, and answers with it. The soft one is low
/// by default for programs that use select(2), and nothing here does.
///
/// # Errors
/// None is to be expected.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = limit(Resource::OpenFiles)?;
    if soft < hard {
        set_limit(Resource::OpenFiles, hard, hard)?;
    }
    Ok(hard)
}

/// The largest value of `/proc/PID/oom_score_adj` (proc_pid_oom_score_adj(5)).
const OOM_SCORE_MAX: i32 = 1000;

/// Makes the kernel rather end this process than the one it was forked from, when memory is wanting: raises its
/// `oom_score_adj` by so much, 1000 at most. A unit is a thousandth of the memory there is. Inherited by `fork`, kept by
/// `exec`. Needs no privilege, but must come before a change of user, after which the file is root's. Allocates nothing.
///
/// # Errors
/// When `/proc` is not there, or not writable.
pub fn raise_oom_score(by: i32) -> io::Result<()> {
    use rustix::fs::{OFlags, open};
    let file = open("/proc/self/oom_score_adj", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    // The longest is "-1000" and an end of line.
    let mut bytes = [0; 16];
    let length = rustix::io::read(&file, &mut bytes)?;
    let text = std::str::from_utf8(&bytes[..length]).map_err(io::Error::other)?;
    let now: i32 = text.trim_end().parse().map_err(io::Error::other)?;
    let mut rest = &mut bytes[..];
    write!(rest, "{}", now.saturating_add(by).min(OOM_SCORE_MAX))?;
    let left = rest.len();
    let length = bytes.len() - left;
    rustix::io::write(&file, &bytes[..length])?;
    Ok(())
}

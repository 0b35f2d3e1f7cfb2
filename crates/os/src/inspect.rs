//! What `/proc` and the kernel's accounts say of a process: its memory, its processor time, and what it waits
//! for. Sources: proc_pid_statm(5), proc_pid_smaps(5), proc_pid_stat(5), proc_pid_wchan(5), getrusage(2),
//! and cgroup-v2 of the kernel's documentation.
//!
//! A process is named by its number here, as `/proc` does: ask only about children that are not reaped yet,
//! or where the answer is for eyes alone.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::Pid;

/// Functions of a kernel stack that are shown, at most.
const STACK_LINES: usize = 16;
/// Characters of a line of `/proc` that are shown, at most.
const LINE_CHARS: usize = 128;

/// A process's memory in bytes, as cheaply as it can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All of it that is in RAM.
    pub resident: u64,
    /// What of that belongs to no file: its private memory, and pages it still shares with the process it was
    /// forked from. So it is never less than what [`private_bytes`] says, the files' changed pages aside.
    pub anonymous: u64,
}

/// Reads `/proc/PID/statm`: some microseconds, and no lock of the process's.
///
/// # Errors
/// `ENOENT` if there is no such process, `InvalidData` for text that makes no sense.
pub fn memory(pid: Pid) -> io::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let mut pages = text.split(' ').skip(1).map(|word| word.trim_end().parse::<u64>().ok());
    let mut next = || pages.next().flatten().ok_or_else(|| nonsense("statm"));
    let (resident, shared) = (next()?, next()?);
    let page = rustix::param::page_size() as u64;
    let bytes = |pages: u64| pages.saturating_mul(page);
    Ok(Memory { resident: bytes(resident), anonymous: bytes(resident.saturating_sub(shared)) })
}

/// The memory that would come free with the process: pages no other has, in bytes.
///
/// From `/proc/PID/smaps_rollup`: the kernel walks all the process's pages, which takes about a millisecond
/// for every 100 MiB, and keeps it from mapping memory meanwhile.
///
/// # Errors
/// `ENOENT` if there is no such process, `EACCES` if this one may not look into it (ptrace(2)).
pub fn private_bytes(pid: Pid) -> io::Result<u64> {
    let text = smaps_rollup(pid)?;
    let fields = ["Private_Clean", "Private_Dirty", "Private_Hugetlb"];
    Ok(fields.iter().filter_map(|name| kib(&text, name)).fold(0, u64::saturating_add))
}

/// A process's proportional memory in bytes: its own pages, and its part of those it shares. Costs as much as
/// [`private_bytes`].
///
/// # Errors
/// As [`private_bytes`].
pub fn proportional_bytes(pid: Pid) -> io::Result<u64> {
    kib(&smaps_rollup(pid)?, "Pss").ok_or_else(|| nonsense("smaps_rollup"))
}

fn smaps_rollup(pid: Pid) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
}

/// `Name:   12 kB`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// A process's line in `/proc/PID/stat`, as far as it is of use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `R` running, `S` sleeping, `D` in the kernel and not to be disturbed, `T` stopped, `Z` ended.
    pub state: char,
    /// The number of its parent; 0 for one outside this pid namespace.
    pub parent: u32,
    /// Processor time of all its threads, of those that have ended too.
    pub cpu: Duration,
}

/// Reads `/proc/PID/stat`. Good for a child that has ended and is not reaped, too.
///
/// # Errors
/// `ENOENT` if there is no such process, `InvalidData` for text that makes no sense.
pub fn stat(pid: Pid) -> io::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    read_stat(&text).ok_or_else(|| nonsense("stat"))
}

fn read_stat(text: &str) -> Option<Stat> {
    // The name before may hold anything, parentheses too.
    let (_, rest) = text.rsplit_once(") ")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let number = |index: usize| words.get(index)?.parse::<u64>().ok();
    let ticks = number(11)?.checked_add(number(12)?)?;
    let rate = rustix::param::clock_ticks_per_second().max(1);
    let cpu = Duration::from_millis(ticks.saturating_mul(1000) / rate);
    let parent = u32::try_from(number(1)?).ok()?;
    Some(Stat { state: words.first()?.chars().next()?, parent, cpu })
}

/// What a child that has ended, and is not reaped yet, has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, with that of the children it has reaped.
    pub cpu: Duration,
    /// The most memory it ever had in RAM, in bytes.
    pub peak: u64,
}

/// The account of a child that has ended; `None` if it has not. Only looks: it is still to be reaped.
///
/// # Errors
/// `ECHILD` if it is not our child, or has been reaped (waitid(2), `P_PIDFD`, Linux 5.4).
pub fn usage_at_end(pidfd: impl AsFd) -> io::Result<Option<Usage>> {
    // SAFETY: integers and pointers that may be null, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    // SAFETY: integers only, for which zero is a value.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: room for one siginfo_t and one rusage: the fifth argument is the system call's, the C library
    // leaves it out (waitid(2)).
    let status = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PIDFD,
            pidfd.as_fd().as_raw_fd(),
            &raw mut info,
            options,
            &raw mut usage,
        )
    };
    if status == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: waitid has filled it in, or left the zero there, which means nobody.
    if unsafe { info.si_pid() } == 0 {
        return Ok(None);
    }
    let peak = u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024);
    Ok(Some(Usage { cpu: time(usage.ru_utime) + time(usage.ru_stime), peak }))
}

fn time(value: libc::timeval) -> Duration {
    let seconds = u64::try_from(value.tv_sec).unwrap_or(0);
    let micros = u64::try_from(value.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

/// Where in the kernel a process is; each part is empty where this process may not ask (ptrace(2); the stack
/// takes `CAP_SYS_ADMIN`) or the kernel does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// The function it sleeps in; empty while it runs.
    pub wait: String,
    /// Its system call's number and arguments, stack and instruction pointer; or `running`.
    pub syscall: String,
    /// The kernel's functions it is in, the innermost first.
    pub stack: Vec<String>,
}

/// Looks at the process's first thread.
#[must_use]
pub fn whereabouts(pid: Pid) -> Whereabouts {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let line = |text: &str| text.trim().chars().take(LINE_CHARS).collect::<String>();
    // `[<0>] hrtimer_nanosleep+0x9c/0x130`
    let function = |text: &str| line(text.rsplit(' ').next().unwrap_or(text));
    let wait = line(&read("wchan"));
    Whereabouts {
        wait: if wait == "0" { String::new() } else { wait },
        syscall: line(&read("syscall")),
        stack: read("stack").lines().take(STACK_LINES).map(function).collect(),
    }
}

/// A process's working directory, as seen from this one's root.
///
/// # Errors
/// `EACCES` if this process may not look into it, `ENOENT` if it has ended.
pub fn working_directory(pid: Pid) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd"))
}

/// Where the kernel writes cores, from `/proc/sys/kernel/core_pattern`, and whether it appends the pid to a
/// name that does not hold it (`core_uses_pid`; core(5)).
///
/// # Errors
/// When `/proc` is not there.
pub fn core_pattern() -> io::Result<(String, bool)> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
    let uses_pid = fs::read_to_string("/proc/sys/kernel/core_uses_pid")?;
    Ok((pattern.trim_end().to_owned(), uses_pid.trim_end() != "0"))
}

/// The file in which the kernel counts the processes it killed for want of memory in this process's cgroup,
/// those below included: `memory.events` of version 2, `memory.oom_control` of version 1. Where there is none, in the
/// root cgroup above all, `/proc/vmstat`, which counts those of the whole machine. `None` where nothing counts.
#[must_use]
pub fn oom_file() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let files = oom_files(&groups).into_iter().chain([PathBuf::from("/proc/vmstat")]);
    files.into_iter().find(|path| oom_kills(path).is_some())
}

/// `0::/a/b` is a line of version 2, `4:memory:/a/b` one of version 1 (cgroups(7)).
fn oom_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let group = group.trim_start_matches('/');
        let at = |mount: &str, file: &str| Path::new(mount).join(group).join(file);
        if controllers.is_empty() {
            files.push(at("/sys/fs/cgroup", "memory.events"));
        } else if controllers.split(',').any(|name| name == "memory") {
            files.push(at("/sys/fs/cgroup/memory", "memory.oom_control"));
        }
    }
    files
}

/// How many processes [that file](oom_file) says were killed; `None` if it does not say.
#[must_use]
pub fn oom_kills(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

fn nonsense(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("/proc/PID/{file} is not understood"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::pid;

    #[test]
    fn memory_of_ones_own_shows_in_every_account() {
        const BYTES: u64 = 32 << 20;
        let before = (memory(pid()).unwrap(), private_bytes(pid()).unwrap());
        let ballast = vec![1_u8; BYTES as usize];
        let after = (memory(pid()).unwrap(), private_bytes(pid()).unwrap());
        let most = BYTES * 9 / 10;
        assert!(after.0.resident - before.0.resident > most, "{before:?} {after:?}");
        assert!(after.0.anonymous - before.0.anonymous > most, "{before:?} {after:?}");
        assert!(after.1 - before.1 > most, "{before:?} {after:?}");
        assert!(proportional_bytes(pid()).unwrap() > most);
        drop(ballast);
    }

    #[test]
    fn a_name_can_hold_anything() {
        let text = "7 (a) R 9 (b) S 1 7 7 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 1 0 9 9 9";
        let stat = read_stat(text).unwrap();
        assert_eq!((stat.state, stat.parent, stat.cpu), ('S', 1, Duration::from_secs(3)));
        assert_eq!(read_stat("7 (a) S 1"), None);
        let own = super::stat(pid()).unwrap();
        assert_eq!(Some(own.parent), crate::process::parent().map(Pid::get));
    }

    #[test]
    fn a_sleeper_is_found_asleep() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(child.id()).unwrap();
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while !stat(pid).is_ok_and(|stat| stat.state == 'S') {
            assert!(std::time::Instant::now() < end, "it never sleeps");
            std::thread::yield_now();
        }
        assert!(whereabouts(pid).syscall != "running");
        assert_eq!(working_directory(pid).unwrap(), std::env::current_dir().unwrap());
        child.kill().unwrap();
        let pidfd = crate::process::pidfd(pid).unwrap();
        crate::poll::readable(&pidfd, Some(Duration::from_secs(10))).unwrap();
        let usage = usage_at_end(&pidfd).unwrap().unwrap();
        assert!(usage.peak > 0 && usage.cpu < Duration::from_secs(10), "{usage:?}");
        assert!(usage_at_end(&pidfd).unwrap().is_some(), "to look takes nothing away");
        child.wait().unwrap();
        assert!(usage_at_end(&pidfd).is_err());
    }

    #[test]
    fn kills_for_want_of_memory_are_counted_by_either_version_of_cgroups() {
        let files = oom_files("9:name=x:/\n4:cpu,memory:/a/b\n0::/c\nrubbish\n");
        let wanted =
            ["/sys/fs/cgroup/memory/a/b/memory.oom_control", "/sys/fs/cgroup/c/memory.events"];
        assert_eq!(files, wanted.map(PathBuf::from));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("memory.events");
        for (text, count) in [
            ("low 0\noom 4\noom_kill 3\noom_group_kill 0\n", Some(3)),
            ("oom_kill_disable 0\nunder_oom 0\noom_kill 12\n", Some(12)),
            ("oom_kill_disable 0\n", None),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(oom_kills(&file), count, "{text}");
        }
    }
}

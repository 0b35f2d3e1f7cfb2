//! Looking at processes through `/proc`, and signalling them by number. Sources: proc(5) and the
//! pages it refers to.
//!
//! Functions that return a plain value panic, naming the file, when the process does not exist (or
//! is another user's).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::raw_pid;

mod accounts;

pub use accounts::{family_cpu_nanos, family_pss_kib};

/// What `/proc/PID/status` says (proc_pid_status(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The command name, 15 bytes at most.
    pub name: String,
    /// `R` running, `S` sleeping, `D` in the kernel, `T` stopped, `t` traced, `Z` zombie, `X` dead.
    pub state: char,
    /// The parent.
    pub ppid: u32,
    /// Number of threads.
    pub threads: usize,
    /// User ids: real, effective, saved, file system.
    pub uid: [u32; 4],
    /// Group ids: real, effective, saved, file system.
    pub gid: [u32; 4],
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Resident memory, KiB; 0 for a zombie.
    pub vm_rss_kib: u64,
    /// Whether an exec can no longer give privileges (prctl(2), `PR_SET_NO_NEW_PRIVS`).
    pub no_new_privs: bool,
    /// Blocked signals, bit N-1 for signal N (the main thread's).
    pub sig_blocked: u64,
    /// Ignored signals, bit N-1 for signal N.
    pub sig_ignored: u64,
    /// Caught signals, bit N-1 for signal N.
    pub sig_caught: u64,
    /// Permitted capabilities, bit N for capability N.
    pub cap_permitted: u64,
    /// Effective capabilities, bit N for capability N.
    pub cap_effective: u64,
}

impl Status {
    /// Whether signal `sig` is ignored.
    pub fn ignores(&self, sig: i32) -> bool {
        has(self.sig_ignored, sig)
    }

    /// Whether signal `sig` has a handler.
    pub fn catches(&self, sig: i32) -> bool {
        has(self.sig_caught, sig)
    }

    /// Whether signal `sig` is blocked (in the main thread).
    pub fn blocks(&self, sig: i32) -> bool {
        has(self.sig_blocked, sig)
    }
}

fn has(mask: u64, sig: i32) -> bool {
    mask & (1 << (sig - 1)) != 0
}

/// Sends signal `sig` to process `pid`; whether there was such a process.
///
/// # Panics
/// When `sig` is no named signal (real-time ones are not), or the test may not signal that process.
#[track_caller]
pub fn signal(pid: u32, sig: i32) -> bool {
    match kill_process(self::pid(pid), named(sig)) {
        Ok(()) => true,
        Err(Errno::SRCH) => false,
        Err(error) => panic!("kill({pid}, {sig}): {error}"),
    }
}

/// The status of `pid`; `None` if there is no such process.
pub fn try_status(pid: u32) -> Option<Status> {
    parse_status(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The status of `pid`.
#[track_caller]
pub fn status(pid: u32) -> Status {
    parse_status(&read(pid, "status"))
        .unwrap_or_else(|| panic!("/proc/{pid}/status is not understood"))
}

fn parse_status(text: &str) -> Option<Status> {
    let field = |name| field(text, name);
    let mask = |name| u64::from_str_radix(field(name)?, 16).ok();
    Some(Status {
        name: field("Name")?.to_owned(),
        state: field("State")?.chars().next()?,
        ppid: field("PPid")?.parse().ok()?,
        threads: field("Threads")?.parse().ok()?,
        uid: numbers(field("Uid")?).try_into().ok()?,
        gid: numbers(field("Gid")?).try_into().ok()?,
        groups: numbers(field("Groups")?),
        vm_rss_kib: field("VmRSS").map_or(0, leading_number),
        no_new_privs: field("NoNewPrivs")? == "1",
        sig_blocked: mask("SigBlk")?,
        sig_ignored: mask("SigIgn")?,
        sig_caught: mask("SigCgt")?,
        cap_permitted: mask("CapPrm")?,
        cap_effective: mask("CapEff")?,
    })
}

/// The value after `name:` in a file of such lines.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn leading_number(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Proportional memory of `pid` in KiB: its own pages and its share of those it shares
/// (`/proc/PID/smaps_rollup`, `Pss`).
#[track_caller]
pub fn pss_kib(pid: u32) -> u64 {
    memory(pid, "Pss")
}

/// Memory of `pid` in KiB that is no file's, whoever shares it: what other processes do does not change it
/// (`/proc/PID/smaps_rollup`, `Anonymous`).
#[track_caller]
pub fn anonymous_kib(pid: u32) -> u64 {
    memory(pid, "Anonymous")
}

#[track_caller]
fn memory(pid: u32, name: &str) -> u64 {
    let text = read(pid, "smaps_rollup");
    field(&text, name)
        .map(leading_number)
        .unwrap_or_else(|| panic!("/proc/{pid}/smaps_rollup has no {name}"))
}

/// The open descriptors of `pid`, each with what it is open on (`socket:[123]`, `/dev/null`), in
/// order.
#[track_caller]
pub fn open_fds(pid: u32) -> Vec<(i32, String)> {
    let directory = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let mut fds: Vec<(i32, String)> = entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            // One closed since the directory was read has no target any more.
            let target = fs::read_link(entry.path()).ok()?;
            Some((number, target.to_string_lossy().into_owned()))
        })
        .collect();
    fds.sort_unstable();
    fds
}

/// Time `pid` has spent on a CPU, all its living threads together, in nanoseconds
/// (`/proc/PID/task/*/schedstat`, first number).
#[track_caller]
pub fn cpu_nanos(pid: u32) -> u64 {
    tasks(pid, "schedstat").iter().map(|text| leading_number(text)).sum()
}

/// How often the living threads of `pid` gave up the CPU to wait (`voluntary_ctxt_switches`): a
/// sleeping process has no new ones.
#[track_caller]
pub fn voluntary_switches(pid: u32) -> u64 {
    tasks(pid, "status")
        .iter()
        .filter_map(|text| field(text, "voluntary_ctxt_switches"))
        .map(leading_number)
        .sum()
}

/// The file `name` of every thread of `pid`.
#[track_caller]
fn tasks(pid: u32, name: &str) -> Vec<String> {
    let directory = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory}: {error}"));
    entries.flatten().filter_map(|entry| fs::read_to_string(entry.path().join(name)).ok()).collect()
}

/// How many TCP sockets listen on `port`, IPv4 and IPv6 together, in the test's network namespace
/// (`/proc/net/tcp`, state 0A). Several with `SO_REUSEPORT`.
///
/// A process that another thread of the test is just starting holds, until its exec, a copy of
/// whatever the test has open: so wait for the test's own sockets to be gone, do not assert it.
pub fn listeners_on(port: u16) -> usize {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"]
        .map(|path| fs::read_to_string(path).unwrap_or_default());
    let wanted = format!(":{port:04X}");
    let listens = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.len() > 3 && words[1].ends_with(&wanted) && words[3] == "0A"
    };
    tables.iter().map(|table| table.lines().skip(1).filter(listens).count()).sum()
}

/// The resource limits of `pid`, soft and hard, `None` for unlimited, by the names of
/// `/proc/PID/limits`, e.g. `Max open files`.
#[track_caller]
pub fn limits(pid: u32) -> BTreeMap<String, (Option<u64>, Option<u64>)> {
    parse_limits(&read(pid, "limits"))
}

fn parse_limits(text: &str) -> BTreeMap<String, (Option<u64>, Option<u64>)> {
    let row = |line: &str| {
        // The name has spaces in it, and a column of its own, 25 wide and one apart.
        let (name, rest) = line.split_at_checked(26)?;
        let mut values = rest.split_whitespace().map(|word| word.parse().ok());
        Some((name.trim().to_owned(), (values.next()?, values.next()?)))
    };
    text.lines().skip(1).filter_map(row).collect()
}

/// Working directory and root directory of `pid`.
#[track_caller]
pub fn cwd_root(pid: u32) -> (PathBuf, PathBuf) {
    let link = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_link(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    (link("cwd"), link("root"))
}

/// The living direct children of `pid` (zombies are not living), in order of their numbers.
pub fn children(pid: u32) -> Vec<u32> {
    snapshot()
        .iter()
        .filter(|entry| entry.ppid == pid && entry.runs())
        .map(|entry| entry.pid)
        .collect()
}

/// The living children of `pid`, their children, and so on, in order of their numbers. An orphan is
/// no longer among them.
pub fn descendants(pid: u32) -> Vec<u32> {
    let table = snapshot();
    let mut family = BTreeSet::from([pid]);
    // A child can have a smaller number than its parent: so until nobody is added.
    loop {
        let before = family.len();
        family.extend(
            table
                .iter()
                .filter(|entry| family.contains(&entry.ppid))
                .map(|entry| entry.pid)
                .collect::<Vec<_>>(),
        );
        if family.len() == before {
            break;
        }
    }
    table
        .iter()
        .filter(|entry| entry.pid != pid && family.contains(&entry.pid) && entry.runs())
        .map(|e| e.pid)
        .collect()
}

/// One process in the table: what `/proc/PID/stat` says of its relations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) pid: u32,
    pub(crate) ppid: u32,
    pub(crate) group: u32,
    pub(crate) session: u32,
    /// Clock ticks since boot: with the number, the identity of a process.
    pub(crate) started: u64,
    state: char,
}

impl Entry {
    /// Neither a zombie nor dead.
    pub(crate) fn runs(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

/// Process `number` in the table.
pub(crate) fn entry(number: u32) -> Option<Entry> {
    parse_stat(number, &fs::read_to_string(format!("/proc/{number}/stat")).ok()?)
}

/// Every process, in order of numbers.
pub(crate) fn snapshot() -> Vec<Entry> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let mut numbers: Vec<u32> = entries.flatten().filter_map(number).collect();
    numbers.sort_unstable();
    numbers.into_iter().filter_map(entry).collect()
}

fn parse_stat(pid: u32, text: &str) -> Option<Entry> {
    // The name stands in parentheses and may itself have some in it.
    let (_, rest) = text.rsplit_once(") ")?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    Some(Entry {
        pid,
        state: words.first()?.chars().next()?,
        ppid: words.get(1)?.parse().ok()?,
        group: words.get(2)?.parse().ok()?,
        session: words.get(3)?.parse().ok()?,
        started: words.get(19)?.parse().ok()?,
    })
}

/// `number` for the calls that take a [`Pid`].
#[track_caller]
pub(crate) fn pid(number: u32) -> Pid {
    raw_pid(number).unwrap_or_else(|| panic!("{number} is no process number"))
}

#[track_caller]
pub(crate) fn named(sig: i32) -> Signal {
    Signal::from_named_raw(sig).unwrap_or_else(|| panic!("{sig} is no named signal"))
}

#[track_caller]
fn read(pid: u32, name: &str) -> String {
    let path = format!("/proc/{pid}/{name}");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::TcpListener;
    use std::process;

    use super::*;
    use crate::{DEADLINE, wait_until};

    #[test]
    fn the_test_itself_is_seen_as_it_is() {
        let me = process::id();
        let status = status(me);
        assert!(!matches!(status.state, 'T' | 'Z'), "{status:?}");
        assert_eq!(status.uid[1], rustix::process::geteuid().as_raw());
        assert!(status.threads >= 2 && status.vm_rss_kib > 0, "{status:?}");
        assert!(status.ignores(libc::SIGPIPE) && !status.catches(libc::SIGTERM), "{status:?}");
        assert!(Status { sig_blocked: 1 << 14, ..status }.blocks(libc::SIGTERM));
        assert!(pss_kib(me) > 0 && cpu_nanos(me) > 0);
        assert!(voluntary_switches(me) < u64::MAX);
        assert_eq!(cwd_root(me).0, std::env::current_dir().expect("a directory"));
        assert!(limits(me)["Max open files"].0.is_some());
    }

    #[test]
    fn a_listening_socket_is_counted_and_seen_among_the_descriptors() -> io::Result<()> {
        let socket = TcpListener::bind("127.0.0.1:0")?;
        let port = socket.local_addr()?.port();
        assert_eq!(listeners_on(port), 1);
        assert!(open_fds(process::id()).iter().any(|(_, target)| target.starts_with("socket:[")));
        drop(socket);
        wait_until("nobody listens", DEADLINE, || listeners_on(port) == 0);
        Ok(())
    }

    #[test]
    fn names_with_spaces_and_parentheses_do_not_confuse() {
        let rest = "S 7 8 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0";
        let entry = parse_stat(5, &format!("5 (a ) (b) {rest}")).expect("well formed");
        assert_eq!((entry.ppid, entry.group, entry.session, entry.started), (7, 8, 9, 4711));
        let table = parse_limits(
            "Limit\nMax open files            1024                 unlimited            files\n",
        );
        assert_eq!(table["Max open files"], (Some(1024), None));
    }
}

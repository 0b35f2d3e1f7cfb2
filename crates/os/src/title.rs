//! A process's title: what `ps` shows in place of its command line.
//!
//! The kernel is told of another place where the command line stands (prctl(2), `PR_SET_MM_MAP`), so a title may be
//! longer than the arguments were, arguments and environment stay where they are, and nothing has to be done
//! again after a fork.
#![allow(unsafe_code)]

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::nursery::gather;

/// Bytes of a title, the zero at its end included.
const ROOM: usize = 512;
/// Where titles stand: at the same address in every forked process, and each has its own. Of the heap, because
/// the kernel shows no command line out of a mapped file, which a static may be in (`FOLL_ANON`,
/// `fs/proc/base.c`); and never freed.
static TEXT: OnceLock<&[AtomicU8]> = OnceLock::new();
/// How the process was laid out when it was first asked for.
static FIRST: OnceLock<Map> = OnceLock::new();

/// `struct prctl_mm_map` (linux/prctl.h): addresses in this process.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Map {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    /// 0: stays as it is.
    auxv: u64,
    auxv_size: u32,
    /// -1: stays as it is.
    exe_fd: u32,
}

/// Shows this title, cut to 511 bytes (never through a character) or before a zero byte. Two system calls,
/// after the first time. Call it while the process has one thread: another one's heap may grow meanwhile.
///
/// # Errors
/// `EINVAL` from a kernel built without `CONFIG_CHECKPOINT_RESTORE`, `EPERM` where a filter forbids it: the
/// process is shown by its arguments, then.
pub fn set(title: &str) -> io::Result<()> {
    let first = first()?;
    let mut length = title.find('\0').unwrap_or(title.len()).min(ROOM - 1);
    while !title.is_char_boundary(length) {
        length -= 1;
    }
    let text =
        TEXT.get_or_init(|| gather(|| Box::leak(Box::new([const { AtomicU8::new(0) }; ROOM]))));
    for (place, byte) in text.iter().zip(title.as_bytes()[..length].iter().chain(&[0])) {
        place.store(*byte, Relaxed);
    }
    let start = text.as_ptr() as u64;
    tell(Map { arg_start: start, arg_end: start + length as u64 + 1, ..first })
}

/// Shows the arguments again.
///
/// # Errors
/// As [`set`].
pub fn restore() -> io::Result<()> {
    FIRST.get().map_or(Ok(()), |first| tell(*first))
}

fn first() -> io::Result<Map> {
    if let Some(first) = FIRST.get() {
        return Ok(*first);
    }
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let map = parse(&stat).ok_or_else(|| io::Error::other("/proc/self/stat lacks addresses"))?;
    Ok(*FIRST.get_or_init(|| map))
}

/// Reads proc_pid_stat(5). The name in brackets may contain anything.
fn parse(stat: &str) -> Option<Map> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // The first one after the name is the third.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Map {
        start_code: field(26)?,
        end_code: field(27)?,
        start_stack: field(28)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        brk: 0,
        arg_start: field(48)?,
        arg_end: field(49)?,
        env_start: field(50)?,
        env_end: field(51)?,
        auxv: 0,
        auxv_size: 0,
        exe_fd: u32::MAX,
    })
}

fn tell(map: Map) -> io::Result<()> {
    // SAFETY: brk(2) with 0 changes nothing, and answers with the heap's end.
    let brk = unsafe { libc::syscall(libc::SYS_brk, 0) };
    let map = Map { brk: brk.cast_unsigned(), ..map };
    // SAFETY: a whole structure of the size that is given. It differs from what the kernel has in nothing
    // but where the command line stands, and there it names memory that is never freed: `TEXT`, or what
    // the process was started with.
    let status = unsafe {
        libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP, &raw const map, size_of::<Map>(), 0)
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        let numbers: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let map = parse(&format!("1 (a) b) c) S {}", numbers.join(" "))).expect("addresses");
        assert_eq!((map.start_code, map.arg_start, map.env_end), (26, 48, 51));
        assert!(parse("1 (a) S 4 5").is_none());
    }
}

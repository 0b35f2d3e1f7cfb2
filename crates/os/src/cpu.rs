//! Processors: which ones this process may use, and staying on one of them.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The numbers of the processors that this thread may use, in order (sched_getaffinity(2)).
///
/// # Errors
/// `EINVAL` on a machine with more than 1024.
pub fn allowed() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
}

/// Keeps this thread, and those it starts, on one processor (sched_setaffinity(2)).
///
/// # Errors
/// `EINVAL` if there is none of this number, or this process may not use it (a cpuset).
pub fn stay_on(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_where_it_is_told_to() {
        std::thread::spawn(|| {
            let last = *allowed().unwrap().last().expect("at least one");
            stay_on(last).unwrap();
            assert_eq!(allowed().unwrap(), [last]);
            assert!(stay_on(1023).is_err() || last == 1023);
            assert!(stay_on(usize::MAX).is_err());
        })
        .join()
        .unwrap();
    }
}

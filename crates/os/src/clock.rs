//! The one clock everything is measured with.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on `CLOCK_MONOTONIC`: never goes back, the same for every process of one boot (so
/// that two processes can compare stamps in shared memory), and stands still while the machine is
/// suspended.
///
/// Cannot fail: the clock always exists on Linux (clock_gettime(2)). 64 bits last for 584 years.
#[must_use]
pub fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::monotonic;

    #[test]
    fn time_does_not_go_back() {
        let first = monotonic();
        assert!(first > 0);
        assert!(monotonic() >= first);
    }
}

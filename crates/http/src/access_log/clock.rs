//! The time of a request as text, made once a second.

use std::ops::Range;
use std::time::{Duration, UNIX_EPOCH};

use crate::date::Wall;

/// A wall clock, and its texts of one second, in UTC.
#[derive(Debug)]
pub(super) struct Clock {
    wall: Wall,
    /// The texts are those of these monotonic nanoseconds.
    shows: Range<u64>,
    second: u64,
    common: String,
    iso: String,
}

/// The names of RFC 9110, section 5.6.7.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Clock {
    pub(super) fn new() -> Self {
        let (wall, common, iso) = (Wall::new(), String::new(), String::new());
        let mut clock = Self { wall, shows: 0..0, second: 0, common, iso };
        clock.make(0);
        clock
    }

    /// The time since 1970 at this monotonic nanosecond.
    pub(super) fn at(&mut self, now: u64) -> Duration {
        self.wall.at(now)
    }

    /// That monotonic nanosecond as Apache's `%t`: `[21/Nov/2026:07:00:36 +0000]`.
    pub(super) fn common(&mut self, now: u64) -> &str {
        self.look(now);
        &self.common
    }

    /// The same as in RFC 3339, up to the seconds: `2026-11-21T07:00:36`.
    pub(super) fn iso(&mut self, now: u64) -> &str {
        self.look(now);
        &self.iso
    }

    /// Nearly every request comes in the second of the one before.
    fn look(&mut self, now: u64) {
        if self.shows.contains(&now) {
            return;
        }
        let time = self.at(now);
        if time.as_secs() != self.second {
            self.make(time.as_secs());
        }
        self.shows = self.wall.shows(time, now);
    }

    fn make(&mut self, second: u64) {
        let time = UNIX_EPOCH + Duration::from_secs(second);
        let mut iso = humantime::format_rfc3339_seconds(time).to_string();
        iso.truncate(iso.len() - 1);
        let (date, clock) = iso.split_once('T').unwrap_or(("1970-01-01", "00:00:00"));
        let mut parts = date.split('-');
        let mut part = || parts.next().unwrap_or_default();
        let (year, month, day) = (part(), part(), part());
        let month = month.parse().ok().and_then(|month: usize| MONTHS.get(month - 1));
        self.common = format!("[{day}/{}/{year}:{clock} +0000]", month.unwrap_or(&"Jan"));
        self.iso = iso;
        self.second = second;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::SECOND;

    #[test]
    fn times_are_those_of_the_calendar() {
        let mut clock = Clock::new();
        for (seconds, common, iso) in [
            (0, "[01/Jan/1970:00:00:00 +0000]", "1970-01-01T00:00:00"),
            (951_782_400, "[29/Feb/2000:00:00:00 +0000]", "2000-02-29T00:00:00"),
            (951_782_401, "[29/Feb/2000:00:00:01 +0000]", "2000-02-29T00:00:01"),
            (1_795_244_436, "[21/Nov/2026:07:00:36 +0000]", "2026-11-21T07:00:36"),
            (253_402_300_799, "[31/Dec/9999:23:59:59 +0000]", "9999-12-31T23:59:59"),
        ] {
            clock.make(seconds);
            assert_eq!((clock.common.as_str(), seconds), (common, seconds));
            assert_eq!(clock.iso, iso);
        }
    }

    #[test]
    fn a_text_is_kept_for_its_second_and_not_longer() {
        let mut clock = Clock::new();
        // Half a second before the end of a minute; the wall clock is not looked at again before 6 s.
        clock.wall = Wall::asking(|| Duration::from_millis(59_500));
        for (now, text) in [
            (5_000_000_000, "1970-01-01T00:00:59"),
            (5_499_999_999, "1970-01-01T00:00:59"),
            (5_500_000_000, "1970-01-01T00:01:00"),
            (5_000_000_001, "1970-01-01T00:00:59"),
            (5_999_999_999, "1970-01-01T00:01:00"),
        ] {
            assert_eq!((now, clock.iso(now)), (now, text));
        }
        assert_eq!(clock.iso(6 * SECOND), "1970-01-01T00:00:59", "the wall clock is looked at");
    }
}

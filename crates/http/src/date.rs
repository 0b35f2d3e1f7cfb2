//! The time of day: the wall clock, looked at once a second, and the `Date` field that is made of it.

use std::cell::RefCell;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

pub(crate) const SECOND: u64 = 1_000_000_000;

/// The wall clock, followed between two looks by the monotonic one. A leap of it, forward or back, goes unseen for a second at
/// most.
#[derive(Debug)]
pub(crate) struct Wall {
    /// When it was last looked at: since 1970, and in monotonic nanoseconds.
    looked: (Duration, u64),
    /// Asks the system.
    ask: fn() -> Duration,
}

impl Wall {
    pub(crate) fn new() -> Self {
        Self::asking(today)
    }

    /// One that asks this instead.
    pub(crate) fn asking(ask: fn() -> Duration) -> Self {
        Self { looked: (Duration::ZERO, 0), ask }
    }

    /// The time since 1970 at this monotonic nanosecond.
    pub(crate) fn at(&mut self, now: u64) -> Duration {
        if self.looked.1 == 0 || now >= self.next_look() {
            self.looked = ((self.ask)(), now);
        }
        self.looked.0 + Duration::from_nanos(now.saturating_sub(self.looked.1))
    }

    /// From this monotonic nanosecond on it is looked at again.
    pub(crate) fn next_look(&self) -> u64 {
        self.looked.1.saturating_add(SECOND)
    }

    /// What was made of `time`, at `now`, is right until then.
    pub(crate) fn shows(&self, time: Duration, now: u64) -> Range<u64> {
        let ends = now.saturating_add(SECOND - u64::from(time.subsec_nanos()));
        now..ends.min(self.next_look())
    }
}

/// Since 1970, as long as a clock before that does not matter; and within humantime's years, up to 9999.
fn today() -> Duration {
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST)
}

/// The `Date` of answers (RFC 9110, section 6.6.1). One a worker.
#[derive(Debug)]
pub(crate) struct DateField(RefCell<Made>);

#[derive(Debug)]
struct Made {
    wall: Wall,
    /// The value is that of these monotonic nanoseconds.
    shows: Range<u64>,
    value: HeaderValue,
}

impl DateField {
    pub(crate) fn new(wall: Wall) -> Self {
        let value = HeaderValue::from_static("");
        Self(RefCell::new(Made { wall, shows: 0..0, value }))
    }

    /// At this monotonic nanosecond. Nearly every request comes in the second of the one before.
    pub(crate) fn at(&self, now: u64) -> HeaderValue {
        let mut made = self.0.borrow_mut();
        if !made.shows.contains(&now) {
            let time = made.wall.at(now);
            made.shows = made.wall.shows(time, now);
            let text = httpdate::fmt_http_date(UNIX_EPOCH + time);
            if let Ok(value) = HeaderValue::try_from(text) {
                made.value = value;
            }
        }
        made.value.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static CLOCK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// A wall clock that says what the test sets.
    fn clock() -> Wall {
        Wall::asking(|| CLOCK.get())
    }

    #[test]
    fn the_date_goes_forward_and_back_with_the_clock_within_a_second() {
        let date = DateField::new(clock());
        let hour = Duration::from_secs(3600);
        let noon = Duration::from_secs(784_111_777);
        CLOCK.set(noon);
        let start = 77 * SECOND;
        assert_eq!(date.at(start), "Sun, 06 Nov 1994 08:49:37 GMT");
        CLOCK.set(noon + hour);
        assert_eq!(date.at(start + SECOND - 1), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.at(start + SECOND), "Sun, 06 Nov 1994 09:49:37 GMT");
        CLOCK.set(noon + Duration::from_secs(2));
        assert_eq!(date.at(start + 2 * SECOND), "Sun, 06 Nov 1994 08:49:39 GMT", "it goes back");
        CLOCK.set(Duration::ZERO);
        assert_eq!(date.at(start + 3 * SECOND), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn the_date_is_that_of_its_second_and_is_made_once_in_it() {
        let date = DateField::new(clock());
        CLOCK.set(Duration::from_millis(784_111_777_900));
        let start = 5 * SECOND;
        for (after, text) in [(0, "37"), (99, "37"), (100, "38"), (999, "38")] {
            let shown = date.at(start + after * 1_000_000);
            assert_eq!(shown, format!("Sun, 06 Nov 1994 08:49:{text} GMT"), "{after} ms later");
        }
        let shows = date.0.borrow().shows.clone();
        assert_eq!(shows, start + SECOND / 10..start + SECOND, "until it is looked at again");
    }

    #[test]
    fn the_wall_clock_is_followed_between_two_looks() {
        let mut wall = clock();
        CLOCK.set(Duration::from_secs(70));
        let first = wall.at(5 * SECOND);
        CLOCK.set(Duration::from_secs(90));
        assert_eq!(wall.at(5 * SECOND + 7), first + Duration::from_nanos(7));
        assert_eq!(wall.at(4 * SECOND), first, "an earlier one is not before the look");
        assert_eq!(wall.at(6 * SECOND), Duration::from_secs(90));
    }
}

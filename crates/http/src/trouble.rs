//! What went wrong with requests, told in the service's log, and not without end.

use std::cell::Cell;
use std::fmt;

use tine::{Level, Log};

/// Lines that may follow one another at once, and nanoseconds until there may be one more.
const BURST: u64 = 10;
const EACH: u64 = 1_000_000_000;

/// Why a service answers as it does, for the service's log and not for the client: in the extensions of a response.
///
/// Each worker writes ten such lines at once at most, and then one a second. The next one says how many were left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(pub String);

/// See the module. A worker has one for what is wrong on its side, and one for what its clients do.
#[derive(Debug)]
pub(crate) struct Troubles {
    log: Log,
    level: Level,
    /// The time up to which lines are used up, in monotonic nanoseconds.
    used: Cell<u64>,
    left_out: Cell<u64>,
}

impl Troubles {
    pub(crate) fn new(log: Log, level: Level) -> Self {
        Self { log, level, used: Cell::default(), left_out: Cell::default() }
    }

    /// Says it, unless much was said just before; `now` is monotonic nanoseconds.
    pub(crate) fn tell(&self, now: u64, text: fmt::Arguments<'_>) {
        let used = self.used.get().max(now.saturating_sub(BURST * EACH)) + EACH;
        if used > now {
            return self.left_out.set(self.left_out.get() + 1);
        }
        self.used.set(used);
        match self.left_out.take() {
            0 => self.log.line(self.level, text),
            more => self.log.line(self.level, format_args!("{text}; left out before this: {more}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_flood_of_trouble_is_told_in_part_and_counted() {
        let lines = Rc::new(RefCell::new(Vec::new()));
        let seen = lines.clone();
        let log =
            Log::default().to_function(move |_, text| seen.borrow_mut().push(text.to_owned()));
        let troubles = Troubles::new(log, Level::Error);
        let now = 1000 * EACH;
        for number in 0..100 {
            troubles.tell(now, format_args!("{number}"));
        }
        assert_eq!(lines.borrow().len() as u64, BURST);
        troubles.tell(now + EACH - 1, format_args!("too soon"));
        troubles.tell(now + EACH, format_args!("next"));
        assert_eq!(lines.borrow().last().expect("a line"), "next; left out before this: 91");
        troubles.tell(now + EACH, format_args!("too soon"));
        assert_eq!(lines.borrow().len() as u64, BURST + 1);
        troubles.tell(now + 20 * EACH, format_args!("later"));
        assert_eq!(lines.borrow().last().expect("a line"), "later; left out before this: 1");
    }
}

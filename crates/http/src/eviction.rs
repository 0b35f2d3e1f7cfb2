//! The connections of a worker that serves many at once: which of them it asks to leave when it is full and clients
//! wait.
//!
//! A connection is here from its beginning to its end, at no cost a request. Only when there is need are
//! they looked at, all of them: those that have been silent for longest end first, then those whose request's header has
//! been coming for longest, and if there are not enough of those, the oldest of the others are told by their next answer,
//! whatever they do: a client that asks again and again is never silent when it is looked at.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use crate::batched_writes::Present;
use crate::connection_state::{Progress, Wait, nanos};
use crate::limits::AWAITED;

/// See the module. One a worker.
#[derive(Debug, Default)]
pub(crate) struct Crowd(RefCell<Members>);

#[derive(Debug, Default)]
struct Members {
    places: Vec<Option<Entry>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    progress: Arc<Progress>,
    waker: Waker,
}

/// A connection's place among the others, until this is dropped.
#[derive(Debug)]
pub(crate) struct Member {
    crowd: Rc<Crowd>,
    place: usize,
    _present: Present,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut members = self.crowd.0.borrow_mut();
        members.places[self.place] = None;
        members.free.push(self.place);
    }
}

impl Crowd {
    /// A connection joins, whose driver `waker` wakes.
    pub(crate) fn join(self: &Rc<Self>, progress: Arc<Progress>, waker: Waker) -> Member {
        let mut members = self.0.borrow_mut();
        let entry = Some(Entry { progress, waker });
        let place = match members.free.pop() {
            Some(place) => {
                members.places[place] = entry;
                place
            }
            None => {
                members.places.push(entry);
                members.places.len() - 1
            }
        };
        Member { crowd: self.clone(), place, _present: Present::new() }
    }

    /// Each gets a turn.
    pub(crate) fn wake(&self) {
        self.0.borrow().places.iter().flatten().for_each(|entry| entry.waker.wake_by_ref());
    }

    /// Has as many connections end as others wait, at monotonic nanosecond `now`; those that were asked
    /// before and are still there count.
    pub(crate) fn make_room(&self, waiting: u32, now: u64) {
        let members = self.0.borrow();
        let all = || members.places.iter().flatten();
        let (going, asked): (Vec<_>, Vec<_>) = all()
            .filter(|entry| entry.progress.is_asked_to_end())
            .partition(|entry| entry.progress.unwanted.get());
        // One that had all its requests, or that is only listened to, was not asked for the sake of those who wait now.
        let is_asked = going.iter().chain(&asked);
        is_asked.for_each(|entry| entry.progress.note_wanted(now));
        let Some(wanted) = (waiting as usize).checked_sub(going.len()).filter(|&wanted| wanted > 0)
        else {
            return;
        };
        let mut idle: Vec<_> =
            all().filter_map(|entry| Some((entry.silent_since(now)?, entry))).collect();
        idle.sort_unstable_by_key(|(since, _)| *since);
        let idle =
            idle.iter().filter(|((_, since), entry)| entry.progress.tries_patience(*since, now));
        let told = idle.take(wanted).map(|(_, entry)| entry.end(now)).count();
        // Those who were told to go by the next answer stand for as many who could go now, until that is long in coming.
        let awaited = asked.iter().filter(|entry| entry.is_awaited(now)).count();
        let more = wanted.saturating_sub(told + awaited);
        if more == 0 {
            return;
        }
        // Whatever it does now, its next answer is its last: so the lively make room, too.
        let mut others: Vec<_> = all().filter(|entry| !entry.progress.is_asked_to_end()).collect();
        others.sort_unstable_by_key(|entry| entry.progress.began.get());
        others.iter().take(more).for_each(|entry| entry.make_way(now));
    }
}

impl Entry {
    /// Whether the rest of its request's header is waited for, and since when that or a request is, if that is long enough
    /// to be asked to go where its client is near.
    fn silent_since(&self, now: u64) -> Option<(bool, u64)> {
        let (speaks, since) = match self.progress.wait() {
            Wait::Request(since) => (false, since),
            Wait::Head(since) => (true, since),
            Wait::Answer => return None,
        };
        let least = nanos(self.progress.least_patience());
        let silent = now >= since.saturating_add(least) && !self.progress.unwanted.get();
        silent.then_some((speaks, since))
    }

    /// Whether its last answer can still be expected soon.
    fn is_awaited(&self, now: u64) -> bool {
        now < self.progress.wanted.get().saturating_add(nanos(AWAITED))
    }

    /// Woken, for over HTTP/2 there is a word to be said without an answer.
    fn make_way(&self, now: u64) {
        self.progress.make_way(now);
        self.waker.wake_by_ref();
    }

    fn end(&self, now: u64) {
        self.progress.unwanted.set(true);
        self.progress.note_wanted(now);
        self.waker.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn member(crowd: &Rc<Crowd>, since: u64, busy: bool) -> (Arc<Progress>, Member) {
        let progress = Arc::new(Progress::new(since));
        progress.busy.set(busy.into());
        (progress.clone(), crowd.join(progress, Waker::noop().clone()))
    }

    #[test]
    fn who_was_silent_for_longest_goes_first_and_only_then_the_busy_are_told() {
        let crowd = Rc::new(Crowd::default());
        let (first, _a) = member(&crowd, 2 * SECOND, false);
        let (second, _b) = member(&crowd, SECOND, false);
        let (busy, _c) = member(&crowd, 0, true);
        let (fresh, _d) = member(&crowd, 10 * SECOND, false);
        let now = 10 * SECOND;
        crowd.make_room(1, now);
        assert!(second.unwanted.get() && !first.unwanted.get());
        crowd.make_room(1, now);
        assert!(!first.unwanted.get(), "one was asked already");
        crowd.make_room(9, now);
        assert!(first.unwanted.get() && busy.last.get() && !busy.unwanted.get());
        assert!(!fresh.unwanted.get() && fresh.last.get(), "it has only just come");
    }

    #[test]
    fn who_has_begun_to_ask_and_does_not_go_on_goes_after_the_silent_and_before_the_busy() {
        let crowd = Rc::new(Crowd::default());
        let (slow, _a) = member(&crowd, 0, false);
        let (fresh, _b) = member(&crowd, 0, false);
        let (silent, _c) = member(&crowd, SECOND, false);
        let (busy, _d) = member(&crowd, 0, true);
        slow.head_began.set(1);
        fresh.head_began.set(2 * SECOND - 1);
        crowd.make_room(1, 2 * SECOND);
        assert!(silent.unwanted.get() && !slow.unwanted.get());
        crowd.make_room(2, 2 * SECOND);
        assert!(slow.unwanted.get() && !busy.last.get());
        crowd.make_room(9, 2 * SECOND);
        assert!(busy.last.get() && !fresh.unwanted.get());
    }

    #[test]
    fn one_that_was_told_and_is_long_in_answering_shields_nobody_who_is_silent() {
        let crowd = Rc::new(Crowd::default());
        let (busy, _a) = member(&crowd, 0, true);
        let (other, _b) = member(&crowd, 0, true);
        crowd.make_room(1, SECOND);
        crowd.make_room(1, SECOND);
        assert!(busy.last.get() && !other.last.get(), "one is enough");
        other.busy.set(0);
        other.since.set(SECOND);
        crowd.make_room(1, 2 * SECOND);
        assert!(other.unwanted.get());
    }

    #[test]
    fn the_oldest_of_the_lively_is_told_and_the_next_when_that_is_long_in_answering() {
        let crowd = Rc::new(Crowd::default());
        let lively = |began: u64| {
            let (progress, member) = member(&crowd, began, false);
            progress.requests.set(1);
            progress.since.set(10 * SECOND);
            (progress, member)
        };
        let (young, _a) = lively(3);
        let (oldest, _b) = lively(1);
        let (old, _c) = lively(2);
        let told = || [&oldest, &old, &young].map(|it| it.last.get());
        crowd.make_room(1, 10 * SECOND);
        assert_eq!(told(), [true, false, false]);
        // It has begun a request that takes its time.
        oldest.busy.set(1);
        crowd.make_room(1, 10 * SECOND + SECOND / 20);
        assert_eq!(told(), [true, false, false], "its answer may come soon");
        for lively in [&old, &young] {
            lively.since.set(11 * SECOND);
        }
        crowd.make_room(1, 11 * SECOND);
        assert_eq!(told(), [true, true, false]);
    }

    #[test]
    fn a_place_that_was_left_is_taken_again() {
        let crowd = Rc::new(Crowd::default());
        let (_, first) = member(&crowd, 0, false);
        let (_, second) = member(&crowd, 0, false);
        drop(first);
        let (third, _member) = member(&crowd, 0, false);
        drop(second);
        crowd.make_room(5, SECOND);
        assert!(third.unwanted.get());
        assert_eq!(crowd.0.borrow().places.len(), 2);
    }
}

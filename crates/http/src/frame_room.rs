//! How much of files a connection may hold in memory.
//!
//! Over HTTP/2 a file is read when its stream has a window for it, and no more than that. What was read then waits for
//! the socket alone. A client that opens wide windows and reads nothing could have a frame of each stream wait there, so
//! the streams of a connection share one room.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The most of files that is read and not sent on one connection, in bytes: four frames, so that the socket always finds
/// one.
pub(crate) const ROOM: usize = 4 * FRAME;
/// The most that is read of a file at once, in bytes: a frame as every client takes it (RFC 9113, section 4.2).
pub(crate) const FRAME: usize = 16 * 1024;

/// See the module. One a connection.
#[derive(Debug)]
pub(crate) struct Room {
    free: Cell<usize>,
    waiting: RefCell<VecDeque<Waker>>,
}

/// So many bytes of a room, until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    room: Rc<Room>,
    pub(crate) bytes: usize,
}

impl Room {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { free: Cell::new(ROOM), waiting: RefCell::default() })
    }

    /// At least one byte of it, at most `most`; ready when there is one.
    pub(crate) fn poll_take(self: &Rc<Self>, cx: &Context<'_>, most: usize) -> Poll<Permit> {
        let bytes = most.min(self.free.get());
        if bytes == 0 {
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push_back(cx.waker().clone());
            }
            return Poll::Pending;
        }
        self.free.set(self.free.get() - bytes);
        Poll::Ready(Permit { room: self.clone(), bytes })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Room { free, waiting } = &*self.room;
        free.set(free.get() + self.bytes);
        let mut waiting = waiting.borrow_mut();
        // A stream that is woken may have ended meanwhile. When nothing is held any more no further wake-up would come.
        let count = if free.get() == ROOM { waiting.len() } else { 1 };
        let woken: Vec<_> = {
            let count = count.min(waiting.len());
            waiting.drain(..count).collect()
        };
        drop(waiting);
        woken.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn take(room: &Rc<Room>, woken: &Arc<Woken>, most: usize) -> Option<Permit> {
        let waker = woken.clone().into();
        match room.poll_take(&Context::from_waker(&waker), most) {
            Poll::Ready(permit) => Some(permit),
            Poll::Pending => None,
        }
    }

    #[test]
    fn no_more_is_given_than_there_is_and_a_stream_that_waits_is_woken() {
        let (room, first, second) = (Room::new(), Arc::default(), Arc::default());
        let large = take(&room, &first, ROOM - 5).expect("there is room");
        let rest = take(&room, &first, FRAME).expect("some is left");
        assert_eq!(rest.bytes, 5);
        for _ in 0..2 {
            assert!(take(&room, &first, 1).is_none() && take(&room, &second, 1).is_none());
        }
        drop(rest);
        assert_eq!((first.0.load(Relaxed), second.0.load(Relaxed)), (1, 0), "once, in turn");
        drop(large);
        assert_eq!((first.0.load(Relaxed), second.0.load(Relaxed)), (1, 1));
        assert_eq!(take(&room, &first, 2 * ROOM).expect("all of it").bytes, ROOM);
    }

    #[test]
    fn a_stream_that_ended_while_it_waited_leaves_no_other_waiting() {
        let (room, ended, second, third) =
            (Room::new(), Arc::default(), Arc::default(), Arc::default());
        let all = take(&room, &ended, ROOM).expect("there is room");
        for woken in [&ended, &second, &third] {
            assert!(take(&room, woken, 1).is_none());
        }
        drop(all);
        assert_eq!((second.0.load(Relaxed), third.0.load(Relaxed)), (1, 1));
    }
}

//! What the parts of one connection know together: its driver, its service, and its socket.
//!
//! One thread writes and reads all of it. It is atomic, at the price of plain loads and stores, because
//! a connection that was upgraded goes to the application, and with it the socket's share of this; and
//! an application may do with it what it does with anything that is `Send`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;

use crate::limits::{GOAWAY_HEARD, Limits, SERVED_BYTES, SERVES};
use crate::patience::Distance;

/// A yes or no.
#[derive(Debug, Default)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Relaxed)
    }

    pub(crate) fn set(&self, value: bool) {
        self.0.store(value, Relaxed);
    }
}

/// A number.
#[derive(Debug, Default)]
pub(crate) struct Number(AtomicU64);

impl Number {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Adds, and says what has come of it.
    pub(crate) fn add(&self, more: u64) -> u64 {
        let sum = self.get().wrapping_add(more);
        self.set(sum);
        sum
    }

    pub(crate) fn take_one(&self) {
        self.set(self.get().saturating_sub(1));
    }
}

/// See the module. Times are monotonic nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Requests being answered, each to the last byte of its body.
    pub(crate) busy: Number,
    /// Streams of HTTP/2 with something to do: a request's, or one that is the application's own.
    pub(crate) streams: Number,
    /// Answers of which a piece was handed out and the next not asked for: it waits for the client.
    pub(crate) owed: Number,
    /// Requests begun.
    pub(crate) requests: Number,
    /// Requests that their client gave up before they were answered, less those it let be.
    pub(crate) cancelled: Number,
    /// What time it was at the last look: at the beginning of a turn of its driver, or at the end of an answer.
    pub(crate) now: Number,
    /// The connection's beginning.
    pub(crate) began: Number,
    /// How far away its client is.
    pub(crate) distance: Distance,
    /// When there was last nothing to do: the connection's beginning, or the end of an answer.
    pub(crate) since: Number,
    /// When the first byte of the request to come was read; 0 = not yet.
    pub(crate) head_began: Number,
    /// The last request whose body somebody may still read; 0 = nobody does.
    pub(crate) body: Number,
    /// Bytes of answers that were taken for the client: by the socket, over TLS by what encrypts them.
    pub(crate) written: Number,
    /// Over TLS, bytes the socket has taken of what was encrypted before and had to wait.
    pub(crate) drained: Number,
    /// Bytes in the socket that the client has not acknowledged, when last something had to wait.
    pub(crate) unsent: Number,
    /// Bytes the client has sent.
    pub(crate) read: Number,
    /// Pieces of answers that were handed out.
    pub(crate) given: Number,
    /// Pieces of bodies of HTTP/2 that the application has taken.
    pub(crate) delivered: Number,
    /// Frames of HTTP/2 that ask for nothing ([`crate::control`]).
    pub(crate) idle_frames: Number,
    /// Something was read since this was last cleared.
    pub(crate) heard: Flag,
    /// A stream's handler has panicked in a worker that is to end by that.
    pub(crate) panicked: Flag,
    /// The worker leaves.
    pub(crate) leaving: Flag,
    /// When its client was told so by GOAWAY; 0 = not.
    pub(crate) told: Number,
    /// It has not listened to that.
    pub(crate) deaf: Flag,
    /// It is cut for what its client does, over HTTP/2.
    pub(crate) cut: Flag,
    /// The next answer is the connection's last.
    pub(crate) last: Flag,
    /// Since when somebody waits for what it holds, and it is asked to end for that; 0 = nobody does.
    pub(crate) wanted: Number,
    /// It is to end as soon as it waits for a request.
    pub(crate) unwanted: Flag,
    /// The socket would not take what is to be written.
    pub(crate) writing: Flag,
    /// An answer does not come to its end: its body has failed, or its client takes nothing.
    pub(crate) fails: Flag,
    /// Answers were gathered to be sent together with others' ([`crate::outbox`]).
    pub(crate) gathered: Flag,
    /// In its next turn it sends what was gathered of all.
    pub(crate) must_send: Flag,
    /// Some of what was gathered could not be sent.
    pub(crate) returned: Flag,
    /// None may wait: the socket is the application's from this answer on.
    pub(crate) upgrades: Flag,
    /// The client had not got everything at the last look.
    pub(crate) receiving: Flag,
    /// It speaks HTTP/2.
    pub(crate) http2: Flag,
    /// A request was refused, perhaps in the middle of its being sent.
    pub(crate) refused: Flag,
    /// The socket is closed.
    pub(crate) gone: Notify,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// An answer to be made or sent.
    Answer,
    /// The rest of a request's header, since then.
    Head(u64),
    /// A request, since then.
    Request(u64),
}

impl Progress {
    pub(crate) fn new(now: u64) -> Self {
        let progress = Self::default();
        progress.since.set(now);
        progress.now.set(now);
        progress.began.set(now);
        progress
    }

    /// Looks at the clock. A look costs as much as reading a request's line; so there is one a turn, and one an answer.
    pub(crate) fn look(&self) -> u64 {
        let now = tine::now();
        self.now.set(now);
        now
    }

    pub(crate) fn wait(&self) -> Wait {
        if self.is_busy() || self.is_writing() {
            return Wait::Answer;
        }
        match self.head_began.get() {
            // Over HTTP/2 not every byte is a request's.
            began if began > 0 && !self.http2.get() => Wait::Head(began),
            _ => Wait::Request(self.since.get()),
        }
    }

    /// Whether nothing was heard since `heard` was cleared, and nothing is on its way out.
    pub(crate) fn is_silent(&self) -> bool {
        !self.is_busy() && !self.heard.get() && !self.is_writing() && !self.receiving.get()
    }

    /// Whether something is to be written, and the socket would not take it.
    pub(crate) fn is_writing(&self) -> bool {
        self.writing.get() || self.returned.get()
    }

    /// Whether an answer's body has failed, and what it gave before is written.
    pub(crate) fn has_failed(&self) -> bool {
        self.fails.get() && !self.is_writing()
    }

    fn is_busy(&self) -> bool {
        self.busy.get() > 0 || self.streams.get() > 0
    }

    /// Somebody waits for what it holds, as is seen now: what its client still sends has only so long from here on.
    pub(crate) fn note_wanted(&self, now: u64) {
        if self.wanted.get() == 0 {
            self.wanted.set(now);
        }
    }

    /// Somebody waits for what it holds: it is to end by its next answer.
    pub(crate) fn make_way(&self, now: u64) {
        self.last.set(true);
        self.note_wanted(now);
    }

    /// Whether it will end without its client's doing.
    pub(crate) fn is_asked_to_end(&self) -> bool {
        self.unwanted.get() || self.last.get()
    }

    /// Whether all that is to be sent waits for the client.
    pub(crate) fn waits_for_client(&self) -> bool {
        let owed = self.owed.get();
        self.is_writing() || (owed > 0 && owed == self.busy.get())
    }

    /// Bytes the client has taken of its answers, about. Over HTTP/2 what a worker writes answers to what it
    /// reads, too (pings, settings), byte for byte at most: that is none of it.
    pub(crate) fn taken(&self) -> u64 {
        let echoed = if self.http2.get() { self.read.get() } else { 0 };
        self.written.get().saturating_sub(echoed).wrapping_add(self.drained.get())
    }

    /// So many bytes were read: perhaps some of a body that is read after its answer.
    pub(crate) fn note_read(&self, bytes: usize) {
        self.read.add(bytes as u64);
        if self.body.get() > 0 {
            // Whoever sends is not silent, though its answer may be made long since.
            self.since.set(self.now.get());
        }
    }

    /// A request begins over HTTP/2: perhaps long after its client was told that no more are taken.
    pub(crate) fn note_stream(&self) {
        if self.must_have_heard_goaway() {
            self.deaf.set(true);
        }
    }

    fn must_have_heard_goaway(&self) -> bool {
        let (told, now) = (self.told.get(), self.now.get());
        told > 0 && now.saturating_sub(told) > nanos(GOAWAY_HEARD)
    }

    /// Whether its client is still there long after GOAWAY, with nothing in flight: it says pings, and does not answer one.
    pub(crate) fn rests_after_goaway(&self) -> bool {
        !self.is_busy() && !self.is_writing() && self.must_have_heard_goaway()
    }

    /// How many frames that ask for nothing its client may send for what it was served.
    pub(crate) fn served(&self) -> u64 {
        let pieces = self.requests.get() + self.delivered.get() + self.given.get();
        pieces * SERVES + self.written.get() / SERVED_BYTES
    }

    /// Whether its client gives requests up faster than is bearable, or goes on where it should not.
    pub(crate) fn is_flooded(&self, limits: &Limits) -> bool {
        self.cancelled.get() > limits.resets || self.deaf.get()
    }
}

/// As times are counted here.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_whose_body_is_read_behind_its_answer_is_silent_since_the_last_of_it() {
        let progress = Progress::new(1);
        progress.now.set(5);
        progress.note_read(2);
        assert_eq!(progress.wait(), Wait::Request(1));
        progress.body.set(1);
        progress.note_read(10);
        assert_eq!(progress.wait(), Wait::Request(5));
    }
}

//! One worker's record: written by it alone, read by anyone, believed by nobody.

use std::sync::atomic::{
    AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, Ordering::SeqCst,
};

use serde::Serialize;

use super::activity::Activity;
use super::text::{self, RequestLine};
use crate::shared::Region;
use crate::supervisor::trial::Work;

/// Words of a record: 512 bytes, a multiple of the cache line.
pub(super) const RECORD: usize = 64;
/// Where the current request's line stands in a record, in words.
const REQUEST: std::ops::Range<usize> = 24..24 + text::LINE;
/// Where its client's address stands; 64 bytes.
const CLIENT: std::ops::Range<usize> = 40..48;

/// The numbers of a record, in words.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
enum Field {
    Activity,
    Pid,
    Worker,
    Place,
    Generation,
    /// Connections taken so far.
    Connections,
    /// Requests answered so far.
    Requests,
    /// Connections open now.
    Open,
    /// Monotonic nanoseconds: forked.
    Started,
    /// Monotonic nanoseconds: the activity last changed.
    Since,
    /// Monotonic nanoseconds: the current request began; 0 = none.
    RequestBegan,
    /// Nanoseconds the last request took.
    RequestTook,
    /// Monotonic nanoseconds: the worker began to work, or came up for air; 0 = it waits.
    Running,
    /// Monotonic nanoseconds: the first of the connections that are open was taken; 0 = none is.
    ConnectionBegan,
    /// Words ever written to the worker's last lines.
    Logged,
    /// Monotonic nanoseconds: its last panic; 0 = none.
    Panicked,
    /// What it was doing then.
    PanicActivity,
    /// When the request began that it was doing then; 0 = none.
    PanicRequest,
    /// The pool's number, and one: an empty record is of none.
    Pool,
    /// Requests that failed, of those that were answered.
    Errors,
}

const _: () = assert!((Field::Errors as usize) < REQUEST.start && CLIENT.end <= RECORD);

/// One worker's record.
#[derive(Clone, Debug)]
pub struct Record {
    pub(super) region: Region,
    pub(super) base: usize,
}

impl Record {
    fn words(&self) -> &[AtomicU64; RECORD] {
        let words = self.region.words()[self.base..].first_chunk();
        words.expect("a board is as long as its records")
    }

    fn field(&self, field: Field) -> &AtomicU64 {
        &self.words()[field as usize]
    }

    /// Gives the record to a new worker; in the supervisor, before the fork.
    pub(crate) fn begin(&self, worker: u64, pool: usize, place: usize, generation: u32, now: u64) {
        self.clear();
        self.field(Field::Pool).store(pool as u64 + 1, Relaxed);
        self.field(Field::Worker).store(worker, Relaxed);
        self.field(Field::Place).store(place as u64, Relaxed);
        self.field(Field::Generation).store(u64::from(generation), Relaxed);
        self.field(Field::Started).store(now, Relaxed);
        self.field(Field::Since).store(now, Relaxed);
        self.field(Field::Activity).store(Activity::Starting as u64, Relaxed);
    }

    /// Empties the record; in the supervisor, after the worker's end.
    pub(crate) fn clear(&self) {
        self.words().iter().for_each(|word| word.store(0, Relaxed));
    }

    pub(crate) fn set_pid(&self, pid: u32) {
        self.field(Field::Pid).store(u64::from(pid), Relaxed);
    }

    /// Says what the worker does now. In the worker.
    pub fn set(&self, activity: Activity) {
        self.set_at(activity, tine_os::clock::monotonic());
    }

    /// The same, with a time that is known already (monotonic nanoseconds).
    pub fn set_at(&self, activity: Activity, now: u64) {
        self.field(Field::Since).store(now, Relaxed);
        self.field(Field::Activity).store(activity as u64, Relaxed);
    }

    /// Says that the worker does something on the way while `act` runs, and what it was at before that again. In the
    /// worker.
    pub fn meanwhile<T>(&self, activity: Activity, act: impl FnOnce() -> T) -> T {
        let fields = [Field::Since, Field::Activity];
        let before = fields.map(|field| self.field(field).load(Relaxed));
        self.set(activity);
        let result = act();
        for (field, value) in fields.into_iter().zip(before) {
            self.field(field).store(value, Relaxed);
        }
        result
    }

    /// A connection was taken: so many are open now, and so many were taken. In the worker, which counts in memory of
    /// its own: what stands here, any process of the service can have written.
    pub(crate) fn opened(&self, open: u64, taken: u64) {
        self.field(Field::Connections).store(taken, Relaxed);
        self.field(Field::Open).store(open, Release);
        if open == 1 {
            let now = tine_os::clock::monotonic();
            self.field(Field::ConnectionBegan).store(now, SeqCst);
            self.set_at(Activity::Reading, now);
        }
    }

    /// A connection is closed: so many are still open. In the worker.
    pub(crate) fn closed(&self, open: u64) {
        self.field(Field::Open).store(open, Release);
        if open == 0 {
            self.field(Field::ConnectionBegan).store(0, Relaxed);
            // Of a request that was never answered.
            self.field(Field::RequestBegan).store(0, Relaxed);
        }
    }

    /// The worker works, and has just come up for air; 0 = it waits. Monotonic nanoseconds. In the worker.
    pub(crate) fn runs(&self, since: u64) {
        self.field(Field::Running).store(since, SeqCst);
    }

    /// How many words there ever were in its last lines.
    pub(super) fn logged(&self) -> &AtomicU64 {
        self.field(Field::Logged)
    }

    /// Keeps what the worker is doing: it panics, and what it is doing will be swept away. In the worker.
    pub(crate) fn panicked(&self) {
        let keep = |from, to| self.field(to).store(self.field(from).load(Relaxed), Relaxed);
        keep(Field::Activity, Field::PanicActivity);
        keep(Field::RequestBegan, Field::PanicRequest);
        self.field(Field::Panicked).store(tine_os::clock::monotonic(), Relaxed);
    }

    /// The record as it was at the last panic, if there was one.
    pub(crate) fn at_panic(&self) -> Option<Snapshot> {
        let get = |field| self.field(field).load(Relaxed);
        let at = get(Field::Panicked);
        (at > 0).then(|| Snapshot {
            activity: Activity::from_word(get(Field::PanicActivity)),
            request_began: get(Field::PanicRequest),
            ..self.read()
        })
    }

    /// Since when it works, its request is served and its connection is open; 0 = it does not. Any number.
    pub(crate) fn stamps(&self) -> Stamps {
        let get = |field| self.field(field).load(SeqCst);
        Stamps {
            running: get(Field::Running),
            request: get(Field::RequestBegan),
            connection: get(Field::ConnectionBegan),
        }
    }

    /// A request has begun, at this monotonic nanosecond; `client` is text, and cut to 64 bytes. In the worker.
    pub fn request_began<'a>(&self, line: impl Into<RequestLine<'a>>, client: &str, now: u64) {
        let words = self.words();
        text::put_line(&words[REQUEST], line.into());
        text::put(&words[CLIENT], client);
        words[Field::RequestBegan as usize].store(now, Relaxed);
        words[Field::Since as usize].store(now, Relaxed);
        words[Field::Activity as usize].store(Activity::Working as u64, Relaxed);
    }

    /// A request is answered: so many are. In the worker.
    pub(crate) fn request_ended(&self, now: u64, answered: u64) {
        let began = self.field(Field::RequestBegan);
        self.field(Field::RequestTook).store(now.saturating_sub(began.load(Relaxed)), Relaxed);
        began.store(0, Relaxed);
        self.field(Field::Requests).store(answered, Relaxed);
    }

    /// The request that was counted as answered is still being answered since then, as far as its deadline
    /// goes; 0 = it is not, or waits for its client. In the worker.
    pub fn answering(&self, since: u64) {
        self.field(Field::RequestBegan).store(since, Relaxed);
    }

    /// A request that is answered has failed. In the worker.
    pub fn request_failed(&self) {
        self.field(Field::Errors).fetch_add(1, Relaxed);
    }

    /// What the worker says it has done.
    pub(crate) fn work(&self) -> Work {
        let get = |field| self.field(field).load(Relaxed);
        Work {
            connections: get(Field::Connections),
            requests: get(Field::Requests),
            errors: get(Field::Errors),
        }
    }

    /// The generation it was made in.
    pub(crate) fn generation(&self) -> u64 {
        self.field(Field::Generation).load(Relaxed)
    }

    /// Whether the worker could take a connection now, as it says itself.
    pub(crate) fn is_idle(&self, concurrency: u32) -> bool {
        self.field(Field::Open).load(Acquire) < u64::from(concurrency)
    }

    /// Whether it is the record of a worker of this pool that says it waits for a connection.
    pub(super) fn waits_in(&self, pool: usize) -> bool {
        self.field(Field::Activity).load(Relaxed) == Activity::Idle as u64
            && self.field(Field::Pool).load(Relaxed) == pool as u64 + 1
    }

    /// Connections the worker says it has taken.
    pub(crate) fn taken(&self) -> u64 {
        self.field(Field::Connections).load(Relaxed)
    }

    /// A copy of the record as it is now; every field may be nonsense.
    #[must_use]
    pub fn read(&self) -> Snapshot {
        let get = |field| self.field(field).load(Relaxed);
        Snapshot {
            activity: Activity::from_word(get(Field::Activity)),
            pid: get(Field::Pid),
            worker: get(Field::Worker),
            place: get(Field::Place),
            generation: get(Field::Generation),
            connections: get(Field::Connections),
            requests: get(Field::Requests),
            errors: get(Field::Errors),
            open: get(Field::Open),
            started: get(Field::Started),
            since: get(Field::Since),
            request_began: get(Field::RequestBegan),
            request_took: get(Field::RequestTook),
            request: text::line(&self.words()[REQUEST]),
            client: text::text(&self.words()[CLIENT]),
        }
    }
}

/// Since when a worker does what has a deadline, in monotonic nanoseconds; 0 = it does not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stamps {
    pub(crate) running: u64,
    pub(crate) request: u64,
    pub(crate) connection: u64,
}

/// A record's content at one moment. Times are monotonic nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// What the worker does; `None` = a value nobody writes.
    pub activity: Option<Activity>,
    /// The worker's pid as it wrote it. For eyes only.
    pub pid: u64,
    /// Its number.
    pub worker: u64,
    /// Its place.
    pub place: u64,
    /// Its generation.
    pub generation: u64,
    /// Connections taken.
    pub connections: u64,
    /// Requests answered.
    pub requests: u64,
    /// Of them, those that failed.
    pub errors: u64,
    /// Connections open.
    pub open: u64,
    /// When it was forked.
    pub started: u64,
    /// When its activity last changed.
    pub since: u64,
    /// When the current request began; 0 = none.
    pub request_began: u64,
    /// How long the last request took.
    pub request_took: u64,
    /// The current, or last, request.
    pub request: String,
    /// Its client.
    pub client: String,
}

#[cfg(test)]
mod tests {
    use super::super::Scoreboard;
    use super::*;

    #[test]
    fn a_record_reads_back_what_its_worker_wrote() {
        let board = Scoreboard::create(1, 4).expect("a board");
        let record = board.record(3);
        record.begin(9, 0, 2, 1, 1_000);
        record.opened(1, 7);
        record.request_began("GET /a\u{7} HTTP/1.1", "127.0.0.1:9", 2_000);
        record.request_ended(2_500, 6);
        let now = record.read();
        assert_eq!((now.connections, now.requests), (7, 6));
        assert_eq!(now.request, "GET /a? HTTP/1.1");
        assert_eq!((now.client.as_str(), now.request_took), ("127.0.0.1:9", 500));
        assert_eq!((now.activity, now.open), (Some(Activity::Working), 1));
        record.closed(0);
        assert_eq!(record.read().open, 0);
        assert_eq!(board.record(2).read().worker, 0, "no other record is touched");
    }

    #[test]
    fn an_idle_worker_is_seen_by_its_own_pool_alone() {
        let board = Scoreboard::create(2, 3).expect("a board");
        let [first, second] = [board.siblings(0), board.siblings(1)];
        assert!(!first.any_idle(), "empty records are nobody's");
        let record = board.record(1);
        record.begin(9, 1, 0, 1, 1_000);
        assert!(!second.any_idle(), "it boots");
        record.set(Activity::Idle);
        assert_eq!((first.any_idle(), second.any_idle()), (false, true));
        record.set(Activity::Working);
        assert!(!second.any_idle());
    }

    #[test]
    fn any_bytes_can_be_read() {
        let board = Scoreboard::create(1, 1).expect("a board");
        for word in board.record(0).words() {
            word.store(u64::MAX, Relaxed);
        }
        assert_eq!(board.record(0).read().activity, None);
    }
}

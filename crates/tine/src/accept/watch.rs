//! The listeners as one worker watches them: which stand in its epoll, and which may have something.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tine_os::poll::{Epoll, Interest, Ready};

use super::owed::Owed;
use crate::listen::Listener;
use crate::seat::{Seat, Shutdown};

/// Tokens of the epoll; a listener's is its index.
const CONTROL: u64 = u64::MAX;
const POKE: u64 = u64::MAX - 1;
/// Events of one wait; the kernel goes on with the others at the next.
const BATCH: usize = 8;

#[derive(Debug)]
pub(super) struct Watch {
    seat: Arc<Seat>,
    epoll: Epoll,
    ready: Ready,
    pub(super) entries: Vec<Entry>,
    /// How many are watched.
    count: usize,
    /// The worker serves one connection at a time.
    alone: bool,
    /// Whether listeners stand in the epoll at all.
    open: bool,
    /// Every connection wakes this worker, and not one of all that are idle.
    wakes_always: bool,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) listener: Rc<Listener>,
    pub(super) owed: Owed,
    pub(super) closed: bool,
    /// It stands in the epoll, while any does.
    watched: bool,
}

/// What a wait brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct News {
    /// The supervisor may have said something.
    pub(super) control: bool,
    /// A poke was taken.
    pub(super) poked: bool,
}

impl Watch {
    pub(super) fn new(
        shutdown: &Shutdown,
        listeners: impl Iterator<Item = Rc<Listener>>,
        alone: bool,
    ) -> io::Result<Self> {
        let seat = shutdown.seat().clone();
        let epoll = Epoll::new()?;
        epoll.add(shutdown, CONTROL, Interest::READ)?;
        let entry =
            |listener| Entry { listener, owed: Owed::Nothing, closed: false, watched: false };
        let mut watch = Self {
            epoll,
            ready: Ready::with_capacity(BATCH),
            entries: listeners.map(entry).collect(),
            count: 0,
            alone,
            open: false,
            wakes_always: false,
            seat,
        };
        // One's own come first: where several have something, they are taken from first.
        let own = watch.seat.own_socket();
        watch.entries.sort_by_key(|entry| entry.listener.shard().is_some_and(|shard| shard != own));
        watch.choose();
        watch.owe_all();
        Ok(watch)
    }

    /// Decides which listeners this worker serves: those all share, its own, and those without a healthy
    /// worker. One that serves a connection at a time serves all there are, or connections would wait behind
    /// a busy sibling while it has nothing to do.
    ///
    /// A listener that it stops watching gets a last look: the kernel may have told this worker alone of a connection, also
    /// since the epoll was last asked.
    fn choose(&mut self) {
        let own = self.seat.own_socket();
        for entry in &mut self.entries {
            let watched = match entry.listener.shard() {
                Some(shard) if shard != own => self.alone || self.seat.is_orphaned_socket(shard),
                _ => true,
            };
            if entry.watched && !watched {
                entry.owed = Owed::UntilEmpty;
            }
            entry.watched = watched;
        }
        self.count = self.entries.iter().filter(|entry| entry.watched).count();
    }

    /// When the supervisor says that workers should look: puts into the epoll what was orphaned, takes out what has a
    /// worker again, and owes a look at everything.
    pub(super) fn adopt(&mut self) -> io::Result<()> {
        if !self.seat.should_look() {
            return Ok(());
        }
        let before: Vec<bool> = self.entries.iter().map(|entry| entry.watched).collect();
        self.choose();
        self.owe_all();
        if !self.open {
            return Ok(());
        }
        for (index, watched) in before.into_iter().enumerate() {
            let entry = &self.entries[index];
            match (watched, entry.watched) {
                _ if entry.closed => {}
                (false, true) => {
                    self.epoll.add(&*entry.listener, index as u64, self.interest())?;
                }
                (true, false) => {
                    let _ = self.epoll.remove(&*entry.listener);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether no listener is one worker's more than another's.
    pub(super) fn is_all_shared(&self) -> bool {
        self.entries.iter().all(|entry| entry.listener.shard().is_none())
    }

    /// How many listeners are watched.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether the worker serves one connection at a time.
    pub(super) fn serves_alone(&self) -> bool {
        self.alone
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn wakes_always(&self) -> bool {
        self.wakes_always
    }

    fn interest(&self) -> Interest {
        if self.wakes_always { Interest::READ } else { Interest::READ_EXCLUSIVE }
    }

    /// Puts the listeners into the epoll; each connection wakes one idle worker, or, if `always`, this one too.
    pub(super) fn open(&mut self, always: bool) -> io::Result<()> {
        if self.open {
            return Ok(());
        }
        self.choose();
        self.wakes_always = always;
        for (index, entry) in self.watched() {
            self.epoll.add(&*entry.listener, index as u64, self.interest())?;
        }
        self.epoll.add(self.seat.poke(), POKE, Interest::READ_EXCLUSIVE)?;
        self.open = true;
        Ok(())
    }

    /// Takes them out again: what is not to be taken must not wake us.
    pub(super) fn shut(&mut self) {
        if std::mem::take(&mut self.open) {
            for (_, entry) in self.watched() {
                let _ = self.epoll.remove(&*entry.listener);
            }
            let _ = self.epoll.remove(self.seat.poke());
        }
    }

    fn watched(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let entries = self.entries.iter().enumerate();
        entries.filter(|(_, entry)| entry.watched && !entry.closed)
    }

    /// Waits for news, and notes what is owed.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<News> {
        self.epoll.wait(&mut self.ready, timeout)?;
        let mut news = News::default();
        for event in self.ready.iter() {
            match event.token {
                CONTROL => news.control = true,
                POKE => {
                    news.poked = self.seat.poke().take().is_some();
                    if news.poked && !self.seat.are_watched_alike() {
                        // From a sibling that was started in another mode: it may mean a socket that is not watched here.
                        self.seat.pass_wake_on();
                    }
                }
                index => {
                    let index = usize::try_from(index).unwrap_or(usize::MAX);
                    if let Some(entry) = self.entries.get_mut(index) {
                        entry.owed = entry.owed.max(Owed::Look);
                    }
                }
            }
        }
        if news.poked {
            self.owe_all();
        }
        Ok(news)
    }

    /// Owes a look at every listener that is watched, whatever the epoll says.
    pub(super) fn owe_all(&mut self) {
        let watched = self.entries.iter_mut().filter(|entry| entry.watched);
        watched.for_each(|entry| entry.owed = Owed::UntilEmpty);
    }

    /// A connection was taken from this listener. With several the epoll is asked before the next is taken, and reports what
    /// is left; with one an attempt is cheaper.
    pub(super) fn has_taken(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        if entry.owed == Owed::Look && self.count > 1 {
            entry.owed = Owed::Nothing;
        }
    }

    /// This listener had nothing.
    pub(super) fn is_empty(&mut self, index: usize) {
        self.entries[index].owed = Owed::Nothing;
    }

    /// Another worker looks.
    pub(super) fn forgive(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.owed = Owed::Nothing);
    }

    /// The listeners that are not closed, watched or not.
    pub(super) fn open_entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.closed)
    }

    /// Whether any listener is owed a look.
    pub(super) fn owes(&self) -> bool {
        self.open_entries().any(|entry| entry.owed > Owed::Nothing)
    }

    /// The same once a connection was taken; a listener that is watched alone is owed nothing by that.
    pub(super) fn owes_besides(&self) -> bool {
        let alone = |entry: &Entry| self.count == 1 && entry.watched;
        self.open_entries().any(|entry| entry.owed > Owed::Nothing && !alone(entry))
    }

    /// A listener is no more; true if it was the last.
    pub(super) fn close(&mut self, index: usize) -> bool {
        let entry = &mut self.entries[index];
        entry.closed = true;
        if self.open && entry.watched {
            let _ = self.epoll.remove(&*entry.listener);
        }
        self.entries.iter().all(|entry| entry.closed)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

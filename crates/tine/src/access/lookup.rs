//! One question to the resolver, and those who wait for its answer: threads and futures alike.

use super::name::{Failure, Name};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// A question under way. It is answered once, at its deadline at the latest.
#[derive(Debug)]
pub(super) struct Question {
    deadline: Instant,
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    answer: Option<Name>,
    /// One for each future that waits; it takes its own away when it is dropped.
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

impl Question {
    pub(super) fn new(deadline: Instant) -> Arc<Self> {
        Arc::new(Self { deadline, state: Mutex::default(), answered: Condvar::new() })
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn is_answered(&self) -> bool {
        self.state().answer.is_some()
    }

    /// Answers everybody who waits. A second answer comes too late and is dropped.
    pub(super) fn answer(&self, name: Name) {
        let mut state = self.state();
        state.answer.get_or_insert(name);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.answered.notify_all();
        wakers.into_values().for_each(Waker::wake);
    }

    fn wait(&self) -> Name {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let (state, _) = self
            .answered
            .wait_timeout_while(self.state(), left, |state| state.answer.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        state.answer.clone().unwrap_or(Name::Failed(Failure::TimedOut))
    }

    fn poll(&self, seat: &mut Option<u64>, waker: &Waker) -> Poll<Name> {
        let mut state = self.state();
        if let Some(name) = &state.answer {
            return Poll::Ready(name.clone());
        }
        let seat = *seat.get_or_insert_with(|| {
            state.next += 1;
            state.next
        });
        state.wakers.insert(seat, waker.clone());
        Poll::Pending
    }

    fn forget(&self, seat: u64) {
        self.state().wakers.remove(&seat);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is there or will be, within the resolver's timeout: a future for any runtime, which needs
/// no timer of it; or [`Lookup::wait`]. Whoever drops it has stopped waiting; the answer is still kept for
/// the next who asks.
#[derive(Debug)]
#[must_use = "it does nothing unless it is awaited or waited for"]
pub struct Lookup(Inner);

#[derive(Debug)]
enum Inner {
    Ready(Name),
    Asked { question: Arc<Question>, seat: Option<u64> },
}

impl Lookup {
    pub(super) fn ready(name: Name) -> Self {
        Self(Inner::Ready(name))
    }

    pub(super) fn asked(question: Arc<Question>) -> Self {
        Self(Inner::Asked { question, seat: None })
    }

    /// Blocks this thread until the answer is there or the timeout is over: for workers that serve one
    /// client at a time.
    #[must_use]
    pub fn wait(self) -> Name {
        match &self.0 {
            Inner::Ready(name) => name.clone(),
            Inner::Asked { question, .. } => question.wait(),
        }
    }
}

impl Future for Lookup {
    type Output = Name;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Name> {
        match &mut self.get_mut().0 {
            Inner::Ready(name) => Poll::Ready(name.clone()),
            Inner::Asked { question, seat } => question.poll(seat, cx.waker()),
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if let Inner::Asked { question, seat: Some(seat) } = &self.0 {
            question.forget(*seat);
        }
    }
}

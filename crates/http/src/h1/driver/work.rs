//! What is done for a request, in room that the connections of a worker lend each other: most requests allocate none.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;

use crate::observed::{Answer, Answering};
use crate::service::HttpService;

/// What a worker serves: a service, and room for the work at its requests.
#[derive(Clone, Debug)]
pub(crate) struct Application<S: HttpService> {
    pub(super) service: S,
    pub(super) spare: Rc<Spare<S>>,
}

impl<S: HttpService> Application<S> {
    pub(crate) fn new(service: S) -> Self {
        Self { service, spare: Rc::default() }
    }
}

pin_project_lite::pin_project! {
    /// What is done for a request.
    #[project = Now]
    pub(super) enum Work<S: HttpService> {
        Nothing,
        Making { #[pin] answering: Answering<S> },
        Sending { #[pin] answer: Answer<S::Answer> },
    }
}

impl<S: HttpService> Work<S> {
    /// The answer that is made, if one is.
    pub(super) fn answering(self: Pin<&mut Self>) -> Option<Pin<&mut Answering<S>>> {
        match self.project() {
            Now::Making { answering } => Some(answering),
            _ => None,
        }
    }

    /// The answer that is sent, if one is.
    pub(super) fn answer(self: Pin<&mut Self>) -> Option<Pin<&mut Answer<S::Answer>>> {
        match self.project() {
            Now::Sending { answer } => Some(answer),
            _ => None,
        }
    }
}

/// Room of a worker that no connection uses now: one request's.
pub(super) struct Spare<S: HttpService>(Cell<Option<Pin<Box<Work<S>>>>>);

impl<S: HttpService> Default for Spare<S> {
    fn default() -> Self {
        Self(Cell::new(None))
    }
}

impl<S: HttpService> fmt::Debug for Spare<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spare").finish_non_exhaustive()
    }
}

impl<S: HttpService> Spare<S> {
    pub(super) fn put(&self, work: Work<S>) -> Pin<Box<Work<S>>> {
        match self.0.take() {
            Some(mut room) => {
                room.set(work);
                room
            }
            None => Box::pin(work),
        }
    }

    /// The work is done.
    pub(super) fn give_back(&self, mut room: Pin<Box<Work<S>>>) {
        room.set(Work::Nothing);
        self.0.set(Some(room));
    }
}

//! What all connections of a worker share.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use tine::Context;
use tine_tls::Acceptor;

use crate::date::{DateField, Wall};
use crate::eviction::Crowd;
use crate::limits::Limits;
use crate::observer::Observer;
use crate::stream_memory::Streams;
use crate::trim::Trim;

/// See the module.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) context: Context,
    pub(crate) observer: Observer,
    pub(crate) crowd: Rc<Crowd>,
    pub(crate) trim: Rc<Trim>,
    pub(crate) streams: Streams,
    pub(crate) date: DateField,
    pub(crate) secure: Option<Acceptor>,
}

impl Settings {
    pub(crate) fn new(
        limits: Limits,
        observer: Observer,
        context: Context,
        secure: Option<Acceptor>,
    ) -> Self {
        let crowd = Rc::new(Crowd::default());
        let [first, second] = [crowd.clone(), crowd.clone()];
        context.when_crowded(move |waiting| first.make_room(waiting, tine::now()));
        context.when_leaving(move || second.wake());
        let (trim, streams) = (Rc::default(), Streams::default());
        let date = DateField::new(Wall::new());
        Self { limits, context, observer, crowd, trim, streams, date, secure }
    }

    /// Ready when the worker is to leave. A connection that is alone asks the kernel; the others are woken together, and
    /// to be polled costs each of them next to nothing.
    pub(crate) async fn leaving(&self) {
        if self.context.is_isolated() {
            // Large, and mostly over before it is asked.
            return Box::pin(self.context.leaving()).await;
        }
        poll_fn(|_| if self.context.is_leaving() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

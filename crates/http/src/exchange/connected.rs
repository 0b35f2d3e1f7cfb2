//! What the requests of one connection share.

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use tine::ExitGuard;

use crate::connection_state::Progress;
use crate::id::RequestId;
use crate::observer::Arrival;
use crate::settings::Settings;

/// See the module.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) settings: Rc<Settings>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) arrival: Arrival,
    /// All requests'. Made with the connection and not with its first request, so that what is left of a connection at
    /// rest lies together.
    guard: ExitGuard,
}

impl Connected {
    /// A connection begins, now.
    pub(crate) fn new(settings: &Rc<Settings>, arrival: Arrival) -> Rc<Self> {
        let guard = settings.context.exit_guard();
        let progress = Arc::new(Progress::new(tine::now()));
        Rc::new(Self { settings: settings.clone(), progress, arrival, guard })
    }

    /// What a request holds the worker with.
    pub(crate) fn exit_guard(&self) -> ExitGuard {
        self.guard.clone()
    }

    /// The header in which an answer says what its request is called, if it is to.
    pub(crate) fn id_header(&self, number: u64) -> Option<(HeaderName, HeaderValue)> {
        let name = self.settings.observer.id_header()?.clone();
        let id = RequestId::new(self.arrival.id(), number);
        HeaderValue::try_from(id.to_string()).ok().map(|id| (name, id))
    }
}

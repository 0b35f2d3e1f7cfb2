//! Logs by host: each site has its own.

use std::fmt;
use std::rc::Rc;

use http::Request;

use super::field::host;
use super::{AccessLog, Writer};

/// Says to which log a host's lines go.
type Choose = dyn Fn(&str) -> Option<usize>;

/// Access logs by the host that a request is for: in [`Options::host_logs`](crate::Options::host_logs). Made before the
/// workers, cheap to clone.
#[derive(Clone)]
pub struct HostLogs {
    logs: Rc<[AccessLog]>,
    choose: Rc<Choose>,
}

impl fmt::Debug for HostLogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostLogs").field("logs", &self.logs).finish_non_exhaustive()
    }
}

impl HostLogs {
    /// `choose` gets the host of each request, without its port and as the client wrote it, and gives the index of a log;
    /// `None` for [`Options::access_log`](crate::Options::access_log), where there is one. It is called for each
    /// request, and must be cheap.
    #[must_use]
    pub fn new(logs: Vec<AccessLog>, choose: impl Fn(&str) -> Option<usize> + 'static) -> Self {
        Self { logs: logs.into(), choose: Rc::new(choose) }
    }
}

/// The writers of a worker.
pub(crate) struct HostWriters {
    writers: Vec<Rc<Writer>>,
    choose: Rc<Choose>,
}

impl fmt::Debug for HostWriters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostWriters").field("writers", &self.writers).finish_non_exhaustive()
    }
}

impl HostWriters {
    /// In the worker; `open` makes the writer of a log.
    pub(crate) fn new(from: &HostLogs, open: impl FnMut(&AccessLog) -> Rc<Writer>) -> Self {
        Self { writers: from.logs.iter().map(open).collect(), choose: from.choose.clone() }
    }

    /// The writer for a request; `None` for that of all hosts.
    pub(crate) fn of<B>(&self, request: &Request<B>) -> Option<&Rc<Writer>> {
        let host = host(request.uri(), request.headers()).unwrap_or_default();
        let index = (self.choose)(str::from_utf8(host).ok()?)?;
        self.writers.get(index)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rc<Writer>> {
        self.writers.iter()
    }
}

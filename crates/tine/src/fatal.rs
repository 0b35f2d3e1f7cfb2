//! "This service cannot go on": what a worker can say of the whole.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::seat::Seat;
use crate::worker::BoxError;

/// An error that concerns the service, not a connection or a worker: the licence has run out, the schema of the
/// database is another program's. What follows is [`crate::PoolConfig::fatal`]'s choice; by default the
/// service stops in good order, with this text as its reason and exit code 1 (row A25).
///
/// A worker says it by failing with it: from the closure, at boot too, or from a handler of [`crate::Worker::serve`],
/// where any other error ends a connection only. Whatever else runs in a worker has an [`Alarm`].
///
/// ```
/// use tine::{Conn, Fatal};
///
/// fn handle(_conn: Conn) -> std::io::Result<()> {
///     Err(Fatal::new("the licence has run out").into())
/// }
/// ```
#[derive(Debug)]
pub struct Fatal(String);

impl Fatal {
    /// With this reason, for whoever reads the log.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether that is what a worker's code has failed with.
    pub(crate) fn is(error: &BoxError) -> bool {
        error.is::<Self>() || error.downcast_ref::<io::Error>().is_some_and(Self::is_io)
    }

    pub(crate) fn is_io(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

/// Says from anywhere in a worker what a [`Fatal`] says; cheap to clone, good in every thread. From
/// [`crate::Worker::alarm`] and `Context::alarm`.
#[derive(Clone, Debug)]
pub struct Alarm(Arc<Seat>);

impl Alarm {
    pub(crate) fn new(seat: Arc<Seat>) -> Self {
        Self(seat)
    }

    /// The service cannot go on, for this reason. The worker takes nothing new from now on and finishes what it
    /// has; only the first call counts.
    pub fn fatal(&self, reason: &str) {
        self.0.fatal(reason);
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fatal {}

impl From<Fatal> for io::Error {
    fn from(fatal: Fatal) -> Self {
        Self::other(fatal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_again_as_it_is_and_as_an_error_of_a_handler() {
        assert!(Fatal::is(&Fatal::new("x").into()));
        let error = io::Error::from(Fatal::new("the reason"));
        assert_eq!(error.to_string(), "the reason");
        assert!(Fatal::is_io(&error) && Fatal::is(&error.into()));
        assert!(!Fatal::is(&"x".into()) && !Fatal::is(&io::Error::other("x").into()));
    }
}

//! What a connection and a request are called in logs: `C3.17-2` is the second request on the seventeenth
//! connection of worker 3.

use std::cell::Cell;
use std::fmt;

/// A connection's name: unique in the life of the service, because a worker's number is never given twice
/// (row M24).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    worker: u64,
    number: u64,
}

impl ConnectionId {
    pub(crate) fn worker(self) -> u64 {
        self.worker
    }

    pub(crate) fn number(self) -> u64 {
        self.number
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "C{}.{}", self.worker, self.number)
    }
}

/// A request's name: its connection's, and the number it has there, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    connection: ConnectionId,
    number: u64,
}

impl RequestId {
    pub(crate) fn new(connection: ConnectionId, number: u64) -> Self {
        Self { connection, number }
    }

    /// Its connection.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Its number on the connection, from 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.connection, self.number)
    }
}

/// Numbers a worker's connections.
#[derive(Debug)]
pub(crate) struct Numbers {
    worker: u64,
    last: Cell<u64>,
}

impl Numbers {
    pub(crate) fn new(worker: u64) -> Self {
        Self { worker, last: Cell::new(0) }
    }

    pub(crate) fn next(&self) -> ConnectionId {
        self.last.set(self.last.get() + 1);
        ConnectionId { worker: self.worker, number: self.last.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_worker_connection_and_request() {
        let numbers = Numbers::new(3);
        let (first, second) = (numbers.next(), numbers.next());
        assert_eq!((first.to_string(), second.to_string()), ("C3.1".into(), "C3.2".into()));
        let request = RequestId::new(second, 17);
        assert_eq!(request.to_string(), "C3.2-17");
        assert_eq!((request.connection(), request.number()), (second, 17));
        assert_ne!(first, Numbers::new(4).next());
    }
}

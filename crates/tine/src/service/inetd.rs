//! A service that is started for one connection: inetd's way (row N44).

use std::io::ErrorKind;
use std::rc::Rc;

use super::Service;
use crate::conn::Conn;
use crate::daemon::inetd_connection;
use crate::listen::Listener;
use crate::worker::Worker;
use crate::{Error, Result};

impl Service {
    /// A worker in this very process that has the connection on standard input, and nothing else; or, if that
    /// is a socket that listens (inetd's `wait`), one that listens there. `None` if the client has gone already.
    pub(crate) fn inetd(mut self) -> Result<Option<Worker>> {
        // Before anything is taken over.
        self.plan()?;
        let (socket, identity) = inetd_connection().map_err(|error| {
            Error::config(format!(
                "standard input is no connection ({error}): inetd, or systemd with \
                 StandardInput=socket, puts one there"
            ))
        })?;
        if let Some(pool) = self.pools.first_mut() {
            pool.endpoints.clear();
            pool.sockets.clear();
            pool.inherited = None;
        }
        if let (true, Some(pool)) = (identity.listening, self.pools.first_mut()) {
            pool.sockets.push(socket);
            return self.solo().map(|(worker, _)| Some(worker));
        }
        let failed = |error| Error::os("cannot take the connection over", error);
        let listener = Rc::new(Listener::of_connection(&socket, &identity)?);
        let peer = match tine_os::socket::peer_address(&socket) {
            // It has reset the connection.
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(None),
            other => other.map_err(failed)?,
        };
        let (mut worker, _) = self.solo()?;
        let busy = worker.busy();
        worker.given = Some(Conn::new(socket, &peer, listener, busy));
        Ok(Some(worker))
    }
}

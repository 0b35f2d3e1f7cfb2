//! A connection as its handler sees it: read and written in the clear, encrypted on the way or not.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use rustls::{ServerConnection, Stream};
use tine::Conn;

use crate::agreed::Agreed;

/// How long the last words of a session may take: they are a few bytes.
const FAREWELL: Duration = Duration::from_millis(100);

/// A connection after its handshake, or one without TLS. Reads and writes block.
///
/// A client that ends an encrypted session without saying so (`close_notify`) is an error of the read,
/// `UnexpectedEof`: somebody may have cut it short. Dropping it says so to the client, and closes.
pub struct Session {
    conn: Conn,
    tls: Option<Box<ServerConnection>>,
    agreed: Option<Agreed>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("conn", &self.conn)
            .field("agreed", &self.agreed)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn plain(conn: Conn) -> Self {
        Self { conn, tls: None, agreed: None }
    }

    pub(crate) fn encrypted(tls: ServerConnection, conn: Conn) -> Self {
        let agreed = Agreed::of(&tls);
        Self { conn, agreed: Some(agreed), tls: Some(Box::new(tls)) }
    }

    /// What client and server have agreed upon; `None` without TLS.
    #[must_use]
    pub fn agreed(&self) -> Option<&Agreed> {
        self.agreed.as_ref()
    }

    /// The client's address; see [`Conn::peer`].
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.conn.peer()
    }

    /// The connection under it. What is read from there or written there is not encrypted.
    #[must_use]
    pub fn conn(&self) -> &Conn {
        &self.conn
    }

    /// Tells the client that nothing more comes. It can still send.
    ///
    /// # Errors
    /// What the socket says.
    pub fn finish(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        tls.send_close_notify();
        while tls.wants_write() {
            tls.write_tls(&mut self.conn)?;
        }
        Ok(())
    }
}

impl Read for Session {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => Stream::new(&mut **tls, &mut self.conn).read(buffer),
            None => self.conn.read(buffer),
        }
    }
}

impl Write for Session {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => Stream::new(&mut **tls, &mut self.conn).write(bytes),
            None => self.conn.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => Stream::new(&mut **tls, &mut self.conn).flush(),
            None => self.conn.flush(),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.tls.is_some() && self.conn.set_timeout(Some(FAREWELL)).is_ok() {
            // Whoever does not listen need not be told.
            let _ = self.finish();
        }
    }
}

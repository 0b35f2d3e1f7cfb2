//! The handshake of a connection whose handler blocks.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection};
use tine::Conn;

use crate::session::Session;

/// How long a handshake may take unless told: three round trips and a lost packet each, on the worst of links.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is asked whether somebody else waits for this worker, and how often in a row that must be so.
const TICK: Duration = Duration::from_millis(100);
const WANTED: u32 = 3;

/// Shakes hands, in one worker; see [`crate::Tls::acceptor`].
#[derive(Clone, Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    timeout: Duration,
}

impl Acceptor {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Self {
        Self { config, timeout: HANDSHAKE_TIMEOUT }
    }

    /// How long a handshake may take. Default [`HANDSHAKE_TIMEOUT`].
    #[must_use]
    pub fn handshake_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// What it is made of, for rustls and what is built on it.
    #[must_use]
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// The session on a connection whose reads block: encrypted if its listener is marked for TLS
    /// ([`tine::listen::Listener::tls`]), as it is otherwise. So one handler serves both.
    ///
    /// The handshake is bounded in time, and ends early while others wait and no worker of the pool is idle. The
    /// connection's own time-outs are off after it.
    ///
    /// # Errors
    /// `TimedOut`; `InvalidData` for what is no TLS, or has nothing in common with us; what the socket says.
    /// The client was told, as far as it can be.
    pub fn accept(&self, conn: Conn) -> io::Result<Session> {
        if !conn.listener().tls() {
            return Ok(Session::plain(conn));
        }
        let tls = ServerConnection::new(self.config.clone()).map_err(io::Error::other)?;
        let mut handshake = Handshake { tls, conn, until: Instant::now() + self.timeout };
        handshake.shake()?;
        handshake.conn.set_timeout(None)?;
        Ok(Session::encrypted(handshake.tls, handshake.conn))
    }
}

/// One that is under way.
struct Handshake {
    tls: ServerConnection,
    conn: Conn,
    until: Instant,
}

impl Handshake {
    fn shake(&mut self) -> io::Result<()> {
        while self.tls.is_handshaking() {
            self.write()?;
            if self.tls.is_handshaking() {
                self.read()?;
            }
        }
        self.write()
    }

    /// Time until then, a tick at most.
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(left.min(TICK)),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.conn.set_timeout(Some(self.left()?))?;
            match self.tls.write_tls(&mut self.conn) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => drop(result?),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut wanted = 0;
        loop {
            self.conn.set_timeout(Some(self.left()?))?;
            match self.tls.read_tls(&mut self.conn) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wanted = if self.conn.is_wanted_elsewhere() { wanted + 1 } else { 0 };
                    if wanted >= WANTED {
                        let text = "silent, while others wait and no worker is idle";
                        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let read = self.tls.process_new_packets();
        read.map(drop).map_err(|error| {
            // The alert, if there is room for it.
            let _ = self.tls.write_tls(&mut self.conn);
            io::Error::new(io::ErrorKind::InvalidData, error)
        })
    }
}

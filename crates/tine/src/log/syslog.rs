//! A log at the syslog daemon of this machine: a datagram a line (RFC 3164, as it is spoken at `/dev/log`).

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf, absolute};
use std::str::FromStr;

use super::level::Level;
use crate::{Error, Result};

/// Bytes an ident has at most (RFC 3164 4.1.3).
const IDENT_BYTES: usize = 32;

/// What sort of program writes, for the syslog daemon's rules (RFC 3164 4.1.1). Default: `daemon`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

/// Their names, as syslog.conf(5) has them. Facility 0 is the kernel's own.
const FACILITIES: [(&str, u8); 19] = [
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

impl Default for Facility {
    fn default() -> Self {
        Self(3)
    }
}

impl FromStr for Facility {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.to_ascii_lowercase();
        let found = FACILITIES.iter().find(|(name, _)| *name == lower);
        found.map(|&(_, number)| Self(number)).ok_or_else(|| {
            let names = FACILITIES.map(|(name, _)| name).join(", ");
            Error::config(format!("syslog facility {text:?}: it is one of {names}"))
        })
    }
}

/// How to reach the syslog daemon, and as who.
#[derive(Clone, Debug)]
pub struct Syslog {
    facility: Facility,
    ident: String,
    path: PathBuf,
}

impl Default for Syslog {
    fn default() -> Self {
        Self::new()
    }
}

impl Syslog {
    /// Facility `daemon`, ident `tine`, at `/dev/log`.
    #[must_use]
    pub fn new() -> Self {
        let facility = Facility::default();
        Self { facility, ident: "tine".to_owned(), path: PathBuf::from("/dev/log") }
    }

    /// What sort of program this is.
    #[must_use]
    pub fn facility(mut self, facility: Facility) -> Self {
        self.facility = facility;
        self
    }

    /// The program's name: at most 32 bytes of printable ASCII without blanks, `[`, `]` and `:`.
    #[must_use]
    pub fn ident(mut self, ident: impl Into<String>) -> Self {
        self.ident = ident.into();
        self
    }

    /// The daemon's datagram socket.
    #[must_use]
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = path.into();
        self
    }

    fn check(&self) -> Result<()> {
        let allowed = |byte: &u8| byte.is_ascii_graphic() && !b"[]:".contains(byte);
        let bytes = self.ident.as_bytes();
        if (1..=IDENT_BYTES).contains(&bytes.len()) && bytes.iter().all(allowed) {
            return Ok(());
        }
        Err(Error::config(format!(
            "syslog ident {:?}: it is at most {IDENT_BYTES} printable ASCII characters without blanks, \
             brackets and colons",
            self.ident
        )))
    }
}

/// A socket that is connected to the daemon's.
///
/// It is one open socket for all processes that are forked: if the daemon was restarted, the first of them
/// that can reach the path calls it again for all, those in other root directories too.
pub(super) struct Connection {
    syslog: Syslog,
    socket: UnixDatagram,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.syslog.fmt(f)
    }
}

impl Connection {
    pub(super) fn open(mut syslog: Syslog) -> Result<Self> {
        syslog.check()?;
        let shown = syslog.path.clone();
        let open = || {
            // The working directory of a daemon changes.
            syslog.path = absolute(&syslog.path)?;
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            let connection = Self { syslog, socket };
            connection.call()?;
            Ok(connection)
        };
        open().map_err(|error| unreachable_at(&shown, &error))
    }

    /// Connects, or connects again.
    pub(super) fn call(&self) -> io::Result<()> {
        self.socket.connect(&self.syslog.path)
    }

    pub(super) fn put(&self, level: Level, text: &str) -> io::Result<()> {
        let Syslog { facility: Facility(facility), ident, .. } = &self.syslog;
        let priority = facility << 3 | severity(level);
        // Without a time, which the daemon supplies (RFC 3164 4.3.2): it knows where it is.
        let packet = format!("<{priority}>{ident}[{}]: {text}", std::process::id());
        match self.socket.send(packet.as_bytes()) {
            Err(error) if is_gone(&error) => {
                self.call()?;
                self.socket.send(packet.as_bytes())?;
            }
            sent => drop(sent?),
        }
        Ok(())
    }
}

/// RFC 3164 4.1.1.
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug => 7,
    }
}

/// Whether the daemon has ended since; the kernel disconnects the socket then.
fn is_gone(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionRefused | ConnectionReset | NotConnected)
}

fn unreachable_at(path: &Path, error: &io::Error) -> Error {
    const EPROTOTYPE: i32 = 91;
    let path = path.display();
    Error::config(match error.raw_os_error() {
        Some(EPROTOTYPE) => format!("syslog at {path}: it takes no datagrams"),
        _ => format!("syslog at {path} cannot be reached: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::*;
    use crate::log::{Log, debug, error, info, warning};

    struct Daemon {
        socket: UnixDatagram,
        path: PathBuf,
        _directory: Option<tempfile::TempDir>,
    }

    impl Daemon {
        fn start() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("log");
            Self { _directory: Some(directory), ..Self::at(&path) }
        }

        fn at(path: &Path) -> Self {
            let socket = UnixDatagram::bind(path).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            Self { socket, path: path.to_owned(), _directory: None }
        }

        fn log(&self) -> Log {
            Log::default().to_syslog(Syslog::new().path(&self.path)).unwrap()
        }

        fn packet(&self) -> String {
            let mut packet = vec![0; 65536];
            let length = self.socket.recv(&mut packet).unwrap();
            String::from_utf8(packet[..length].to_vec()).unwrap()
        }

        fn expect(&self, priority: u8, text: &str) {
            let pid = std::process::id();
            assert_eq!(self.packet(), format!("<{priority}>tine[{pid}]: {text}"));
        }

        /// It ends, and another is there.
        fn restarted(&mut self) {
            std::fs::remove_file(&self.path).unwrap();
            self.socket = Self::at(&self.path).socket;
        }
    }

    #[test]
    fn a_line_is_a_datagram_with_priority_ident_and_pid() {
        let daemon = Daemon::start();
        let syslog = Syslog::new().path(&daemon.path).ident("shop-1");
        let log = Log::default().with_level(Level::Debug);
        let log = log.to_syslog(syslog.facility("LOCAL7".parse().unwrap())).unwrap();
        error!(log, "one");
        warning!(log, "two\nforged");
        info!(log, "three");
        debug!(log, "{}", "x".repeat(10_000));
        let pid = std::process::id();
        for (priority, text) in [(187, "one"), (188, "two\\nforged"), (190, "three")] {
            assert_eq!(daemon.packet(), format!("<{priority}>shop-1[{pid}]: {text}"));
        }
        let long = daemon.packet();
        assert!(long.starts_with("<191>") && long.ends_with("bytes cut]") && long.len() <= 8192);
    }

    #[test]
    fn a_restarted_daemon_is_called_again() {
        let mut daemon = Daemon::start();
        let log = daemon.log();
        info!(log, "one");
        daemon.expect(30, "one");
        daemon.restarted();
        info!(log, "two");
        daemon.expect(30, "two");
        daemon.restarted();
        log.reopen().unwrap();
        info!(log, "three");
        daemon.expect(30, "three");
    }

    #[test]
    fn lines_for_a_daemon_that_is_away_are_counted() {
        let mut daemon = Daemon::start();
        let log = daemon.log();
        std::fs::remove_file(&daemon.path).unwrap();
        daemon.socket = UnixDatagram::unbound().unwrap();
        assert!(log.reopen().is_err());
        info!(log, "lost");
        info!(log, "lost, too");
        daemon.socket = Daemon::at(&daemon.path).socket;
        info!(log, "back");
        daemon.expect(28, "2 lines were lost: No such file or directory (os error 2)");
        daemon.expect(30, "back");
    }

    #[test]
    fn a_daemon_that_does_not_read_is_not_waited_for() {
        let daemon = Daemon::start();
        let log = daemon.log();
        // Its queue is bounded (net.unix.max_dgram_qlen), and so is the buffer of the socket.
        (0..100_000).for_each(|number| info!(log, "{number}"));
        daemon.expect(30, "0");
        info!(log, "room again");
        let mut packets: Vec<String> = Vec::new();
        daemon.socket.set_nonblocking(true).unwrap();
        let mut packet = [0; 256];
        while let Ok(length) = daemon.socket.recv(&mut packet) {
            packets.push(String::from_utf8_lossy(&packet[..length]).into_owned());
        }
        info!(log, "at last");
        daemon.socket.set_nonblocking(false).unwrap();
        let told = packets.into_iter().chain([daemon.packet()]);
        let told: Vec<String> = told.filter(|packet| packet.contains("were lost")).collect();
        assert!(told[0].ends_with("lines were lost: nobody read them"), "{told:?}");
    }

    #[test]
    fn what_cannot_be_reached_or_said_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let refused = |syslog: Syslog| {
            let error = Log::default().to_syslog(syslog.path(&path)).unwrap_err();
            assert!(error.is_config(), "{error:?}");
            error.to_string()
        };
        assert!(refused(Syslog::new()).contains("cannot be reached: No such file"));
        for ident in ["", "a b", "a[1]", "a:", "ä", &"x".repeat(33)] {
            assert!(refused(Syslog::new().ident(ident)).contains("syslog ident"), "{ident}");
        }
        let _stream = UnixListener::bind(&path).unwrap();
        assert!(refused(Syslog::new()).contains("takes no datagrams"));
        assert!("kern".parse::<Facility>().unwrap_err().to_string().contains("daemon, auth"));
    }
}

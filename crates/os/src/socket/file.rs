//! Unix sockets and the files they leave in the file system.

use super::{OwnedFd, listen, new};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect};
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The longest path of a Unix socket in bytes: `sun_path` less its final NUL (unix(7)).
pub const UNIX_PATH_MAX: usize = 107;

/// The name of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnixName {
    /// A file; at most [`UNIX_PATH_MAX`] bytes.
    Path(PathBuf),
    /// A name in the abstract namespace, without its leading NUL: no file, gone with its last descriptor.
    Abstract(Vec<u8>),
}

impl UnixName {
    /// `ENAMETOOLONG` if it does not fit, `EINVAL` if a path has a NUL in it.
    fn address(&self) -> io::Result<SocketAddrUnix> {
        Ok(match self {
            Self::Path(path) => SocketAddrUnix::new(path.as_path())?,
            Self::Abstract(name) => SocketAddrUnix::new_abstract_name(name)?,
        })
    }

    /// `None` for a socket that was not bound.
    pub(super) fn of(address: &SocketAddrUnix) -> Option<Self> {
        let path = || {
            address
                .path_bytes()
                // That has a final NUL where the path is as long as it may be.
                .and_then(|bytes| bytes.split(|&byte| byte == 0).next())
                .map(|path| Self::Path(Path::new(OsStr::from_bytes(path)).to_owned()))
        };
        match address.abstract_name() {
            Some([]) => None,
            Some(name) => Some(Self::Abstract(name.to_vec())),
            None => path(),
        }
    }
}

/// Binds a Unix stream socket, calls `before_listening`, and only then listens: until then a client is
/// refused, so ownership and mode can be put right without a moment in which the wrong user gets in.
///
/// `private` makes the file appear with mode 0600 or less. It does so without touching the umask, which
/// belongs to all threads: the kernel takes a new socket file's mode from the socket's own, less the umask.
/// An existing file is `EADDRINUSE`, whatever it is.
pub fn unix_listener(
    name: &UnixName,
    backlog: u32,
    private: bool,
    before_listening: impl FnOnce() -> io::Result<()>,
) -> io::Result<OwnedFd> {
    let socket = bound(SocketType::STREAM, name, private)?;
    before_listening()?;
    listen(&socket, backlog)?;
    Ok(socket)
}

/// Binds a Unix datagram socket. `private` as for [`unix_listener`].
pub fn unix_datagram(name: &UnixName, private: bool) -> io::Result<OwnedFd> {
    bound(SocketType::DGRAM, name, private)
}

fn bound(kind: SocketType, name: &UnixName, private: bool) -> io::Result<OwnedFd> {
    let address = name.address()?;
    let socket = new(AddressFamily::UNIX, kind)?;
    if private {
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}

/// Asks whether a process has the socket file `path`, without being noticed by a listening one: a datagram
/// socket is connected to it, which for a stream socket fails with `EPROTOTYPE`.
///
/// True: somebody has it, even if it does not listen yet. False: a stale file that nobody has, or nothing.
/// An error (`EACCES`) means it cannot be told.
pub fn probe_unix(path: &Path) -> io::Result<bool> {
    let probe = new(AddressFamily::UNIX, SocketType::DGRAM)?;
    match connect(&probe, &SocketAddrUnix::new(path)?) {
        // EPERM: a datagram socket that talks to one partner only.
        Ok(()) | Err(rustix::io::Errno::PROTOTYPE | rustix::io::Errno::PERM) => Ok(true),
        Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Gives a socket file its owner and mode, in this order; what is `None` stays.
///
/// The last component is opened without following links and must be a socket, so that nobody who may write
/// to the directory can lead this to another file. `EINVAL` if it is something else.
pub fn set_socket_file(
    path: &Path,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::Socket {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    if uid.is_some() || gid.is_some() {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        rustix::fs::chownat(&file, "", uid, gid, AtFlags::EMPTY_PATH)?;
    }
    if let Some(mode) = mode {
        // A descriptor opened with O_PATH cannot be given to fchmod; its link in /proc can.
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::chmod(link, Mode::from_raw_mode(mode & 0o7777))?;
    }
    Ok(())
}

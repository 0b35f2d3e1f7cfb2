//! Unix sockets: bound where nothing of anybody else's is in the way, and cleaned up after.

use super::refusal::{self, Refused};
use super::resolve::Want;
use super::{Kind, Listener};
use crate::endpoint::{Endpoint, UnixName};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf, absolute};
use std::{fs, io, process};
use tine_os::socket::{self, UNIX_PATH_MAX};

/// A socket file, known again by its inode: another server may have put its own in the same place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SocketFile {
    /// Absolute, so that it is found after a change of directory.
    path: PathBuf,
    device: u64,
    inode: u64,
    creator: u32,
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self {
            path: absolute(path)?,
            device: found.dev(),
            inode: found.ino(),
            creator: process::id(),
        })
    }

    /// Removes the file, unless another process made it, it is gone, or something else is in its place.
    pub(super) fn remove(&self) -> io::Result<()> {
        // Until it has taken over, a process removes nothing that the one before it, to which it may go back, has made.
        if process::id() != self.creator || tine_os::comeback::is_open() {
            return Ok(());
        }
        match fs::symlink_metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (self.device, self.inode) => {
                fs::remove_file(&self.path)
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Refuses names that cannot be bound anywhere.
pub(super) fn validate(endpoint: &Endpoint) -> Result<()> {
    let (Endpoint::Unix { name, .. } | Endpoint::UnixDatagram(name)) = endpoint else {
        return Ok(());
    };
    let (what, length) = match name {
        UnixName::Path(path) => ("path", path.as_os_str().len()),
        UnixName::Abstract(name) => ("abstract name", name.len()),
    };
    if length > UNIX_PATH_MAX {
        return Err(Error::config(format!(
            "cannot listen on {endpoint}: its {what} has {length} bytes, and {UNIX_PATH_MAX} is the most the system \
             takes: choose a shorter one, or a relative path"
        )));
    }
    match name {
        UnixName::Path(path) if path.as_os_str().as_bytes().contains(&0) => {
            Err(Error::config(format!("cannot listen on {endpoint}: a path cannot contain a NUL")))
        }
        _ => Ok(()),
    }
}

/// Binds a Unix socket, in place of a stale file if there is one.
pub(super) fn bind(
    want: &Want<'_>,
    name: &UnixName,
    notes: &mut Vec<String>,
) -> std::result::Result<Listener, Refused> {
    let path = match name {
        UnixName::Path(path) => Some(path.as_path()),
        UnixName::Abstract(_) => None,
    };
    if let Some(path) = path
        && make_way(path).map_err(|(reason, error)| refusal::unix(want, &reason, error))?
    {
        notes.push(format!("{} replaces a stale socket file", want.describe()));
    }
    let mut file = None;
    let made = make(want, name, path, &mut file)
        .and_then(|socket| Listener::new(socket, want.endpoint, want.options));
    match made {
        Ok(listener) => Ok(Listener { file, ..listener }),
        Err(error) => {
            let reason = if let Some(file) = file {
                // What failed is what is reported; a file that stays is stale and will be replaced.
                let _ = file.remove();
                refusal::permissions(&error)
            } else {
                refusal::unix_bind(path, &error)
            };
            Err(refusal::unix(want, &reason, error))
        }
    }
}

/// Binds, notes the file that came of it, gives it owner and mode, and then listens.
fn make(
    want: &Want<'_>,
    name: &UnixName,
    path: Option<&Path>,
    file: &mut Option<SocketFile>,
) -> io::Result<OwnedFd> {
    let options = want.options;
    let (mode, uid, gid) = (options.unix_mode, options.unix_uid, options.unix_gid);
    let private = path.is_some() && (mode.is_some() || uid.is_some() || gid.is_some());
    let mut settle = || match path {
        Some(path) => {
            *file = Some(SocketFile::at(path)?);
            if private { socket::set_socket_file(path, mode, uid, gid) } else { Ok(()) }
        }
        None => Ok(()),
    };
    if want.kind == Kind::Unix {
        return socket::unix_listener(name, options.backlog, private, &mut settle);
    }
    let socket = socket::unix_datagram(name, private)?;
    settle()?;
    Ok(socket)
}

/// What is at a path where a socket is to be.
enum There {
    Nothing,
    /// A socket file that no process has.
    Stale(SocketFile),
    /// A process has it.
    Live,
}

/// Looks, and says in words why what is there would stay where it is.
fn look(path: &Path) -> std::result::Result<There, (String, io::Error)> {
    let unclear = |error: io::Error| (refusal::unix_bind(Some(path), &error), error);
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
        Err(error) => return Err(unclear(error)),
    };
    if !found.file_type().is_socket() {
        let reason = refusal::not_a_socket(found.file_type());
        return Err((reason, io::ErrorKind::AddrInUse.into()));
    }
    let file = SocketFile::at(path).map_err(unclear)?;
    match socket::probe_unix(path) {
        Ok(true) => Ok(There::Live),
        Ok(false) => Ok(There::Stale(file)),
        Err(error) => Err((refusal::cannot_tell(&error), error)),
    }
}

/// Removes a socket file that no process has. Anything else in the way is refused, with the reason in words.
///
/// Two servers that start at the same moment could both find the file stale; the inode is compared once more
/// before it is removed, and a socket counts as taken from the moment it is bound.
fn make_way(path: &Path) -> std::result::Result<bool, (String, io::Error)> {
    match look(path)? {
        There::Nothing => Ok(false),
        There::Live => Err((refusal::live_socket(path), io::ErrorKind::AddrInUse.into())),
        There::Stale(file) => match file.remove() {
            Ok(()) => Ok(true),
            Err(error) => Err((refusal::unix_bind(Some(path), &error), error)),
        },
    }
}

/// Whether [`bind`] could, without doing it; the note is of what is there.
pub(super) fn check(
    want: &Want<'_>,
    name: &UnixName,
) -> std::result::Result<Option<String>, Refused> {
    // A name that is no file is free or taken, and nothing else can be wrong with it.
    let UnixName::Path(path) = name else { return Ok(None) };
    let there = look(path).map_err(|(reason, error)| refusal::unix(want, &reason, error))?;
    tine_os::possible::make(path)
        .map_err(|error| refusal::unix(want, &refusal::unix_bind(Some(path), &error), error))?;
    Ok(match there {
        There::Nothing => None,
        There::Stale(_) => Some(format!("{}: a stale socket file is there", want.describe())),
        There::Live => Some(refusal::is_taken(&want.describe(), refusal::has_socket(path))),
    })
}

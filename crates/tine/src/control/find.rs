//! Where control sockets are, so that a service can be found by its process or by its port.
//!
//! | for whom | directory |
//! |---|---|
//! | root | `/run/tine` |
//! | others, in a session | `$XDG_RUNTIME_DIR/tine` |
//! | others | `/tmp/tine-UID`, theirs alone with mode 0700 |
//!
//! In it, `PID.sock` is a service's socket, and `port-PORT.sock` leads to the one that listens on a TCP port.
//!
//! Every user can make a directory in `/tmp`, and root looks into those of all users. So a directory counts only if it
//! is its user's and no other user can write in it. A socket counts only if the kernel says that this user listens
//! there, as the process that the file's name says ([`Instance::is_its`]). No other process is spoken to.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tine_os::privilege::effective_uid;
use tine_os::socket::{Credentials, peer_credentials, probe_unix, unix_connect};

use crate::pidfile::is_alive;
use crate::{Error, Result};

/// A service that executes itself anew has no socket for a moment.
const GAP: Duration = Duration::from_secs(1);
/// Sockets of one directory that are looked at; no user has as many services.
const SOCKETS_MAX: usize = 1024;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Where the service of this process has its socket unless somebody says otherwise.
pub(crate) fn default_path(pid: u32) -> PathBuf {
    own_directory().join(format!("{pid}.sock"))
}

/// Where services of this process's user have their sockets.
pub(super) fn own_directory() -> PathBuf {
    let uid = effective_uid();
    if uid == 0 {
        return PathBuf::from("/run/tine");
    }
    // A session that became another user's may still say where the first one's directory is.
    match session_directory().filter(|session| is_directory_of(session, uid)) {
        Some(session) => session.join("tine"),
        None => shared(uid),
    }
}

/// `$XDG_RUNTIME_DIR`, which counts only if it is absolute (XDG Base Directory Specification).
///
/// The one look at the environment that finding needs. A service does it before it has a thread; what
/// changes the environment beside it would be a data race.
fn session_directory() -> Option<PathBuf> {
    let directory = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    directory.filter(|directory| directory.is_absolute())
}

fn shared(uid: u32) -> PathBuf {
    PathBuf::from(format!("/tmp/tine-{uid}"))
}

/// Makes the directory, or refuses one in which somebody else could put what he likes; in `/tmp`, where
/// anybody could have made it, one that anybody else can look into.
pub(super) fn prepare(directory: &Path) -> Result<()> {
    let shown = directory.display();
    let failed = |error: io::Error| {
        Error::os(format!("cannot make the directory {shown} for control sockets: {error}"), error)
    };
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let found = fs::symlink_metadata(directory).map_err(failed)?;
    if is_of(directory, &found, effective_uid()) {
        return Ok(());
    }
    let kind = if found.is_dir() { "directory" } else { "file that is none" };
    let (uid, mode) = (found.uid(), found.mode() & 0o7777);
    Err(Error::config(format!(
        "control sockets cannot be kept in {shown}: it must be a directory of user {} with mode 0700, and \
         is a {kind} of user {uid} with mode {mode:04o}: remove it, or choose another path",
        effective_uid(),
    )))
}

/// Removes the sockets of services that ended without doing so, and links that lead nowhere. Failures do
/// no harm: what stays is not taken for a service.
pub(super) fn sweep(directory: &Path) {
    for Instance { pid, path, .. } in sockets(directory, effective_uid()) {
        // Neither suffices alone: a service in another pid namespace has a socket and, here, no process;
        // one that executes itself anew has a process and, for a moment, no socket.
        if matches!(is_alive(pid), Ok(false)) && matches!(probe_unix(&path), Ok(false)) {
            let _ = fs::remove_file(path);
        }
    }
    for (name, path) in entries(directory) {
        // One that is about to be renamed, of a service that did not come to it; see `link`.
        let maker =
            name.strip_prefix(".port-").and_then(|rest| rest.split_once('.')?.1.parse().ok());
        if maker.is_some_and(|maker| matches!(is_alive(maker), Ok(false))) {
            let _ = fs::remove_file(&path);
        }
        let is_link = name.starts_with("port-")
            && fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
        if is_link
            && matches!(fs::metadata(&path), Err(error) if error.kind() == ErrorKind::NotFound)
        {
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes the service with this socket the one that is found by this port.
pub(super) fn link(socket: &Path, port: u16) -> io::Result<()> {
    let target = socket.file_name().ok_or(ErrorKind::InvalidInput)?;
    let new = socket.with_file_name(format!(".port-{port}.{}", std::process::id()));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => symlink(target, &new)?,
    }
    fs::rename(&new, link_path(socket, port))
}

/// Undoes [`link`], unless another service is found by now.
pub(super) fn unlink(socket: &Path, port: u16) {
    let link = link_path(socket, port);
    if fs::read_link(&link).is_ok_and(|target| Some(target.as_os_str()) == socket.file_name()) {
        let _ = fs::remove_file(link);
    }
}

fn link_path(socket: &Path, port: u16) -> PathBuf {
    socket.with_file_name(format!("port-{port}.sock"))
}

/// A service, or what is left of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Instance {
    pub(super) pid: u32,
    pub(super) path: PathBuf,
    /// The user whose directory it is in.
    pub(super) owner: u32,
}

impl Instance {
    fn of(path: PathBuf, owner: u32) -> Option<Self> {
        let pid = path.file_name()?.to_str()?.strip_suffix(".sock")?.parse().ok()?;
        let is_socket =
            fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_socket());
        is_socket.then_some(Self { pid, path, owner })
    }

    /// Whether the process that listens at its socket is the right one. A process of another pid namespace has no number here.
    pub(super) fn is_its(&self, peer: Credentials) -> bool {
        peer.uid == self.owner && peer.pid.is_none_or(|pid| pid.get() == self.pid)
    }

    /// The same, asked now. One that is too busy to be asked may be.
    fn is_true(&self) -> bool {
        match unix_connect(&self.path).and_then(peer_credentials) {
            Ok(peer) => self.is_its(peer),
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// Whether it listens. One that has a process, and no socket, is given a moment.
    fn is_live(&self, until: Instant) -> bool {
        while is_alive(self.pid).unwrap_or(true) {
            match probe_unix(&self.path) {
                Ok(false) if Instant::now() < until => std::thread::sleep(LOOK),
                answer => return answer.unwrap_or(false),
            }
        }
        false
    }
}

/// The services that run, in order of their pids.
pub(super) fn running(directories: &[Directory]) -> Vec<Instance> {
    let all = directories.iter().flat_map(|it| sockets(&it.path, it.owner));
    let mut all: Vec<_> = all.collect();
    // The moment is for all of them: a directory may be full of sockets with which nothing happens.
    let until = Instant::now() + GAP;
    all.retain(|it| it.is_live(until) && it.is_true());
    all.sort();
    all
}

/// The service that listens on a TCP port.
pub(super) fn with_port(directories: &[Directory], port: u16) -> Option<Instance> {
    let until = Instant::now() + GAP;
    directories.iter().find_map(|Directory { path, owner }| {
        let target = fs::read_link(path.join(format!("port-{port}.sock"))).ok()?;
        // Links are made to files beside them, whoever made this one.
        let instance = Instance::of(path.join(target.file_name()?), *owner)?;
        (instance.is_live(until) && instance.is_true()).then_some(instance)
    })
}

/// Where a user's services have their sockets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) owner: u32,
}

/// The directories whose services this process may control: its user's, or for root everybody's.
pub(super) fn visible_directories() -> Vec<Directory> {
    let uid = effective_uid();
    let in_session = |uid: u32| PathBuf::from(format!("/run/user/{uid}/tine"));
    let mut found = Vec::new();
    if uid == 0 {
        found.push((PathBuf::from("/run/tine"), 0));
        let users = |directory, prefix: &'static str| {
            let names = entries(Path::new(directory)).map(|(name, _)| name);
            names.filter_map(move |name| name.strip_prefix(prefix)?.parse::<u32>().ok())
        };
        found.extend(users("/run/user", "").map(|uid| (in_session(uid), uid)));
        found.extend(users("/tmp", "tine-").map(|uid| (shared(uid), uid)));
    } else {
        found.extend(session_directory().map(|session| (session.join("tine"), uid)));
        found.extend([(in_session(uid), uid), (shared(uid), uid)]);
    }
    found.retain(|(directory, owner)| is_directory_of(directory, *owner));
    found.sort();
    found.dedup();
    found.into_iter().map(|(path, owner)| Directory { path, owner }).collect()
}

fn is_directory_of(path: &Path, uid: u32) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| is_of(path, &found, uid))
}

/// Whether what was found at a path is a directory of this user in which no other user can put anything.
fn is_of(path: &Path, found: &fs::Metadata, uid: u32) -> bool {
    let others = if path.starts_with("/tmp") { 0o077 } else { 0o022 };
    found.is_dir() && found.uid() == uid && found.mode() & others == 0
}

/// Whether the process that listens at a typed path may be believed. It must be root's, this user's, or that of the
/// directory's owner, if no other user can write there.
pub(super) fn is_believed(path: &Path, peer: Credentials) -> bool {
    let owner = || {
        let found = fs::metadata(path.parent()?).ok()?;
        (found.mode() & 0o022 == 0).then_some(found.uid())
    };
    peer.uid == 0 || peer.uid == effective_uid() || owner() == Some(peer.uid)
}

fn sockets(directory: &Path, owner: u32) -> impl Iterator<Item = Instance> {
    let all = entries(directory).filter_map(move |(_, path)| Instance::of(path, owner));
    all.take(SOCKETS_MAX)
}

/// Names that are text, and paths; nothing of a directory that cannot be read.
fn entries(directory: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
}

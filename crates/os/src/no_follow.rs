//! Files of a privileged process at paths that other users can change.
//!
//! A process of root that opens `/home/web/log` trusts the user `web`, who can put a symbolic link, a hard link or a
//! pipe there, or replace the directory. [`find`] walks a path one step at a time (openat(2), `O_NOFOLLOW`) and follows a
//! link only if no other user has made it or can replace it. Everything is then done relative to the directory that was
//! found, so a change after the look has no effect.
//!
//! The users that are trusted are root and this process's effective user.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

mod place;

pub use place::{Place, There};

/// How many symbolic links a path may go through: the kernel's own limit (path_resolution(7)).
const LINKS: usize = 40;
/// A step that is not the last one. Asking for a directory makes an automount mount.
const STEP: OFlags =
    OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW);
/// `f_type` of proc(5), whose links are the kernel's own: the text of one does not say where it leads.
const PROC_MAGIC: u64 = 0x9fa0;

/// Where a path leads.
#[derive(Debug)]
pub enum Found {
    /// To a name in a directory, where there is a file or not.
    Place(Place),
    /// To an open descriptor of this process, such as `/dev/stdout` and `/proc/self/fd/1`.
    Descriptor {
        /// Which.
        number: i32,
        /// Whether the path says so itself, or by links that only a trusted user can have made.
        trusted: bool,
    },
}

/// Where a path leads.
///
/// # Errors
/// `PermissionDenied`, with the path and the owner of a link that is not to be trusted; `ELOOP` for too many links;
/// otherwise those of open(2) for the directories on the way.
pub fn find(path: &Path) -> io::Result<Found> {
    if let Some(number) = own_descriptor(path) {
        return Ok(Found::Descriptor { number, trusted: true });
    }
    let mut walk = Walk::from_root(&std::path::absolute(path)?)?;
    while let Some(step) = walk.left.pop_front() {
        if walk.left.is_empty() {
            match walk.last(step)? {
                Some(found) => return Ok(found),
                None => continue,
            }
        }
        if let Some(found) = walk.enter(&step)? {
            return Ok(found);
        }
    }
    Err(Errno::ISDIR.into())
}

/// A path on its way.
struct Walk {
    here: OwnedFd,
    /// The path of `here`, for people and for links that lead to a descriptor.
    shown: PathBuf,
    left: VecDeque<OsString>,
    links: usize,
    /// The other user that a directory on the way belongs to.
    foreign: Option<u32>,
}

impl Walk {
    fn from_root(path: &Path) -> io::Result<Self> {
        let mut walk = Self {
            here: root()?,
            shown: PathBuf::from("/"),
            left: VecDeque::new(),
            links: 0,
            foreign: None,
        };
        walk.push(path);
        Ok(walk)
    }

    /// Puts the components of a path before what is left. A path that ends as that of a directory does keeps a `.`.
    fn push(&mut self, path: &Path) {
        let mut steps: Vec<OsString> = path
            .components()
            .filter(|step| matches!(step, Component::Normal(_) | Component::ParentDir))
            .map(|step| step.as_os_str().to_owned())
            .collect();
        if path.as_os_str().as_bytes().ends_with(b"/") {
            steps.push(".".into());
        }
        for step in steps.into_iter().rev() {
            self.left.push_front(step);
        }
    }

    /// Goes into a directory, or puts a link's target before what is left.
    fn enter(&mut self, name: &OsStr) -> io::Result<Option<Found>> {
        match rustix::fs::openat(&self.here, name, STEP, Mode::empty()) {
            Ok(next) => {
                self.note_owner()?;
                self.here = next;
                self.shown.push(name);
                Ok(None)
            }
            // A link, or no directory.
            Err(Errno::NOTDIR | Errno::LOOP) => self.follow(name),
            Err(error) => Err(error.into()),
        }
    }

    /// The last name of a path, unless it is a link.
    fn last(&mut self, name: OsString) -> io::Result<Option<Found>> {
        if matches!(name.as_bytes(), b"." | b"..") {
            return Err(Errno::ISDIR.into());
        }
        self.note_owner()?;
        let found = rustix::fs::statat(&self.here, &name, AtFlags::SYMLINK_NOFOLLOW);
        match found {
            Ok(found) if is(&found, FileType::Symlink) && !self.is_proc()? => self.follow(&name),
            Ok(found) => self.place(name, is(&found, FileType::Symlink)).map(Some),
            Err(Errno::NOENT) => self.place(name, false).map(Some),
            Err(error) => Err(error.into()),
        }
    }

    fn place(&self, name: OsString, magic: bool) -> io::Result<Found> {
        let directory = crate::fd::duplicate(&self.here)?;
        Ok(Found::Place(Place { directory, name, foreign: self.foreign.is_some(), magic }))
    }

    /// Whose directory this is decides on everything below it, too: its owner can rename what is in it.
    fn note_owner(&mut self) -> io::Result<()> {
        let owner = rustix::fs::fstat(&self.here)?.st_uid;
        self.foreign = self.foreign.or((!is_trusted(owner)).then_some(owner));
        Ok(())
    }

    fn is_proc(&self) -> io::Result<bool> {
        // The field's type differs between machines.
        #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
        let kind = rustix::fs::fstatfs(&self.here)?.f_type as u64;
        Ok(kind == PROC_MAGIC)
    }

    fn follow(&mut self, name: &OsStr) -> io::Result<Option<Found>> {
        self.note_owner()?;
        let whole = self.shown.join(name);
        if self.is_proc()? {
            let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
            self.here = rustix::fs::openat(&self.here, name, flags, Mode::empty())?;
            self.shown = whole;
            return Ok(None);
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let link = rustix::fs::openat(&self.here, name, flags, Mode::empty())?;
        let about = rustix::fs::fstat(&link)?;
        if !is(&about, FileType::Symlink) {
            return Err(Errno::NOTDIR.into());
        }
        self.links += 1;
        if self.links > LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = rustix::fs::readlinkat(&link, "", Vec::new())?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        let owner = self.foreign.unwrap_or(about.st_uid);
        let trusted = is_trusted(owner);
        // Of the standard streams alone: what other numbers are is this process's secret.
        let mut leads_to = self.shown.join(&target);
        leads_to.extend(&self.left);
        if let Some(number @ 1..=2) = own_descriptor(&leads_to) {
            return Ok(Some(Found::Descriptor { number, trusted }));
        }
        if !trusted {
            let text = format!(
                "{} is a symbolic link, and user {owner} decides where it leads",
                whole.display()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        if target.is_absolute() {
            (self.here, self.shown) = (root()?, PathBuf::from("/"));
        }
        self.push(&target);
        Ok(None)
    }
}

fn root() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY, Mode::empty())?)
}

fn is(about: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(about.st_mode) == kind
}

fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// The descriptor of this process that a path names, as it is written: `/proc` need not be there.
fn own_descriptor(path: &Path) -> Option<i32> {
    let number = |text: &str| -> Option<i32> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    match path.to_str()? {
        "/dev/stdin" => Some(0),
        "/dev/stdout" => Some(1),
        "/dev/stderr" => Some(2),
        text => {
            if let Some(rest) = text.strip_prefix("/dev/fd/") {
                return number(rest);
            }
            let (process, rest) = text.strip_prefix("/proc/")?.split_once("/fd/")?;
            let own = process == "self" || process == std::process::id().to_string();
            own.then(|| number(rest)).flatten()
        }
    }
}

#[cfg(test)]
mod tests;

//! A name in a directory that was found, and what can be done there.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{is, is_trusted};

/// A name in a directory that is held open. Close-on-exec, and without the right to list the directory.
#[derive(Debug)]
pub struct Place {
    pub(super) directory: OwnedFd,
    pub(super) name: OsString,
    /// Another user can put something else there.
    pub(super) foreign: bool,
    /// The name is a link of the kernel's.
    pub(super) magic: bool,
}

impl Place {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Another name in the same directory.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn beside(&self, name: impl Into<OsString>) -> io::Result<Self> {
        let directory = crate::fd::duplicate(&self.directory)?;
        Ok(Self { directory, name: name.into(), foreign: self.foreign, magic: false })
    }

    /// Opens the file to append to it, and makes it if there is none, as [`crate::sink::open_append`] says. Where
    /// another user could put something else, only a plain file is opened, and none with a second name that is not that
    /// user's own: it may be any file of the system.
    ///
    /// # Errors
    /// `PermissionDenied` for such a one; otherwise those of open(2).
    pub fn open_append(&self, mode: u32) -> io::Result<OwnedFd> {
        let flags = OFlags::WRONLY
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::CLOEXEC
            | OFlags::NOCTTY
            | OFlags::NONBLOCK;
        let mode = Mode::from_raw_mode(mode & 0o7777);
        if self.magic {
            return Ok(rustix::fs::openat(&self.directory, &self.name, flags, mode)?);
        }
        let file = rustix::fs::openat(&self.directory, &self.name, flags | OFlags::NOFOLLOW, mode)?;
        self.check(&rustix::fs::fstat(&file)?)?;
        Ok(file)
    }

    fn check(&self, about: &Stat) -> io::Result<()> {
        let directory = rustix::fs::fstat(&self.directory)?;
        if !self.foreign && directory.st_mode & 0o022 == 0 {
            return Ok(());
        }
        // The field's type differs between machines.
        #[allow(clippy::useless_conversion)]
        let names = u64::from(about.st_nlink);
        let what = if is(about, FileType::RegularFile) {
            // A link to a file that the owner of the directory could write to anyway does no harm.
            let harmless = self.foreign && about.st_uid == directory.st_uid;
            (names > 1 && !harmless).then(|| format!("has {names} names"))
        } else {
            let made_by_others = self.foreign || !is_trusted(about.st_uid);
            made_by_others.then(|| "is no plain file".to_owned())
        };
        let Some(what) = what else { return Ok(()) };
        let shown = Path::new(&self.name).display();
        let text = format!("{shown} {what}, and other users can put anything into its directory");
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    }

    /// What is there, without following a link; `None` if there is nothing.
    ///
    /// # Errors
    /// stat(2)'s.
    pub fn look(&self) -> io::Result<Option<There>> {
        match rustix::fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(about) => Ok(Some(There::of(&about))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the file to read. A pipe is not waited for.
    ///
    /// # Errors
    /// `ELOOP` for a link; open(2)'s.
    pub fn open(&self) -> io::Result<File> {
        let flags =
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty())?.into())
    }

    /// Makes the file, to write to it; mode 0666 less the umask.
    ///
    /// # Errors
    /// `AlreadyExists` if there is anything, be it a link; open(2)'s.
    pub fn make(&self) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o666);
        Ok(rustix::fs::openat(&self.directory, &self.name, flags, mode)?.into())
    }

    /// Puts the file in another place, instead of what is there (rename(2)).
    ///
    /// # Errors
    /// rename(2)'s.
    pub fn rename(&self, to: &Self) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.directory, &self.name, &to.directory, &to.name)?)
    }

    /// Gives the file a second name where there is none (link(2)).
    ///
    /// # Errors
    /// `AlreadyExists`; link(2)'s.
    pub fn link(&self, to: &Self) -> io::Result<()> {
        let flags = AtFlags::empty();
        Ok(rustix::fs::linkat(&self.directory, &self.name, &to.directory, &to.name, flags)?)
    }

    /// Takes the name away (unlink(2)).
    ///
    /// # Errors
    /// `NotFound`; unlink(2)'s.
    pub fn remove(&self) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty())?)
    }

    /// The names in its directory. Those that come and go meanwhile may be missing.
    ///
    /// # Errors
    /// `PermissionDenied` for a directory that may not be listed.
    pub fn siblings(&self) -> io::Result<Vec<OsString>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
        let directory = rustix::fs::openat(&self.directory, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&directory)? {
            names.push(OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned());
        }
        Ok(names)
    }
}

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct There {
    /// No directory, link, pipe, socket or device.
    pub is_file: bool,
    /// The device and the inode: which file it is.
    pub identity: (u64, u64),
}

impl There {
    fn of(about: &Stat) -> Self {
        // The fields' types differ between machines.
        #[allow(clippy::useless_conversion)]
        let identity = (u64::from(about.st_dev), u64::from(about.st_ino));
        Self { is_file: is(about, FileType::RegularFile), identity }
    }

    /// What an open file is.
    ///
    /// # Errors
    /// None is to be expected (fstat(2)).
    pub fn open(fd: impl AsFd) -> io::Result<Self> {
        Ok(Self::of(&rustix::fs::fstat(fd)?))
    }
}

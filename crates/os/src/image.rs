//! The image of a program, held open: what was looked at is what is executed, whatever becomes of its path.
#![allow(unsafe_code)]

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::ptr;

use rustix::fs::{Mode, OFlags};

/// A program's file, held open without the right to read it.
#[derive(Debug)]
pub struct Image(OwnedFd);

impl Image {
    /// The file that is at this path now. Close-on-exec.
    ///
    /// # Errors
    /// open(2)'s. That it can be executed is only known once it is.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// The image that this process runs, even if its file is deleted.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn running() -> io::Result<Self> {
        Self::open("/proc/self/exe".as_ref())
    }

    /// A path by which this process, or one that it has forked, can execute it; good while it is open.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// Makes this process that program (execveat(2)): pid, parent, children, signal mask and pending signals stay,
    /// which [`std::os::unix::process::CommandExt::exec`] would not leave so. Returns only if that fails.
    #[must_use = "it has failed if it returns"]
    pub fn exec(&self, arguments: Vec<OsString>, environment: Vec<OsString>) -> io::Error {
        let strings = |all: Vec<OsString>| -> io::Result<Vec<CString>> {
            all.into_iter().map(|one| Ok(CString::new(one.into_vec())?)).collect()
        };
        let (arguments, environment) = match (strings(arguments), strings(environment)) {
            (Ok(arguments), Ok(environment)) => (arguments, environment),
            (Err(error), _) | (_, Err(error)) => return error,
        };
        let pointers = |all: &[CString]| -> Vec<*const libc::c_char> {
            all.iter().map(|one| one.as_ptr()).chain([ptr::null()]).collect()
        };
        let (argv, envp) = (pointers(&arguments), pointers(&environment));
        // SAFETY: an open descriptor, an empty path, and two lists of strings that end with null; all of them
        // live until the call returns, if it does.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                self.0.as_raw_fd(),
                c"".as_ptr(),
                argv.as_ptr(),
                envp.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
        io::Error::last_os_error()
    }
}

impl From<OwnedFd> for Image {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Image {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_executed_though_its_file_is_gone() {
        let name = format!("tine-image-{}", std::process::id());
        let copy = std::env::temp_dir().join(name);
        // By another process: what a sibling test forks meanwhile would have the copy open to write.
        let copied = std::process::Command::new("cp").arg("/bin/true").arg(&copy).status();
        assert!(copied.unwrap().success());
        let image = Image::open(&copy).unwrap();
        std::fs::remove_file(&copy).unwrap();
        assert!(std::process::Command::new(image.path()).status().unwrap().success());
    }

    #[test]
    fn what_is_no_program_is_not_executed() {
        let image = Image::open("/etc/passwd".as_ref()).unwrap();
        let error = image.exec(vec!["x".into()], Vec::new());
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(Image::open("/no/such".as_ref()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

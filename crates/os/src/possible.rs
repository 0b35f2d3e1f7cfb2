//! What could be done to a file, asked without doing it.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;

use crate::no_follow::{Found, find};

/// Whether [`crate::sink::open_append`] could open this path, and make it if there is none. Opens and makes nothing:
/// whoever reads a named pipe does not notice.
///
/// # Errors
/// What `open_append` would fail with, as far as it can be known: who reads a named pipe is not asked.
pub fn append(path: &Path) -> io::Result<()> {
    let Found::Place(_) = find(path)? else { return Ok(()) };
    match rustix::fs::stat(path) {
        Ok(found) => match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => Err(Errno::ISDIR.into()),
            FileType::Socket => Err(Errno::NXIO.into()),
            _ => allowed(path, Access::WRITE_OK),
        },
        Err(Errno::NOENT) => make(path),
        Err(error) => Err(error.into()),
    }
}

/// Whether a file could be made at this path, or put in the place of one that is there.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, `EACCES`, `EROFS` of its directory; `EISDIR` if the path ends as that of a directory does.
pub fn make(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(Errno::ISDIR.into()),
    };
    if path.as_os_str().as_bytes().ends_with(b"/") || path.file_name().is_none() {
        return Err(Errno::ISDIR.into());
    }
    // With the dot a file is no directory.
    allowed(&directory.join("."), Access::WRITE_OK | Access::EXEC_OK)
}

/// As the kernel judges it at an open: by the effective user (faccessat(2)).
fn allowed(path: &Path, access: Access) -> io::Result<()> {
    Ok(rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_could_be_made_or_appended_to_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        append(&path).unwrap();
        make(&path).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        fs::write(&path, "there").unwrap();
        append(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "there");
    }

    #[test]
    fn what_could_not_is_refused_as_an_open_would() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let socket = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [
            directory.path().to_owned(),
            directory.path().join("none/log"),
            directory.path().join("none/"),
            file.join("log"),
            socket,
            "/".into(),
        ] {
            let opened = crate::sink::open_append(&path, 0o600).map(drop).unwrap_err();
            let asked = append(&path).unwrap_err();
            assert_eq!(asked.raw_os_error(), opened.raw_os_error(), "{path:?}: {asked}");
        }
    }
}

//! Opening files for strangers: a path that cannot lead out of a directory.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// What a file is opened with. Not blocking, so that a FIFO without a writer cannot hold the caller
/// (fifo(7)); on regular files and directories the flag means nothing. A terminal does not become
/// the caller's own.
const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
/// What the directories on the way are opened with: entering one needs no right to list it.
const ON_THE_WAY: OFlags =
    OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW);
/// How often the kernel is asked again when a rename somewhere kept it from vouching for a `..`
/// (openat2(2), `EAGAIN`).
const ATTEMPTS: usize = 16;
/// How many symbolic links a path may go through: the kernel's own limit (path_resolution(7)).
const LINKS: usize = 40;

/// The directory at `path`, to be the root of [`open_beneath`]. It stays the same directory if it is
/// renamed, or if the process gets another root. Close-on-exec.
///
/// # Errors
/// `NotFound`, `NotADirectory`, `PermissionDenied` (open(2)).
pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens what `path` names beneath `dir`, to read: a file, a directory, or whatever else is there;
/// look at its type before reading. Nothing above `dir` is ever reached: neither by `..`, nor by an
/// absolute path, nor by a symbolic link, though links that stay beneath are followed. An empty path
/// is the directory itself.
///
/// Close-on-exec and non-blocking: neither the opening nor the reading of a FIFO or a device waits.
///
/// # Errors
/// `EXDEV` (`CrossesDevices`) for a path that leaves `dir`; `EAGAIN` if directories are being moved
/// about too busily to be sure; `InvalidInput` for a zero byte; otherwise those of open(2).
pub fn open_beneath(dir: impl AsFd, path: &Path) -> io::Result<File> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match by_kernel(&dir, path) {
        // Before Linux 5.6, or under a filter that does not know the call: old ones answer EPERM,
        // which openat2 has no other reason for when only reading is asked for.
        Err(Errno::NOSYS | Errno::PERM) => Ok(by_steps(dir, path)?.into()),
        result => Ok(result?.into()),
    }
}

/// Whether an error of [`open_beneath`] means that the path names nothing there that could be opened:
/// it does not exist, leads out or in a circle, is too long, or is a socket or a device without a
/// driver (`ENXIO`, `ENODEV`).
#[must_use]
pub fn names_nothing(error: &io::Error) -> bool {
    let nothing = [
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::XDEV,
        Errno::LOOP,
        Errno::NAMETOOLONG,
        Errno::NXIO,
        Errno::NODEV,
    ];
    Errno::from_io_error(error).is_some_and(|error| nothing.contains(&error))
}

/// Whether it means that the same may work a little later: descriptors or memory are used up, or
/// somebody holds a lease on the file (open(2), fcntl(2)).
#[must_use]
pub fn is_passing(error: &io::Error) -> bool {
    let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN];
    Errno::from_io_error(error).is_some_and(|error| passing.contains(&error))
}

fn by_kernel(dir: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let open = || rustix::fs::openat2(&dir, path, FLAGS, Mode::empty(), resolve);
    (1..ATTEMPTS).map(|_| open()).find(|result| !retry(result)).unwrap_or_else(open)
}

fn retry(result: &Result<OwnedFd, Errno>) -> bool {
    matches!(result, Err(Errno::AGAIN | Errno::INTR))
}

/// The same without openat2: one name after the other, links read and not followed, `..` by going
/// back to the directory that was entered.
fn by_steps(dir: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let mut entered: Vec<OwnedFd> = Vec::new();
    let mut names = names_of(path.as_os_str().as_bytes())?;
    let mut links = 0;
    while let Some(name) = names.pop() {
        let here = entered.last().map_or(dir.as_fd(), AsFd::as_fd);
        match &*name {
            // An empty name comes from `//` or from a `/` at the end; both mean this directory.
            b"" | b"." => {}
            b".." => drop(entered.pop().ok_or(Errno::XDEV)?),
            name => match rustix::fs::readlinkat(here, name, Vec::new()) {
                Ok(_) if links == LINKS => return Err(Errno::LOOP),
                Ok(target) => {
                    links += 1;
                    names.extend(names_of(target.as_bytes())?);
                }
                // It is not a link. Should it become one now, NOFOLLOW refuses it.
                Err(Errno::INVAL) if names.is_empty() => return open_name(here, name),
                Err(Errno::INVAL) => {
                    entered.push(rustix::fs::openat(here, name, ON_THE_WAY, Mode::empty())?);
                }
                Err(error) => return Err(error),
            },
        }
    }
    open_name(entered.last().map_or(dir.as_fd(), AsFd::as_fd), b".")
}

fn open_name(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, FLAGS | OFlags::NOFOLLOW, Mode::empty())
}

/// The names in `path`, the first one last.
fn names_of(path: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
    if path.starts_with(b"/") {
        return Err(Errno::XDEV);
    }
    Ok(path.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType};

    use super::*;

    /// `root/{page,sub/page,link..}` beside a `secret`.
    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().expect("a directory");
        let at = |name: &str| tree.path().join(name);
        std::fs::create_dir_all(at("root/sub/deep")).expect("directories");
        for name in ["secret", "root/page", "root/sub/page"] {
            std::fs::write(at(name), name).expect("a file");
        }
        let links = [
            ("inside", "sub/page"),
            ("sub/up", "../page"),
            ("sub/round", "deep/../../inside"),
            ("out", "../secret"),
            ("absolute", "/etc/passwd"),
            ("loop", "loop"),
            ("directory", "sub/deep/.."),
            ("dangling", "nothing"),
        ];
        for (name, target) in links {
            symlink(target, at("root").join(name)).expect("a link");
        }
        tree
    }

    type Way = fn(&OwnedFd, &Path) -> Result<OwnedFd, Errno>;
    const WAYS: [(&str, Way); 2] = [
        ("openat2", |dir, path| by_kernel(dir, path)),
        ("step by step", |dir, path| by_steps(dir, path)),
    ];

    fn content(file: OwnedFd) -> String {
        let mut text = String::new();
        File::from(file).read_to_string(&mut text).expect("it is a file");
        text
    }

    #[test]
    fn what_is_beneath_is_opened() {
        let tree = tree();
        let root = open_directory(&tree.path().join("root")).expect("it exists");
        for (way, open) in WAYS {
            for (path, expected) in [
                ("page", "root/page"),
                ("sub//./page", "root/sub/page"),
                ("sub/../page", "root/page"),
                ("inside", "root/sub/page"),
                ("sub/up", "root/page"),
                ("sub/round", "root/sub/page"),
                ("directory/page", "root/sub/page"),
            ] {
                let file = open(&root, Path::new(path));
                let file = file.unwrap_or_else(|error| panic!("{way}: {path}: {error}"));
                assert_eq!(content(file), expected, "{way}: {path}");
            }
        }
    }

    #[test]
    fn what_is_not_beneath_is_refused() {
        let tree = tree();
        let root = open_directory(&tree.path().join("root")).expect("it exists");
        for (way, open) in WAYS {
            for (path, expected) in [
                ("..", Errno::XDEV),
                ("../secret", Errno::XDEV),
                ("sub/../../secret", Errno::XDEV),
                ("../root/page", Errno::XDEV),
                ("/etc/passwd", Errno::XDEV),
                ("out", Errno::XDEV),
                ("absolute", Errno::XDEV),
                ("loop", Errno::LOOP),
                ("dangling", Errno::NOENT),
                ("nothing", Errno::NOENT),
                ("page/", Errno::NOTDIR),
                ("page/.", Errno::NOTDIR),
                ("page/more", Errno::NOTDIR),
            ] {
                let error = open(&root, Path::new(path)).expect_err(path);
                assert_eq!(error, expected, "{way}: {path}");
            }
        }
    }

    #[test]
    fn directories_and_the_root_itself_can_be_opened() {
        let tree = tree();
        let root = open_directory(&tree.path().join("root")).expect("it exists");
        for path in ["", ".", "sub", "sub/", "directory", "sub/.."] {
            let file = open_beneath(&root, Path::new(path)).expect(path);
            assert!(file.metadata().expect("it is open").is_dir(), "{path}");
        }
        for (way, open) in WAYS {
            open(&root, Path::new("sub/")).unwrap_or_else(|error| panic!("{way}: {error}"));
        }
    }

    #[test]
    fn a_renamed_root_is_the_same_root() {
        let tree = tree();
        let root = open_directory(&tree.path().join("root")).expect("it exists");
        std::fs::rename(tree.path().join("root"), tree.path().join("elsewhere")).expect("renamed");
        assert!(open_beneath(&root, Path::new("page")).is_ok());
    }

    #[test]
    fn a_fifo_without_a_writer_holds_nobody() {
        let tree = tree();
        let path = tree.path().join("root/fifo");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).expect("a FIFO");
        let root = open_directory(&tree.path().join("root")).expect("it exists");
        for (way, open) in WAYS {
            let mut fifo = File::from(open(&root, Path::new("fifo")).expect(way));
            assert_eq!(fifo.read(&mut [0]).expect("nobody writes: the end"), 0, "{way}");
        }
    }

    #[test]
    fn errors_say_whether_there_is_nothing_or_only_nothing_now() {
        let tree = tree();
        let socket = tree.path().join("root/socket");
        let _listener = std::os::unix::net::UnixListener::bind(socket).expect("a socket");
        let root = open_directory(&tree.path().join("root")).expect("it exists");
        let long = "a".repeat(300);
        for path in ["nothing", "out", "loop", "page/more", "socket", &long] {
            let error = open_beneath(&root, Path::new(path)).expect_err(path);
            assert!(names_nothing(&error) && !is_passing(&error), "{path}: {error}");
        }
        for (errno, passing) in [(Errno::MFILE, true), (Errno::ACCESS, false), (Errno::IO, false)] {
            let error = errno.into();
            assert_eq!((names_nothing(&error), is_passing(&error)), (false, passing), "{error}");
        }
    }

    #[test]
    fn a_root_is_a_directory_that_exists() {
        let tree = tree();
        let error = |name: &str| open_directory(&tree.path().join(name)).expect_err(name).kind();
        assert_eq!(error("secret"), io::ErrorKind::NotADirectory);
        assert_eq!(error("nothing"), io::ErrorKind::NotFound);
    }
}

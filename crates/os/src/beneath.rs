//! Opening files for strangers: a path that cannot lead out of a directory.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

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
    Ok(rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?)
}

/// The path of an open file or directory, as the kernel knows it now (proc_pid_fd(5)). ` (deleted)` stands behind the
/// path of a deleted one.
///
/// # Errors
/// `NotFound` without `/proc`.
pub fn path_of(fd: impl AsFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// Opens what `path` names beneath `dir`, to read: a file, a directory, or whatever else is there;
/// look at its type before reading. An empty path is the directory itself.
///
/// Nothing above `dir` is ever reached: neither by `..`, nor by an absolute path, nor by a symbolic link. Links that
/// stay beneath are followed. The target of a link may be absolute: where it begins with the path that
/// [`path_of`] has for `dir`, or with `alias`, the rest is looked up beneath `dir`, and every other one leaves it.
/// `alias` is another path that leads to `dir`: through a link, for example.
///
/// Close-on-exec and non-blocking: neither the opening nor the reading of a FIFO or a device waits.
///
/// # Errors
/// `EXDEV` (`CrossesDevices`) for a path that leaves `dir`; `EAGAIN` if directories are being moved
/// about too busily to be sure; `InvalidInput` for a zero byte; otherwise those of open(2).
pub fn open_beneath(dir: impl AsFd, alias: Option<&Path>, path: &Path) -> io::Result<File> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match by_kernel(&dir, path) {
        // EXDEV: a link that leads out, or an absolute one, which the kernel never follows here.
        // ENOSYS: before Linux 5.6, or under a filter that does not know the call. Old filters answer EPERM, for
        // which openat2 has no other reason when only reading is asked for.
        Err(Errno::XDEV | Errno::NOSYS | Errno::PERM) => Ok(by_steps(dir, alias, path)?.into()),
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

/// Whether it means that this process, or the whole system, has no descriptor left.
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
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
/// back to the directory that was entered, an absolute link by beginning again at `dir`.
///
/// Each name is opened in a directory that is held open and that was reached from `dir`, so no rename and no new link
/// can lead out meanwhile.
fn by_steps(dir: impl AsFd, alias: Option<&Path>, path: &Path) -> Result<OwnedFd, Errno> {
    let mut entered: Vec<OwnedFd> = Vec::new();
    if path.is_absolute() {
        return Err(Errno::XDEV);
    }
    let mut names = names_of(path);
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
                    let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                    let target = match target.is_absolute() {
                        true => {
                            let rest = beneath(&dir, alias, target).ok_or(Errno::XDEV)?;
                            entered.clear();
                            rest
                        }
                        false => target.to_owned(),
                    };
                    names.extend(names_of(&target));
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

/// What is left of an absolute path behind the path of `dir`. A `..` in the rest is looked up like any other.
fn beneath(dir: impl AsFd, alias: Option<&Path>, target: &Path) -> Option<PathBuf> {
    let path = path_of(dir).ok();
    let known = path.as_deref().into_iter().chain(alias);
    known.filter_map(|path| target.strip_prefix(path).ok()).map(Path::to_owned).next()
}

/// The names in a relative path, the first one last.
fn names_of(path: &Path) -> Vec<Vec<u8>> {
    path.as_os_str().as_bytes().split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec).collect()
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
        ("step by step", |dir, path| by_steps(dir, None, path)),
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
    fn absolute_links_are_followed_where_they_stay_beneath() {
        let tree = tree();
        let path = tree.path().join("root");
        let alias = tree.path().join("alias");
        symlink("root", &alias).expect("a link");
        let link = |name: &str, target: &Path| symlink(target, path.join(name)).expect("a link");
        link("file", &path.join("sub/page"));
        link("folder", &path.join("sub"));
        link("itself", &path);
        link("slashes", Path::new(&format!("{}//sub/./page", path.display())));
        link("sub/deep/chain", &path.join("folder/up"));
        link("named", &alias.join("sub/page"));
        link("beside", &tree.path().join("secret"));
        link("above", &path.join("../secret"));
        link("longer", Path::new(&format!("{}-other/page", path.display())));
        link("circle", &path.join("circle"));
        let root = open_directory(&path).expect("it exists");
        let open = |name: &str| open_beneath(&root, Some(&alias), Path::new(name));
        for (name, expected) in [
            ("file", "root/sub/page"),
            ("folder/page", "root/sub/page"),
            ("itself/itself/page", "root/page"),
            ("slashes", "root/sub/page"),
            ("sub/deep/chain", "root/page"),
            ("named", "root/sub/page"),
        ] {
            let file = open(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(content(file.into()), expected, "{name}");
        }
        for name in ["beside", "above", "longer", "circle", "folder/../../secret", "absolute"] {
            let error = open(name).expect_err(name);
            assert!(names_nothing(&error), "{name}: {error}");
        }
        let unknown = open_beneath(&root, None, Path::new("named")).expect_err("another path");
        assert!(names_nothing(&unknown), "{unknown}");
        // Its path is what it is called now.
        let moved = tree.path().join("moved");
        std::fs::rename(&path, &moved).expect("renamed");
        assert!(open("file").is_err());
        symlink(moved.join("page"), moved.join("late")).expect("a link");
        assert_eq!(content(open("late").expect("it stays beneath").into()), "root/page");
    }

    #[test]
    fn directories_and_the_root_itself_can_be_opened() {
        let tree = tree();
        let root = open_directory(&tree.path().join("root")).expect("it exists");
        for path in ["", ".", "sub", "sub/", "directory", "sub/.."] {
            let file = open_beneath(&root, None, Path::new(path)).expect(path);
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
        assert!(open_beneath(&root, None, Path::new("page")).is_ok());
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
            let error = open_beneath(&root, None, Path::new(path)).expect_err(path);
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

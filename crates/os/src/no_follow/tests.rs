//! What another user could have put in the way of a file that root opens. All of it takes root: only root can make files
//! of another user.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::*;
use crate::sink::{open_append, reopen_append};

/// Another user, with no name.
const OTHER: u32 = 54_321;

/// A directory of root's, and in it one of another user; `None` if this is not root.
fn two() -> Option<(tempfile::TempDir, PathBuf)> {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("TINE_REQUIRE_PEERS").is_none(), "this test takes root");
        return None;
    }
    let own = tempfile::tempdir().unwrap();
    let other = own.path().join("other");
    fs::create_dir(&other).unwrap();
    chown(&other, Some(OTHER), Some(OTHER)).unwrap();
    Some((own, other))
}

fn denied(path: &Path) -> String {
    let error = open_append(path, 0o640).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{path:?}: {error}");
    error.to_string()
}

#[test]
fn a_link_in_another_user_s_directory_is_not_followed() {
    let Some((own, other)) = two() else { return };
    let secret = own.path().join("secret");
    fs::write(&secret, "root's").unwrap();
    // Root's own link: the directory's owner could have moved it there.
    for (name, owner) in [("theirs", OTHER), ("roots", 0)] {
        symlink(&secret, other.join(name)).unwrap();
        lchown(other.join(name), Some(owner), Some(owner)).unwrap();
        assert!(denied(&other.join(name)).contains("symbolic link"));
    }
    symlink(own.path(), other.join("way")).unwrap();
    assert!(denied(&other.join("way/secret")).contains("other/way"));
    // A directory in it is as little root's, whoever owns it.
    fs::create_dir(other.join("deep")).unwrap();
    symlink(&secret, other.join("deep/log")).unwrap();
    denied(&other.join("deep/log"));
    assert_eq!(fs::read_to_string(&secret).unwrap(), "root's");
    // A plain file, there or not, is a log as any other.
    for _ in 0..2 {
        write!(File::from(open_append(&other.join("log"), 0o640).unwrap()), "x").unwrap();
    }
    assert_eq!(fs::read_to_string(other.join("log")).unwrap(), "xx");
}

#[test]
fn another_user_s_link_in_a_directory_for_all_is_not_followed_and_root_s_is() {
    let Some((own, _)) = two() else { return };
    let shared = own.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    let target = own.path().join("target");
    for (name, owner) in [("theirs", OTHER), ("roots", 0)] {
        symlink(&target, shared.join(name)).unwrap();
        lchown(shared.join(name), Some(owner), Some(owner)).unwrap();
    }
    denied(&shared.join("theirs"));
    open_append(&shared.join("roots"), 0o640).unwrap();
    assert!(target.exists());
}

#[test]
fn links_of_root_are_followed_as_the_kernel_does() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("deep/er")).unwrap();
    symlink("deep/er", at("way")).unwrap();
    symlink("../../log", at("deep/er/up")).unwrap();
    symlink(at("way/up"), at("far")).unwrap();
    write!(File::from(open_append(&at("far"), 0o640).unwrap()), "one").unwrap();
    write!(File::from(open_append(&at("way/../../log"), 0o640).unwrap()), "two").unwrap();
    assert_eq!(fs::read_to_string(at("log")).unwrap(), "onetwo");
    symlink("round", at("round")).unwrap();
    let error = open_append(&at("round"), 0o640).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    let error = open_append(&at("log/beneath"), 0o640).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
}

#[test]
fn a_second_name_of_a_file_of_root_s_is_refused_where_others_may_have_given_it() {
    let Some((own, other)) = two() else { return };
    let secret = own.path().join("secret");
    fs::write(&secret, "root's").unwrap();
    fs::hard_link(&secret, other.join("log")).unwrap();
    assert!(denied(&other.join("log")).contains("2 names"));
    // One of the user's own does no harm; nor does one in a directory that is root's alone.
    fs::write(other.join("one"), "").unwrap();
    chown(other.join("one"), Some(OTHER), Some(OTHER)).unwrap();
    fs::hard_link(other.join("one"), other.join("two")).unwrap();
    open_append(&other.join("two"), 0o640).unwrap();
    fs::hard_link(&secret, own.path().join("copy")).unwrap();
    open_append(&own.path().join("copy"), 0o640).unwrap();
    fs::set_permissions(own.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    assert!(denied(&own.path().join("copy")).contains("names"));
}

#[test]
fn another_user_s_pipe_is_neither_opened_nor_waited_for() {
    let Some((own, other)) = two() else { return };
    for (directory, well) in [(own.path(), true), (&other, false)] {
        let path = directory.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o666), 0)
            .unwrap();
        // Nobody reads: it fails at once. Somebody does: it depends on the directory.
        let error = open_append(&path, 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::NXIO.raw_os_error()));
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let _reader = rustix::fs::open(&path, flags, Mode::empty()).unwrap();
        assert_eq!(open_append(&path, 0).is_ok(), well);
    }
}

#[test]
fn what_is_put_there_after_the_look_is_not_followed() {
    let Some((own, other)) = two() else { return };
    let Found::Place(place) = find(&other.join("log")).unwrap() else { panic!("a place") };
    symlink(own.path().join("secret"), other.join("log")).unwrap();
    place.open_append(0o640).unwrap_err();
    place.make().unwrap_err();
    assert!(!own.path().join("secret").exists());
    // The directory itself is another one by now.
    let Found::Place(place) = find(&other.join("new")).unwrap() else { panic!("a place") };
    fs::rename(&other, own.path().join("moved")).unwrap();
    symlink(own.path(), &other).unwrap();
    place.open_append(0o640).unwrap();
    assert!(own.path().join("moved/new").exists() && !own.path().join("new").exists());
}

#[test]
fn a_path_of_an_own_descriptor_is_that_descriptor_whatever_it_is() {
    let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let number = writer.as_raw_fd();
    for path in [
        format!("/dev/fd/{number}"),
        format!("/proc/self/fd/{number}"),
        format!("/proc/{}/fd/{number}", std::process::id()),
    ] {
        // A socket, which cannot be opened by its path.
        let file = open_append(path.as_ref(), 0).unwrap();
        assert!(crate::daemon::is_same_file(&file, &writer).unwrap(), "{path}");
        // Only the standard streams are found by a link.
        let link = directory.path().join(path.replace('/', "-"));
        symlink(&path, &link).unwrap();
        assert!(open_append(&link, 0).is_err(), "{path}");
    }
    drop(reader);
    let closed = open_append("/dev/fd/9999".as_ref(), 0).unwrap_err();
    assert_eq!(closed.raw_os_error(), Some(Errno::BADF.raw_os_error()));
    let to_read = File::open("/dev/null").unwrap();
    let path = format!("/dev/fd/{}", to_read.as_raw_fd());
    let error = open_append(path.as_ref(), 0).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::BADF.raw_os_error()), "it is not open to write");
}

#[test]
fn a_link_to_standard_output_may_be_anybody_s_at_the_start_and_not_later() {
    let Some((own, other)) = two() else { return };
    let error_stream = std::io::stderr();
    for directory in [own.path(), &other] {
        symlink("/dev/stderr", directory.join("log")).unwrap();
        let file = open_append(&directory.join("log"), 0o640).unwrap();
        assert!(crate::daemon::is_same_file(&file, &error_stream).unwrap());
        reopen_append(&directory.join("log"), 0o640, &file).unwrap();
    }
    let file = open_append(&other.join("file"), 0o640).unwrap();
    let error = reopen_append(&other.join("log"), 0o640, &file).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    reopen_append(&own.path().join("log"), 0o640, &file).unwrap();
}

#[test]
fn a_shared_file_is_appended_to_though_it_was_not_opened_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    let mut first = File::create(&path).unwrap();
    let second = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let log = open_append(format!("/dev/fd/{}", second.as_raw_fd()).as_ref(), 0).unwrap();
    first.write_all(b"one\n").unwrap();
    File::from(log).write_all(b"two\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
}

//! Unix listeners: whose file may be replaced, who may connect, and what is cleaned up.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tine::endpoint::{Endpoint, UnixName};
use tine::listen::{Kind, ListenOptions, Listeners, bind_all};
use tine_os::poll::readable;
use tine_os::socket::{self, Peer};

const DEADLINE: Duration = Duration::from_secs(10);

fn unix(path: &Path) -> Endpoint {
    Endpoint::Unix { name: UnixName::Path(path.to_owned()), tls: false }
}

fn bind(endpoint: Endpoint) -> tine::Result<(Listeners, Vec<String>)> {
    bind_all(&[(endpoint, ListenOptions::default())], Vec::new())
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    (directory, path)
}

#[test]
fn a_unix_socket_answers_and_its_file_is_removed_at_the_end() {
    let (_directory, path) = place();
    let (listeners, notes) = bind(unix(&path)).unwrap();
    assert!(notes.is_empty());
    assert_eq!(listeners[0].address(), format!("unix:{}", path.display()));
    assert_eq!(listeners[0].kind(), Kind::Unix);
    let _client = UnixStream::connect(&path).unwrap();
    assert!(readable(&listeners[0], Some(DEADLINE)).unwrap());
    assert_eq!(listeners[0].queue().unwrap().0, 1);
    assert_eq!(socket::accept(&listeners[0], true).unwrap().1, Peer::Unix);
    listeners[0].try_clone_unix().unwrap();
    listeners.unlink().unwrap();
    assert!(!path.exists());
    listeners.unlink().unwrap();
}

#[test]
fn a_stale_socket_file_is_replaced_with_a_note() {
    let (_directory, path) = place();
    drop(UnixListener::bind(&path).unwrap());
    let (_listeners, notes) = bind(unix(&path)).unwrap();
    assert!(notes[0].contains("stale"), "{notes:?}");
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_live_socket_of_another_server_is_refused_and_not_disturbed() {
    let (directory, path) = place();
    let other = UnixListener::bind(&path).unwrap();
    let datagrams_at = directory.path().join("datagrams");
    let _other_datagrams = UnixDatagram::bind(&datagrams_at).unwrap();
    for path in [&path, &datagrams_at] {
        let error = bind(unix(path)).unwrap_err();
        assert!(error.is_bind() && error.to_string().contains("address already in use"), "{error}");
    }
    other.set_nonblocking(true).unwrap();
    assert_eq!(other.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_file_directory_or_link_in_the_way_is_refused_and_kept() {
    let (directory, path) = place();
    fs::write(&path, "precious").unwrap();
    let link = directory.path().join("link");
    symlink(directory.path().join("nowhere"), &link).unwrap();
    for (path, what) in [
        (path.as_path(), "a regular file"),
        (directory.path(), "a directory"),
        (&link, "a symbolic link"),
    ] {
        let error = bind(unix(path)).unwrap_err();
        assert!(error.is_bind() && error.to_string().contains(what), "{error}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn the_mode_is_what_was_asked_for() {
    let (_directory, path) = place();
    for (kind, mode) in [(true, 0o666), (true, 0o600), (false, 0o660)] {
        let name = UnixName::Path(path.clone());
        let endpoint = match kind {
            true => Endpoint::Unix { name, tls: false },
            false => Endpoint::UnixDatagram(name),
        };
        let options = ListenOptions { unix_mode: Some(mode), ..ListenOptions::default() };
        let (listeners, _) = bind_all(&[(endpoint, options)], Vec::new()).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, mode);
        listeners.unlink().unwrap();
    }
}

#[test]
fn the_owner_is_set_or_the_start_fails_without_a_trace() {
    let (_directory, path) = place();
    let options = ListenOptions {
        unix_uid: Some(12_345),
        unix_gid: Some(54_321),
        ..ListenOptions::default()
    };
    match bind_all(&[(unix(&path), options)], Vec::new()) {
        Ok(_) => {
            let found = path.metadata().unwrap();
            assert_eq!((found.uid(), found.gid()), (12_345, 54_321));
        }
        Err(error) => {
            assert!(error.is_bind() && error.to_string().contains("CAP_CHOWN"), "{error}");
            assert!(!path.exists());
        }
    }
}

#[test]
fn a_failure_elsewhere_removes_the_file_again() {
    let (_directory, path) = place();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let list = [
        (unix(&path), ListenOptions::default()),
        (taken.local_addr().unwrap().into(), ListenOptions::default()),
    ];
    bind_all(&list, Vec::new()).unwrap_err();
    assert!(!path.exists());
}

#[test]
fn nonsense_is_refused_before_anything_is_bound() {
    let (_directory, path) = place();
    let nonsense = ListenOptions { backlog: 0, ..ListenOptions::default() };
    let list =
        [(unix(&path), ListenOptions::default()), ("127.0.0.1:0".parse().unwrap(), nonsense)];
    let error = bind_all(&list, Vec::new()).unwrap_err();
    assert!(error.is_config() && error.to_string().contains("backlog"), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_file_that_somebody_else_put_in_its_place_is_not_removed() {
    let (_directory, path) = place();
    let (listeners, _) = bind(unix(&path)).unwrap();
    let aside = path.with_extension("old");
    fs::rename(&path, &aside).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    listeners.unlink().unwrap();
    assert!(path.exists());
}

#[test]
fn an_adopted_unix_socket_keeps_its_file() {
    let (_directory, path) = place();
    let passed = UnixListener::bind(&path).unwrap();
    let (listeners, _) = bind_all(&[], vec![passed.into()]).unwrap();
    assert_eq!((listeners[0].kind(), listeners[0].adopted()), (Kind::Unix, true));
    listeners.unlink().unwrap();
    listeners.close_for_good().unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn closing_for_good_refuses_unix_clients_too() {
    let (_directory, path) = place();
    let (listeners, _) = bind(unix(&path)).unwrap();
    listeners.close_for_good().unwrap();
    assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_path_that_is_too_long_is_refused_in_words() {
    let error = bind(unix(Path::new(&format!("/{}", "x".repeat(107))))).unwrap_err();
    assert!(error.is_config() && error.to_string().contains("107"), "{error}");
    let (directory, _) = place();
    let room = 107 - directory.path().as_os_str().len() - 1;
    bind(unix(&directory.path().join("x".repeat(room)))).unwrap();
}

#[test]
fn a_missing_directory_is_named() {
    let error = bind(unix(Path::new("/no-such-directory/socket"))).unwrap_err();
    assert!(
        error.is_bind() && error.to_string().contains("directory /no-such-directory"),
        "{error}"
    );
}

#[test]
fn datagrams_come_in_and_are_answered() {
    let (directory, path) = place();
    let (listeners, _) = bind(Endpoint::UnixDatagram(UnixName::Path(path.clone()))).unwrap();
    assert_eq!(listeners[0].address(), format!("unixdgram:{}", path.display()));
    let client = UnixDatagram::bind(directory.path().join("client")).unwrap();
    client.send_to(b"ping", &path).unwrap();
    let mut buffer = [0; 16];
    let datagram = socket::receive_from(&listeners[0], &mut buffer).unwrap();
    assert_eq!(&buffer[..datagram.bytes], b"ping");
    socket::send_to(&listeners[0], b"pong", &datagram.sender).unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 4);
}

#[test]
fn an_abstract_name_needs_no_file_and_is_refused_while_taken() {
    let text = format!("unix:@tine-listen-test-{}", std::process::id());
    let (listeners, _) = bind(text.parse().unwrap()).unwrap();
    assert_eq!(listeners[0].address(), text);
    let error = bind(text.parse().unwrap()).unwrap_err();
    assert!(error.is_bind() && error.to_string().contains("already in use"), "{error}");
}

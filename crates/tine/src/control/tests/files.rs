//! What stands in the file system, and what is found by it.

use super::*;

#[test]
fn a_stale_socket_is_replaced_and_everything_else_refused() {
    let (directory, path) = place();
    leave_stale(&path);
    let server = Server::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let error = Server::open(&path).unwrap_err();
    assert!(error.is_bind() && error.to_string().contains("another process listens"), "{error}");
    drop(server);
    let other = directory.path().join("file");
    fs::write(&other, "text").unwrap();
    let error = Server::open(&other).unwrap_err();
    assert!(error.is_bind() && error.to_string().contains("no socket"), "{error}");
    assert_eq!(fs::read_to_string(&other).unwrap(), "text");
    let error = Server::open(&directory.path().join("x".repeat(200))).unwrap_err();
    assert!(error.to_string().contains("107 bytes"), "{error}");
}

#[test]
fn only_what_is_still_ours_is_removed() {
    let (_directory, path) = place();
    let first = Server::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let second = Server::open(&path).unwrap();
    first.remove();
    assert!(path.exists());
    second.remove();
    assert!(!path.exists());
}

#[test]
fn a_service_is_found_by_its_port_until_it_ends() {
    let (directory, path) = place();
    let mut server = Server::open(&path).unwrap();
    let addresses =
        ["127.0.0.1:8080", "[::]:53", "udp:127.0.0.1:99", "unix:/run/s"].map(String::from);
    server.link(&addresses).unwrap();
    let link = |port: u16| fs::read_link(directory.path().join(format!("port-{port}.sock")));
    assert_eq!(link(8080).unwrap().as_os_str(), path.file_name().unwrap());
    assert!(link(53).is_ok() && link(99).is_err());
    symlink("1.sock", directory.path().join("other")).unwrap();
    fs::rename(directory.path().join("other"), directory.path().join("port-53.sock")).unwrap();
    server.link(&addresses[..1]).unwrap();
    assert_eq!(link(53).unwrap(), Path::new("1.sock"), "another service has the port by now");
    server.remove();
    assert!(link(8080).is_err() && !path.exists());
}

#[test]
fn what_the_dead_left_is_swept_away() {
    let (directory, path) = place();
    let beside = |name: &str| directory.path().join(name);
    let _live = UnixListener::bind(&path).unwrap();
    // No process has this number: it is beyond the kernel's largest (PID_MAX_LIMIT).
    let (dead, foreign) = (beside("2000000001.sock"), beside("2000000002.sock"));
    leave_stale(&dead);
    let _in_another_namespace = UnixListener::bind(&foreign).unwrap();
    symlink("2000000001.sock", beside("port-1.sock")).unwrap();
    symlink(path.file_name().unwrap(), beside("port-2.sock")).unwrap();
    fs::write(beside("2000000003.sock"), "no socket").unwrap();
    // About to be renamed by processes that were killed, and by this one.
    let half = format!(".port-3.{}", std::process::id());
    for name in [".port-3.2000000001", ".port-3.x", &*half] {
        symlink("1.sock", beside(name)).unwrap();
    }
    find::sweep(directory.path());
    let left = ["2000000003.sock", "port-2.sock"].map(beside);
    assert!(left.iter().all(|it| it.exists()) && path.exists() && foreign.exists());
    assert!(!dead.exists() && fs::symlink_metadata(beside("port-1.sock")).is_err());
    assert!(fs::symlink_metadata(beside(".port-3.2000000001")).is_err());
    assert!([&*half, ".port-3.x"].iter().all(|name| fs::symlink_metadata(beside(name)).is_ok()));
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let (directory, _) = place();
    let fresh = directory.path().join("tine");
    find::prepare(&fresh).unwrap();
    assert_eq!(fs::metadata(&fresh).unwrap().mode() & 0o777, 0o700);
    find::prepare(&fresh).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o722)).unwrap();
    assert!(find::prepare(&fresh).unwrap_err().is_config());
    let link = directory.path().join("link");
    symlink("/run", &link).unwrap();
    assert!(find::prepare(&link).unwrap_err().is_config(), "somebody else may have put it there");
}

#[test]
fn a_client_finds_what_runs() {
    let (directory, path) = place();
    let owner = tine_os::privilege::effective_uid();
    let directories = [find::Directory { path: directory.path().to_path_buf(), owner }];
    let find = |by: By| Client::find_in(&directories, &by);
    let error = find(By::Only).unwrap_err();
    assert!(error.is_config() && error.to_string().contains("no service runs"), "{error}");
    leave_stale(&directory.path().join("2000000001.sock"));
    let running = Running::at(&path);
    find::link(&path, 8080).unwrap();
    let own = process::id();
    for by in [By::Only, By::Pid(own), By::Port(8080), By::Path(path.clone())] {
        let client = find(by.clone()).unwrap_or_else(|error| panic!("{by:?}: {error}"));
        assert_eq!((client.pid(), client.path()), (Some(own), path.as_path()));
        assert_eq!(client.status().unwrap(), status(5000));
        client.grow().unwrap();
        let error = client.reload(Duration::from_secs(5)).unwrap_err();
        assert!(error.is_refused() && error.to_string().contains("not today"), "{error}");
    }
    for by in [By::Pid(1), By::Port(1), By::Path(directory.path().join("1.sock"))] {
        assert!(find(by.clone()).unwrap_err().is_config(), "{by:?}");
    }
    // This one lies about whose it is.
    let other = Command::new("sleep").arg("600").spawn().map(Killed).unwrap();
    let _lie = UnixListener::bind(directory.path().join(format!("{}.sock", other.0.id()))).unwrap();
    assert_eq!(find(By::Only).unwrap().pid(), Some(own), "the lie is not believed");
    assert!(find(By::Pid(other.0.id())).unwrap_err().is_config());
    drop(running);
}

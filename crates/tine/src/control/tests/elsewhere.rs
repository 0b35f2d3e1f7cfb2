//! What needs a process of its own.

use super::*;

/// Runs the test [`elsewhere`] in a process of its own.
fn start_elsewhere(directory: &Path, role: &str, files: u32) -> Killed {
    fs::write(directory.join("role"), role).unwrap();
    let limited = format!(
        "ulimit -n {files} && exec \"$0\" --exact control::tests::elsewhere::elsewhere --nocapture"
    );
    let mut command = Command::new("sh");
    command.arg("-c").arg(limited).arg(std::env::current_exe().unwrap());
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null());
    Killed(command.spawn().unwrap())
}

/// What other tests have a second process do; by itself it does nothing.
#[test]
fn elsewhere() {
    match fs::read_to_string("role").as_deref() {
        Ok("serve until stopped now") => serve_until_stopped_now(),
        Ok("accept without descriptors") => accept_without_descriptors(),
        _ => {}
    }
}

fn serve_until_stopped_now() {
    let mut server = Server::open(Path::new("new.sock")).unwrap();
    let epoll = Epoll::new().unwrap();
    server.register(&epoll, BASE).unwrap();
    fs::rename("new.sock", "its.sock").unwrap();
    let mut ready = Ready::with_capacity(64);
    let mut stopped = false;
    while !stopped {
        epoll.wait(&mut ready, Some(LONG)).unwrap();
        for event in ready.iter() {
            server.handle(&epoll, event.token - BASE, monotonic(), &mut |request| {
                stopped |= request == Request::Stop { now: true };
                Reply::Done
            });
        }
    }
}

#[test]
fn stop_returns_when_the_process_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let service = start_elsewhere(directory.path(), "serve until stopped now", 64);
    let path = directory.path().join("its.sock");
    let client = until(|| Client::connect(&path).ok());
    assert_eq!(client.pid(), Some(service.0.id()));
    let error = client.stop(false, Duration::from_millis(20)).unwrap_err();
    assert!(!error.is_config() && error.to_string().contains("has not ended within"), "{error}");
    client.stop(true, LONG).unwrap();
    assert!(!crate::pidfile::is_alive(service.0.id()).unwrap());
    client.stop(false, LONG).unwrap();
    assert!(client.status().unwrap_err().is_refused(), "it was there");
    assert!(Client::connect(&path).unwrap_err().is_config(), "there is none");
    let _other = UnixListener::bind(directory.path().join("other")).unwrap();
    fs::rename(directory.path().join("other"), &path).unwrap();
    let error = client.status().unwrap_err();
    assert!(error.to_string().contains("has its place"), "{error}");
}

fn accept_without_descriptors() {
    let mut stepped = Stepped::new();
    let client = stepped.client();
    let mut files: Vec<fs::File> =
        std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
    assert!(files.len() < 64, "descriptors have run out");
    stepped.settle();
    assert_eq!(stepped.server.deadline(), Some(stepped.now + SECOND), "it rests");
    stepped.pass(SECOND / 2);
    assert_eq!(stepped.settle(), 0);
    stepped.pass(SECOND / 2);
    stepped.settle();
    files.clear();
    stepped.pass(SECOND);
    let mut client = BufReader::new(client);
    client.get_mut().write_all(format!("{PING}\n").as_bytes()).unwrap();
    stepped.settle();
    assert!(hear(&mut client).contains("\"ok\":true"));
    fs::write("accepted", "").unwrap();
}

#[test]
fn without_descriptors_it_rests_and_then_accepts() {
    let directory = tempfile::tempdir().unwrap();
    let mut starved = start_elsewhere(directory.path(), "accept without descriptors", 48);
    assert!(starved.0.wait().unwrap().success());
    assert!(directory.path().join("accepted").exists());
}

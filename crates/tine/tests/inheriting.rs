//! What a service and its workers find where they begin: sockets that were passed in, and a place for cores.

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use support::{Talk, start, start_in, start_with};
use testkit::TempDir;

fn plain_core_pattern() -> bool {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    !pattern.starts_with(['|', '/'])
}

#[test]
fn sockets_passed_in_have_their_names_and_the_variables_are_gone() {
    for spawn in ["", "--spawn exec"] {
        let sockets = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let address = sockets[1].local_addr().expect("an address").to_string();
        let service = start_with(&format!("--inherited yes --workers 1 {spawn}"), |server| {
            let server = server
                .env("LISTEN_FDS", "2")
                .env("LISTEN_FDNAMES", "web:admin")
                .env_own_pid("LISTEN_PID");
            sockets
                .into_iter()
                .zip(3..)
                .fold(server, |server, (socket, number)| server.listener(socket, number))
        });
        service.wait_serving(1);
        let mut talk = Talk::to(&address);
        assert_eq!(talk.ask("listener"), "admin");
        assert_eq!(talk.ask("variable LISTEN_FDS"), "none");
        assert_eq!(talk.ask("variable LISTEN_PID"), "none");
        assert_eq!(talk.ask("variable LISTEN_FDNAMES"), "none");
        drop(talk);
        service.stop();
    }
}

#[test]
fn workers_whose_socket_somebody_else_shuts_down_are_replaced_ever_more_slowly() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let ours = socket.try_clone().expect("a second descriptor");
    let service = start_with("--inherited yes --workers 1", |server| {
        server.env("LISTEN_FDS", "1").env_own_pid("LISTEN_PID").listener(socket, 3)
    });
    service.wait_serving(1);
    tine_os::socket::shutdown(&ours).expect("it listens");
    service.wait_line("shut down by another process");
    let waits = || -> Vec<u64> {
        let after = |line: &String| {
            let (_, after) = line.split_once("its place is tried again in ")?;
            after.split(' ').next()?.parse().ok()
        };
        service.lines().iter().filter_map(after).collect()
    };
    service.wait_until("the waits become longer", || waits().iter().any(|&wait| wait >= 400));
    service.stop();
}

#[test]
fn a_socket_without_a_name_does_not_take_the_next_ones() {
    let sockets = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let addresses = sockets.each_ref().map(|it| it.local_addr().expect("an address").to_string());
    let service = start_with("--inherited yes --workers 1", |server| {
        let server = server.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", ":admin");
        let server = server.env_own_pid("LISTEN_PID");
        let numbered = sockets.into_iter().zip(3..);
        numbered.fold(server, |server, (socket, number)| server.listener(socket, number))
    });
    service.wait_serving(1);
    for (address, name) in addresses.iter().zip(["nameless", "admin"]) {
        assert_eq!(Talk::to(address).ask("listener"), name);
    }
    service.stop();
}

#[test]
fn no_sockets_at_all_are_refused() {
    let service = start_with("--inherited yes --workers 1", |server| {
        server.env("LISTEN_FDS", "0").env_own_pid("LISTEN_PID")
    });
    assert_eq!(service.wait_exit().code(), Some(2));
    service.wait_line("no sockets were passed in: LISTEN_FDS names none");
}

#[test]
fn a_worker_that_crashes_leaves_its_core_in_the_directory_for_cores() {
    let directory = TempDir::new().expect("a directory");
    let cores = directory.path().join("cores");
    let hooks = directory.path().join("hooks");
    fs::create_dir(&cores).expect("a directory");
    let arguments = format!(
        "--listen 127.0.0.1:0 --workers 1 --core-directory {} --hooks {}",
        cores.display(),
        hooks.display()
    );
    let service = start_in(directory, &arguments, |server| server);
    let worker = service.wait_serving(1)[0];
    assert_eq!(fs::read_link(format!("/proc/{worker}/cwd")).expect("it lives"), cores);
    let limits = fs::read_to_string(format!("/proc/{worker}/limits")).expect("it lives");
    let limit = limits.lines().find(|line| line.starts_with("Max core file size")).expect("one");
    assert_eq!(limit.matches("unlimited").count(), 2, "{limit}");
    let mut talk = service.talk();
    talk.tell("crash SEGV");
    assert!(talk.is_closed());
    let dumped = plain_core_pattern();
    let how = if dumped { "SIGSEGV (11), core dumped" } else { "SIGSEGV (11)" };
    service.wait_line(&format!("was killed by {how}"));
    let told = format!("exited {worker} was killed by {how} crash true");
    service.wait_until("the hook is told the pid and the signal", || {
        fs::read_to_string(&hooks).is_ok_and(|text| text.contains(&told))
    });
    assert_eq!(has_a_file(&cores), dumped);
    service.stop();
}

fn has_a_file(directory: &Path) -> bool {
    fs::read_dir(directory).expect("it is there").next().is_some()
}

#[test]
fn a_missing_directory_for_cores_is_refused_before_anything_is_bound() {
    let service = start("--workers 1 --core-directory /no/such/directory");
    assert_eq!(service.wait_exit().code(), Some(2));
    service.wait_line("core directory /no/such/directory: no such directory");
    assert_eq!(service.count_lines("listening"), 0);
}

//! When a program counts as ready that is asked, and what is said of one that is not.

mod superdaemon;

use std::fs;
use std::time::{Duration, Instant};

use superdaemon::{Daemon, KILL, Place, TERM, hello};
use testkit::{DEADLINE, process, require_peer, wait_until};

const CONT: i32 = 18;
const STOP: i32 = 19;

/// Serves one socket, its first; says so.
const ONE_SOCKET: &str = r#"
import os, socket, sys
listener = socket.socket(fileno=3)
print('serving', os.getpid(), flush=True)
while True:
    connection, _ = listener.accept()
    if connection.recv(4096):
        status = open(sys.argv[1]).read() if len(sys.argv) > 1 else '200 OK'
        connection.sendall(b'HTTP/1.0 %s\r\nContent-Length: 5\r\n\r\nhello' % status.encode())
    connection.close()
"#;

fn serves(daemon: &Daemon) -> bool {
    daemon.status()["pools"][0]["serving"] == 1
}

/// Under these options, `%` being the directory.
fn start(options: &str, command: &str) -> Daemon {
    let place = Place::new();
    fs::write(place.path("app.py"), ONE_SOCKET).expect("a file");
    fs::write(place.path("answer"), "200 OK").expect("a file");
    place.start("start", &format!("{options} -- {command}"))
}

#[test]
fn a_program_that_serves_one_socket_is_ready_when_it_takes_a_connection_there() {
    if !require_peer("python3") {
        return;
    }
    for ready in ["tcp", "http:/"] {
        for listen in ["127.0.0.1:0", "*:0", "unix:%/sock"] {
            let options = format!("--ready {ready} --listen {listen} --listen 127.0.0.1:0");
            let begun = Instant::now();
            let daemon = start(&options, "python3 %/app.py");
            daemon.wait_until("it serves", || serves(&daemon));
            // After 3 s the other one is asked as well.
            if begun.elapsed() < Duration::from_secs(2) {
                assert_eq!(daemon.status()["pools"][0]["queued"], 0, "the other one is left alone");
            }
            let reload = daemon.place.run("reload --control %/control");
            assert!(reload.status.success(), "{ready} {listen}: {reload:?}");
            assert_eq!(daemon.count_lines("serving "), 2, "{ready} {listen}");
            daemon.stop();
        }
    }
}

#[test]
fn what_the_generation_before_answers_is_no_answer_of_the_new_one() {
    if !require_peer("python3") {
        return;
    }
    let options = "--ready http:/ --listen 127.0.0.1:0 --attempts 1";
    let daemon = start(options, "python3 %/app.py %/answer");
    daemon.wait_until("it serves", || serves(&daemon));
    let address = daemon.addresses().remove(0);
    // Two of them are asked from now on. The old one says yes to whoever has its text already.
    let old = fs::read_to_string(daemon.place.path("app.py")).expect("it is there");
    let deaf = old.replace("connection.sendall", "if False: connection.sendall");
    fs::write(daemon.place.path("app.py"), deaf).expect("a file");
    let reload = daemon.place.run("reload --control %/control --timeout 1");
    assert!(!reload.status.success(), "{reload:?}");
    daemon.wait_until("the new one listens, too", || daemon.count_lines("serving ") == 2);
    wait_until("the old one answers", DEADLINE, || hello(&address));
    let pool = &daemon.status()["pools"][0];
    assert_eq!((&pool["serving"], &pool["booting"]), (&1.into(), &1.into()), "{pool}");
    daemon.signal(KILL);
}

#[test]
fn a_program_that_takes_no_connection_is_told_what_it_would_have_to_do() {
    for (options, said) in [
        ("--ready tcp --listen 127.0.0.1:0", "has taken no connection on any of: 127.0.0.1:"),
        ("--ready tcp --listen 127.0.0.1:0", "a listener of its own (descriptor 4)"),
        ("--ready http:/up", "no answer to GET /up with a status from 200 to 399"),
        ("--ready tcp:127.0.0.1:9", "nothing takes connections at 127.0.0.1:9"),
        ("--ready notify", "has not said READY=1 to NOTIFY_SOCKET"),
        ("--ready ack", "has written nothing to the descriptor in EINHORN_SOCK_FD"),
    ] {
        let daemon = start(&format!("{options} --boot-timeout 0.3 --attempts 1"), "sleep 600");
        assert_eq!(daemon.wait_exit().code(), Some(1));
        let lines = daemon.lines();
        let last = lines.last().expect("it says why");
        assert!(last.contains("no worker could boot") && last.contains(said), "{lines:?}");
    }
}

#[test]
fn a_start_that_is_stopped_is_no_failure_be_the_program_gone_first() {
    let daemon = start("--interval 60 --boot-timeout 99 --attempts 1", "sleep 600");
    daemon.wait_until("it boots", || daemon.status()["pools"][0]["booting"] == 1);
    // All processes of a service may be signalled at once, and the program be the first to end. The superdaemon is stopped
    // meanwhile, so that it sees that end and its own signal in one look.
    daemon.signal(STOP);
    let keeper = daemon.children()[0];
    for pid in process::children(keeper) {
        process::signal(pid, TERM);
    }
    let ended = || process::try_status(keeper).is_none_or(|it| it.state == 'Z');
    wait_until("its keeper ends", DEADLINE, ended);
    daemon.signal(TERM);
    daemon.signal(CONT);
    let status = daemon.wait_exit();
    assert!(status.success(), "{status}\n{}", daemon.lines().join("\n"));
}

#[test]
fn uvicorn_and_node_are_ready_on_the_one_socket_that_they_serve() {
    let asgi = "async def app(scope, receive, send):\n    pass\n";
    let node = "require('http').createServer((_, answer) => answer.end()).listen({ fd: 3 });";
    let python = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let mut import = std::process::Command::new(python);
        import.args(["-c", "import uvicorn"]).stderr(std::process::Stdio::null());
        import.status().is_ok_and(|status| status.success())
    });
    let uvicorn = python.map(|python| format!("{python} -m uvicorn --fd 3 --app-dir % asgi:app"));
    if uvicorn.is_none() {
        require_peer("python3's uvicorn");
    }
    let node_is_there = require_peer("node");
    let commands = uvicorn.into_iter().chain(node_is_there.then(|| "node %/app.js".to_owned()));
    for command in commands {
        let place = Place::new();
        fs::write(place.path("asgi.py"), asgi).expect("a file");
        fs::write(place.path("app.js"), node).expect("a file");
        let line = format!("--ready tcp --listen 127.0.0.1:0 --boot-timeout 20 -- {command}");
        let daemon = place.start("start", &line);
        daemon.wait_until("it serves", || serves(&daemon));
        for _ in 0..3 {
            let reload = daemon.place.run("reload --control %/control");
            assert!(reload.status.success(), "{command}: {reload:?}");
        }
        daemon.stop();
    }
}

//! A stop of the superdaemon, as the program sees it: its sockets go on working, it is asked to leave once, and what it
//! has begun or has waiting is answered. Real servers log what they log without Tine.

mod superdaemon;

use std::fs;
use std::process::{Command, Stdio};

use superdaemon::{Daemon, Place, TERM, hello};
use testkit::{Client, DEADLINE, require_peer, wait_until};

/// Threads of it block in accept. As the usual server in Go, it ends at once when that fails.
const BLOCKING: &str = r#"
import os, signal, socket, sys, threading, time
listener = socket.socket(fileno=int(os.environ['SERVER_STARTER_PORT'].rsplit('=', 1)[1]))
here, leaving, work = sys.argv[1], threading.Event(), []
def answer(connection):
    if b'/slow' in connection.recv(4096):
        open(here + '/begun', 'w').close()
        while not os.path.exists(here + '/go'): time.sleep(0.01)
    connection.sendall(b'HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello')
    connection.close()
def accept():
    try:
        while True:
            one = threading.Thread(target=answer, args=(listener.accept()[0],))
            work.append(one)
            one.start()
    except OSError as error:
        if not leaving.is_set():
            print('accept failed:', error, flush=True)
            os._exit(1)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
threading.Thread(target=accept, daemon=True).start()
signal.sigwait([signal.SIGTERM])
# What comes now has a moment to go wrong.
time.sleep(0.1)
leaving.set()
for one in work: one.join()
os._exit(0)
"#;

/// One connection after the other; asked to leave, it finishes the one it has and takes no other.
const SERIAL: &str = r#"
import os, signal, socket, sys, time
listener = socket.socket(fileno=int(os.environ['SERVER_STARTER_PORT'].rsplit('=', 1)[1]))
here, busy, leaving = sys.argv[1], False, False
def leave(*_):
    global leaving
    print('asked to leave', flush=True)
    leaving = True
    if not busy: os._exit(0)
signal.signal(signal.SIGTERM, leave)
while not leaving:
    connection, _ = listener.accept()
    busy = True
    if b'/slow' in connection.recv(4096):
        open(here + '/begun', 'w').close()
        while not os.path.exists(here + '/go'): time.sleep(0.01)
    connection.sendall(b'HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello')
    connection.close()
    busy = False
"#;

const WSGI: &str = r#"
import os, time
here = os.path.dirname(os.path.abspath(__file__))
def app(environ, start):
    if environ['PATH_INFO'] == '/slow':
        open(here + '/begun', 'w').close()
        while not os.path.exists(here + '/go'): time.sleep(0.01)
    start('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '5')])
    return [b'hello']
"#;

const ASGI: &str = r#"
import asyncio, os
here = os.path.dirname(os.path.abspath(__file__))
async def app(scope, receive, send):
    if scope['type'] == 'lifespan':
        for what in ['startup', 'shutdown']:
            await receive()
            await send({'type': 'lifespan.%s.complete' % what})
        return
    if scope['path'] == '/slow':
        open(here + '/begun', 'w').close()
        while not os.path.exists(here + '/go'): await asyncio.sleep(0.01)
    headers = [(b'content-type', b'text/plain'), (b'content-length', b'5')]
    await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
    await send({'type': 'http.response.body', 'body': b'hello'})
"#;

const NODE: &str = r#"
const fs = require('fs'), here = __dirname;
const server = require('http').createServer((request, response) => {
    if (request.url != '/slow') return response.end('hello');
    fs.writeFileSync(here + '/begun', '');
    const timer = setInterval(() => {
        if (fs.existsSync(here + '/go')) { clearInterval(timer); response.end('hello'); }
    }, 10);
});
server.on('error', error => { console.log('error:', error.message); process.exit(1); });
server.listen({ fd: 3 });
process.on('SIGTERM', () => server.close(() => process.exit(0)));
"#;

const PSGI: &str = r#"
use File::Basename;
my $here = dirname(__FILE__);
sub {
    if ($_[0]{PATH_INFO} eq '/slow') {
        open(my $begun, '>', "$here/begun");
        until (-e "$here/go") { select(undef, undef, undef, 0.01) }
    }
    [200, ['Content-Type' => 'text/plain', 'Content-Length' => 5], ['hello']]
};
"#;

/// What no server logs at a stop in good order.
const TROUBLE: [&str; 5] = ["Traceback", "rror", "xception", "failed", "nvalid argument"];

/// The program that is asked with `-m`, if there is a Python with this module.
fn python(module: &str) -> Option<&'static str> {
    let has = |python: &&str| {
        let mut import = Command::new(python);
        import.args(["-c", &format!("import {module}")]).stderr(Stdio::null());
        import.status().is_ok_and(|status| status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(has);
    if found.is_none() {
        require_peer(&format!("python3's {module}"));
    }
    found
}

/// One that serves: under `tine start` or `start_server`, with these options.
fn serving(name: &str, options: &str, file: &str, text: &str, command: &str) -> (Daemon, String) {
    let place = Place::new();
    fs::write(place.path(file), text).expect("a file");
    let listen = if name == "start" { "--listen" } else { "--port" };
    let line = format!("{options} --interval 0 {listen} 127.0.0.1:0 -- {command}");
    let daemon = place.start(name, &line);
    let address = daemon.addresses().remove(0);
    wait_until("an answer", DEADLINE, || hello(&address));
    (daemon, address)
}

fn ask(address: &str, path: &str) -> Client {
    let mut client = Client::connect(address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes());
    client
}

/// Waits until a request is being answered that goes on until there is a file `go`.
fn begin_slow(daemon: &Daemon, address: &str) -> Client {
    let client = ask(address, "/slow");
    daemon.wait_until("it is begun", || daemon.place.path("begun").exists());
    client
}

fn let_go(daemon: &Daemon) {
    fs::write(daemon.place.path("go"), "").expect("a file");
}

#[track_caller]
fn is_answered(mut client: Client, daemon: &Daemon) {
    let answer = client.try_read_response();
    let answer = answer.unwrap_or_else(|error| panic!("{error}\n{}", daemon.lines().join("\n")));
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
}

#[track_caller]
fn ends_without_trouble(daemon: &Daemon) {
    let status = daemon.wait_exit();
    let lines = daemon.lines();
    let trouble = |line: &&String| TROUBLE.iter().any(|word| line.contains(word));
    let found: Vec<_> = lines.iter().filter(trouble).collect();
    assert!(status.success() && found.is_empty(), "{status}\n{}", lines.join("\n"));
}

/// A stop with a request under way: new clients are refused, the request is answered, the log says nothing of trouble.
fn stops_in_good_order(name: &str, options: &str, file: &str, text: &str, command: &str) {
    let (daemon, address) = serving(name, options, file, text, command);
    let slow = begin_slow(&daemon, &address);
    daemon.signal(TERM);
    wait_until("new clients are refused", DEADLINE, || Client::try_connect(&address).is_err());
    let_go(&daemon);
    is_answered(slow, &daemon);
    ends_without_trouble(&daemon);
}

#[test]
fn an_accept_of_the_programs_never_fails_because_of_a_stop_and_the_request_under_way_is_answered() {
    if !require_peer("python3") {
        return;
    }
    for name in ["start", "start_server"] {
        stops_in_good_order(name, "", "app.py", BLOCKING, "python3 %/app.py %");
    }
}

#[test]
fn a_program_that_takes_nothing_once_it_is_asked_to_leave_is_asked_when_its_queue_is_empty() {
    if !require_peer("python3") {
        return;
    }
    let (daemon, address) = serving("start", "", "app.py", SERIAL, "python3 %/app.py %");
    let slow = begin_slow(&daemon, &address);
    let queued: Vec<_> = (0..3).map(|_| ask(&address, "/")).collect();
    daemon.wait_until("they wait", || daemon.status()["pools"][0]["queued"] == 3);
    daemon.signal(TERM);
    daemon.wait_line("stopping:");
    assert_eq!(daemon.count_lines("asked to leave"), 0);
    let_go(&daemon);
    is_answered(slow, &daemon);
    queued.into_iter().for_each(|client| is_answered(client, &daemon));
    ends_without_trouble(&daemon);
    assert_eq!(daemon.count_lines("asked to leave"), 1);
}

#[test]
fn a_program_that_takes_nothing_at_all_is_asked_to_leave_all_the_same() {
    if !require_peer("python3") {
        return;
    }
    let (daemon, address) = serving("start", "", "app.py", SERIAL, "python3 %/app.py %");
    let slow = begin_slow(&daemon, &address);
    let _queued = ask(&address, "/");
    daemon.wait_until("it waits", || daemon.status()["pools"][0]["queued"] == 1);
    daemon.signal(TERM);
    daemon.wait_line("asked to leave");
    let_go(&daemon);
    is_answered(slow, &daemon);
    assert!(daemon.wait_exit().success());
}

#[test]
fn a_program_on_a_unix_socket_has_it_to_the_end() {
    if !require_peer("python3") {
        return;
    }
    let place = Place::new();
    fs::write(place.path("app.py"), BLOCKING).expect("a file");
    let daemon = place.start("start", "--interval 0 --listen unix:%/sock -- python3 %/app.py %");
    let address = daemon.addresses().remove(0);
    wait_until("an answer", DEADLINE, || hello(&address));
    let slow = begin_slow(&daemon, &address);
    daemon.signal(TERM);
    wait_until("its file goes", DEADLINE, || !superdaemon::has(&daemon.place.path("sock")));
    let_go(&daemon);
    is_answered(slow, &daemon);
    ends_without_trouble(&daemon);
}

#[test]
fn gunicorn_stops_in_good_order() {
    let Some(python) = python("gunicorn") else { return };
    for kind in ["sync", "gthread --threads 4"] {
        let command = format!("{python} -m gunicorn -k {kind} --chdir % app:app");
        stops_in_good_order("start", "", "app.py", WSGI, &command);
    }
}

#[test]
fn uvicorn_stops_in_good_order() {
    let Some(python) = python("uvicorn") else { return };
    let command = format!("{python} -m uvicorn --fd 3 --app-dir % app:app");
    stops_in_good_order("start", "", "app.py", ASGI, &command);
}

#[test]
fn hypercorn_stops_in_good_order() {
    let Some(python) = python("hypercorn") else { return };
    let command = format!("{python} -m hypercorn --bind fd://3 app:app");
    let options = "--dir %";
    stops_in_good_order("start", options, "app.py", ASGI, &command);
}

#[test]
fn node_stops_in_good_order() {
    if require_peer("node") {
        stops_in_good_order("start", "", "app.js", NODE, "node %/app.js");
    }
}

#[test]
fn starman_stops_in_good_order() {
    if require_peer("starman") {
        // Its TERM is abrupt: its own documentation says QUIT.
        let command = "starman --workers 2 --disable-keepalive %/app.psgi";
        stops_in_good_order("start", "--signal-on-term QUIT", "app.psgi", PSGI, command);
    }
}

//! A daemon lets go of what its caller waits for; a server in the foreground ends with its terminal, and one that was started
//! to outlive it does not.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use testkit::{DEADLINE, TempDir, alive, client, process, wait_gone, wait_until};

const HUP: i32 = 1;
const KILL: i32 = 9;
const TERM: i32 = 15;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(TempDir::new().expect("a directory"));
        fs::create_dir(place.path("site")).expect("a directory");
        fs::write(place.path("site/index.html"), "hello").expect("a file");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A command line: `%` is this directory, and `~` a blank inside a word.
    fn words(&self, line: &str) -> Vec<String> {
        let directory = self.0.path().display().to_string();
        line.split(' ').map(|word| word.replace('%', &directory).replace('~', " ")).collect()
    }

    fn wait_text(&self, name: &str, wanted: &str) {
        wait_until(wanted, DEADLINE, || self.text(name).contains(wanted));
    }

    fn pid(&self) -> u32 {
        wait_until("a pid file", DEADLINE, || self.text("pid").ends_with('\n'));
        self.text("pid").trim().parse().expect("a number")
    }
}

/// Ended with its test.
struct Ends(u32);

impl Drop for Ends {
    fn drop(&mut self) {
        if alive(self.0) {
            process::signal(self.0, TERM);
            wait_gone(self.0);
        }
    }
}

/// Runs a command whose output and error are one pipe, and reads that to its end; the exit code, and what was said.
fn caller(words: &[String]) -> (i32, String) {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tine"));
    command.args(words).stdin(Stdio::null());
    command.stdout(writer.try_clone().expect("a copy")).stderr(writer);
    let mut child = command.spawn().expect("it runs");
    drop(command);
    let code = child.wait().expect("it ends").code().expect("a code");
    let (told, said) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = reader.read_to_string(&mut text);
        let _ = told.send(text);
    });
    let said = said.recv_timeout(DEADLINE);
    (code, said.unwrap_or_else(|_| panic!("{words:?}: its output is still open")))
}

#[test]
fn who_waits_for_the_end_of_a_daemon_s_output_does_not_wait() {
    for line in [
        "serve --daemonize --listen 127.0.0.1:0 --control off --pid-file %/pid %/site",
        "serve --daemonize --listen 127.0.0.1:0 --control off --pid-file %/pid --log-file %/log %/site",
        "start --daemonize --control off --pid-file %/pid --interval 0 -- sleep 600",
        "start --daemonize --control off --pid-file %/pid --interval 0 --log-file |~cat~>>%/log -- sleep 600",
        "start_server --daemonize --control=off --pid-file=%/pid --interval=0 --log-file=|~cat~>>%/log -- sleep 600",
    ] {
        let place = Place::new();
        let (code, said) = caller(&place.words(line));
        assert_eq!(code, 0, "{line}: {said}");
        let daemon = Ends(place.pid());
        assert!(alive(daemon.0), "{line}");
        let is_told = said.contains("nothing is logged");
        assert_eq!(is_told, !line.contains("--log-file"), "{line}: {said}");
        if line.contains("serve ") && line.contains("--log-file") {
            assert!(place.text("log").contains("listening"), "{}", place.text("log"));
        }
    }
}

#[test]
fn a_daemon_s_log_is_no_pipe_of_its_caller_s_but_may_be_its_file() {
    let place = Place::new();
    let line = "serve --daemonize --listen 127.0.0.1:0 --control off --pid-file %/pid";
    for log in ["--log-file -", "--access-log /dev/stdout", "--log-file /dev/stderr"] {
        let (code, said) = caller(&place.words(&format!("{line} {log} %/site")));
        assert_eq!(code, 2, "{log}: {said}");
        assert!(said.contains("in the background there is no standard"), "{said}");
    }
    let file = || {
        let file = fs::File::options().append(true).create(true).open(place.path("out"));
        file.expect("a file")
    };
    for log in ["--access-log -", "--log-file -", "--log-file /dev/stderr", "--control off"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tine"));
        let line = if log.starts_with("--control") { line.replace(log, "") } else { line.into() };
        let line = format!("{} {log} %/site", line.trim_end().replace("  ", " "));
        command.args(place.words(&line)).stdin(Stdio::null()).stdout(file()).stderr(file());
        assert!(command.status().expect("it runs").success(), "{log}");
        let daemon = Ends(place.pid());
        let said = if log.contains("access") { "listening on" } else { "serving " };
        place.wait_text("out", said);
        let text = place.text("out");
        let (_, address) = text.split_once("listening on ").expect("an address");
        let address = address.split_whitespace().next().expect("a word");
        assert_eq!(client::get(address, "/").text(), "hello");
        // The log is where it was after a reload, too.
        process::signal(daemon.0, HUP);
        place.wait_text("out", "generation 2 serves");
        assert_eq!(client::get(address, "/").text(), "hello");
        drop(daemon);
        place.wait_text("out", "stopped");
        let served = place.text("out").matches("GET / ").count();
        assert_eq!(served, if log.contains("access") { 2 } else { 0 }, "{}", place.text("out"));
        fs::remove_file(place.path("out")).expect("removed");
    }
}

/// A terminal, with this shell command in it; gone when dropped. Who runs the tests may ignore HUP (nohup does) and have any
/// shell, or none.
struct Terminal(Child);

impl Terminal {
    fn run(command: &str) -> Self {
        let mut script = Command::new("env");
        script.args(["--default-signal=HUP", "SHELL=/bin/sh", "script"]);
        script.args(["-q", "-e", "-f", "-c", command, "/dev/null"]);
        script.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(script.spawn().expect("it runs"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Without a last word to what runs in it: the kernel hangs the terminal up.
        process::signal(self.0.id(), KILL);
        let _ = self.0.wait();
    }
}

/// In a terminal: a server, as a shell's command line says where it is.
fn in_terminal(place: &Place, how: &str) -> (Terminal, u32) {
    let words =
        place.words("--listen 127.0.0.1:0 --control off --pid-file %/pid --log-file %/log %/site");
    let serve = format!("{} serve {}", env!("CARGO_BIN_EXE_tine"), words.join(" "));
    let terminal = Terminal::run(&how.replace("SERVE", &serve));
    let pid = place.pid();
    place.wait_text("log", "serving");
    (terminal, pid)
}

#[test]
fn a_server_in_the_foreground_ends_with_its_terminal() {
    for how in [
        // The leader of the session, and what a shell has in the foreground and in the background.
        "exec SERVE",
        "SERVE; true",
        "bash -ic 'SERVE; true'",
        "bash -ic 'SERVE & wait'",
        // Shells in shells: who sends HUP on is not the leader then.
        "bash -ic \"bash -c 'SERVE; true'\"; true",
        "bash -ic \"bash -ic 'SERVE & wait'; true\"; true",
    ] {
        let place = Place::new();
        let (terminal, pid) = in_terminal(&place, how);
        let server = Ends(pid);
        drop(terminal);
        wait_until("its end", DEADLINE, || !alive(server.0));
        let log = place.text("log");
        assert!(log.contains("the terminal is gone") && log.contains("stopped"), "{how}: {log}");
        assert!(!log.contains("reload"), "{how}: {log}");
        assert!(!place.path("pid").exists(), "{how}");
    }
}

#[test]
fn a_hup_of_a_person_s_is_a_reload_in_a_terminal_and_after_its_end() {
    for how in ["exec SERVE", "bash -ic 'SERVE & wait'", "setsid SERVE & sleep 600"] {
        let place = Place::new();
        let (terminal, pid) = in_terminal(&place, how);
        let server = Ends(pid);
        process::signal(server.0, HUP);
        place.wait_text("log", "generation 2 serves");
        // In a session of its own it has no terminal to lose.
        if how.starts_with("setsid") {
            drop(terminal);
            process::signal(server.0, HUP);
            place.wait_text("log", "generation 3 serves");
        }
        assert!(!place.text("log").contains("terminal"), "{}", place.text("log"));
    }
}

#[test]
fn a_server_started_by_nohup_outlives_its_terminal_and_is_reloaded_all_the_same() {
    for how in ["nohup SERVE", "bash -ic 'nohup SERVE & wait'"] {
        let place = Place::new();
        let (mut terminal, pid) = in_terminal(&place, how);
        let server = Ends(pid);
        process::signal(terminal.0.id(), KILL);
        terminal.0.wait().expect("it is ours");
        // Before that is known, two signals would be one.
        place.wait_text("log", "the terminal is gone, and HUP was ignored");
        process::signal(server.0, HUP);
        place.wait_text("log", "generation 2 serves");
        process::signal(server.0, TERM);
        place.wait_text("log", "stopped");
        let log = place.text("log");
        assert!(!log.contains("generation 3") && log.contains("stopped"), "{how}: {log}");
    }
}

#[test]
fn a_pid_file_whose_number_is_another_process_s_by_now_stops_no_start() {
    let place = Place::new();
    let stranger = Stranger(Command::new("sleep").arg("600").spawn().expect("it runs"));
    for line in [
        "serve --daemonize --listen 127.0.0.1:0 --control off --log-file %/log --pid-file %/pid %/site",
        "start --daemonize --control off --interval 0 --log-file %/log --pid-file %/pid -- sleep 600",
        "start_server --daemonize --control=off --interval=0 --log-file=%/log --pid-file=%/pid -- sleep 600",
    ] {
        for number in [stranger.0.id(), 1] {
            fs::write(place.path("pid"), format!("{number}\n")).expect("a file");
            let (code, said) = caller(&place.words(line));
            assert_eq!(code, 0, "{line}: {said}");
            let daemon = Ends(place.pid());
            assert!(daemon.0 != number && alive(daemon.0));
            // A second one is refused, for the lock is held.
            let (code, said) = caller(&place.words(line));
            assert!(code != 0 && said.contains(&daemon.0.to_string()), "{line}: {code} {said}");
        }
    }
}

/// Another program; ended with its test.
struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

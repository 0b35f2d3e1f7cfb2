//! What is in `packaging/`: units that systemd accepts, and command lines that this program does.
//!
//! Nothing here starts systemd or a container: the unit is read by systemd's own tool, and what it would do is done by the
//! test, socket, notify socket and signals.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{DEADLINE, Server, TempDir, client, require_peer};

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const SIGHUP: i32 = 1;
const SIGTERM: i32 = 15;

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(packaging(file)).expect("it is in the tree")
}

/// The setting of a unit.
fn setting(unit: &str, name: &str) -> String {
    let value = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name}")).to_owned()
}

/// Version of the systemd that is here.
fn systemd() -> u32 {
    let output = Command::new("systemd-analyze").arg("--version").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = said.split(|c: char| !c.is_ascii_digit()).find(|word| !word.is_empty());
    version.and_then(|word| word.parse().ok()).expect("a version")
}

#[test]
fn systemd_accepts_the_units() {
    if !require_peer("systemd-analyze") {
        return;
    }
    let directory = TempDir::new().expect("a directory");
    for file in ["tine.service", "tine.socket"] {
        let mut unit = text(&format!("systemd/{file}")).replace("/usr/bin/tine", TINE);
        if systemd() < 253 {
            // As the unit itself says.
            let older = format!("Type=notify\nExecReload={TINE} reload");
            unit = unit.replace("Type=notify-reload", &older);
        }
        fs::write(directory.path().join(file), unit).expect("a file");
    }
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(["tine.service", "tine.socket"].map(|file| directory.path().join(file)))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&verify.stderr);
    let about = said.lines().filter(|line| line.contains("tine.s")).collect::<Vec<_>>();
    assert!(verify.status.success() && about.is_empty(), "{said}");
}

#[test]
fn the_unit_serves_on_a_socket_that_was_passed_in_reloads_and_stops() {
    let unit = text("systemd/tine.service");
    assert_eq!(setting(&unit, "Type"), "notify-reload");
    assert_eq!(setting(&unit, "KillMode"), "mixed");
    let directory = TempDir::new().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::write(at("index.html"), "hello").expect("a page");
    let manager = UnixDatagram::bind(at("notify")).expect("a socket");
    manager.set_read_timeout(Some(DEADLINE)).expect("a socket");
    let wait = |what: &str| {
        let mut buffer = [0; 4096];
        loop {
            let count = manager.recv(&mut buffer).unwrap_or_else(|_| panic!("nobody says {what}"));
            if String::from_utf8_lossy(&buffer[..count]).contains(what) {
                return;
            }
        }
    };
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address").to_string();
    let line = setting(&unit, "ExecStart");
    let words = line.split(' ').skip(1).map(|word| match word {
        "/run/tine/control" => at("control").display().to_string(),
        "/srv/www" => directory.path().display().to_string(),
        word => word.to_owned(),
    });
    let server = Server::command(TINE)
        .args(words.collect::<Vec<_>>())
        .env("LISTEN_FDS", "1")
        .env_own_pid("LISTEN_PID")
        .env("NOTIFY_SOCKET", at("notify"))
        .env("WATCHDOG_USEC", "30000000")
        .listener(socket, 3)
        .start();
    wait("READY=1");
    assert_eq!(client::get(&address, "/").text(), "hello");
    server.signal(SIGHUP);
    wait("RELOADING=1");
    wait("READY=1");
    assert_eq!(client::get(&address, "/").text(), "hello");
    server.signal(SIGTERM);
    wait("STOPPING=1");
    assert!(server.wait_exit().success(), "{}", server.lines().join("\n"));
}

/// The words of a list such as `["serve", "/srv"]`.
fn list(text: &str) -> Vec<String> {
    let inside = text.split(['[', ']']).nth(1).expect("a list");
    inside.split(',').map(|word| word.trim().trim_matches('"').to_owned()).collect()
}

#[test]
fn the_command_lines_for_containers_are_understood() {
    let image = text("container/Containerfile");
    let manifest = text("container/kubernetes.yaml");
    let mut lines = Vec::new();
    for (file, name) in
        [(&image, "CMD ["), (&image, "HEALTHCHECK"), (&manifest, "args:"), (&manifest, "command:")]
    {
        let line = file
            .lines()
            .find(|line| line.trim_start().starts_with(name) || line.contains(&format!(" {name}")));
        let mut words = list(line.unwrap_or_else(|| panic!("no {name}")));
        words.retain(|word| word != "tine");
        lines.push(words);
    }
    for words in lines {
        // Everything before it is read, and refused if it is not known.
        let output = Command::new(TINE).args(&words).arg("--help").output().expect("it runs");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let refused = Command::new(TINE).args(["serve", "--nonsense", "--help"]).output();
    assert!(!refused.expect("it runs").status.success(), "--help would hide anything");
}

#[test]
fn the_pods_grace_is_longer_than_what_the_server_may_take() {
    let manifest = text("container/kubernetes.yaml");
    let grace = manifest.lines().find_map(|line| {
        line.trim().strip_prefix("terminationGracePeriodSeconds: ")?.parse::<u64>().ok()
    });
    let words = list(manifest.lines().find(|line| line.contains("args:")).expect("arguments"));
    let after = |flag: &str| {
        let at = words.iter().position(|word| word == flag).expect("a flag");
        words[at + 1].parse::<u64>().expect("seconds")
    };
    let needed = after("--lame-duck") + after("--drain-timeout") + 5;
    assert!(grace.expect("a grace") >= needed, "{needed}");
}

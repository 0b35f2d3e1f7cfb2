//! What no output has: bytes of keys and certificates, and values of the environment.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use testkit::base64;
use testkit::secret::Secrets;
use testkit::tls::Identity;
use testkit::{DEADLINE, Running, Server, TempDir};

const SIGTERM: i32 = 15;
/// Stands where a secret might.
const MARKER: &str = "hunter2-correct-horse";

fn tine() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tine"))
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A server over TLS, told of by a service manager that is the test.
struct Service {
    directory: TempDir,
    manager: UnixDatagram,
    running: Running,
}

impl Service {
    fn start(identity: &Identity) -> Self {
        let directory = TempDir::new().expect("a directory");
        fs::create_dir(directory.path().join("site")).expect("a directory");
        identity.write(directory.path(), "live");
        let manager = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
        manager.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket");
        let running = Server::command(env!("CARGO_BIN_EXE_tine"))
            .args(["serve", "site", "--listen", "127.0.0.1:0/tls", "--control", "control"])
            .args(["--cert", "live.pem", "--key", "live.key", "--log-file", "log"])
            .args(["--log-level", "debug"])
            .env("NOTIFY_SOCKET", directory.path().join("notify"))
            .current_dir(directory.path())
            .start();
        let it = Self { directory, manager, running };
        it.told("READY=1");
        it
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the manager is told until a message has this.
    fn told(&self, what: &str) -> String {
        let (mut all, until) = (String::new(), Instant::now() + DEADLINE);
        let mut buffer = [0; 8192];
        while !all.contains(what) {
            assert!(Instant::now() < until, "{what} is not said: {all}");
            let Ok(count) = self.manager.recv(&mut buffer) else { continue };
            all.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        all
    }

    fn ask(&self, words: &[&str]) -> Output {
        let asked = tine().args(words).arg("--control").arg(self.at("control")).output();
        asked.expect("it runs")
    }

    /// Everything that is said of a reload with these two files, which fails.
    fn all_of_a_failed_reload(&self, certificate: &[u8], key: &[u8]) -> String {
        fs::write(self.at("live.pem"), certificate).expect("a file");
        fs::write(self.at("live.key"), key).expect("a file");
        let check = ["serve", "site", "--check", "--listen", "127.0.0.1:0/tls", "--cert"];
        let words = [&check[..], &["live.pem", "--key", "live.key"]].concat();
        let check = tine().args(words).current_dir(self.directory.path()).output();
        let check = check.expect("it runs");
        assert_eq!(check.status.code(), Some(2), "{}", said(&check));
        let reload = self.ask(&["reload"]);
        assert_eq!(reload.status.code(), Some(1), "{}", said(&reload));
        let status = [&["status"][..], &["status", "--json"], &["rollout", "status"]];
        let status = status.map(|words| said(&self.ask(words)));
        let told = self.told("the last reload failed");
        [said(&check), said(&reload), status.concat(), told].concat()
    }
}

/// What becomes of a text of PEM on its way through variables, stores, editors and people.
fn broken(pem: &str, other: &str) -> Vec<(&'static str, Vec<u8>)> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let (begin, rest) = pem.split_once('\n').expect("lines");
    let utf16 = pem.bytes().flat_map(|byte| [byte, 0]).collect::<Vec<u8>>();
    let text = |text: String| text.into_bytes();
    vec![
        ("line ends as text", text(pem.replace('\n', "\\n"))),
        ("line ends as blanks", text(pem.replace('\n', " "))),
        ("no line ends", text(pem.replace('\n', ""))),
        ("no line end behind BEGIN", text(pem.replacen('\n', "", 1))),
        ("no END", text(pem.lines().take(2).collect::<Vec<_>>().join("\n"))),
        ("the body behind BEGIN, no END", text(format!("{begin}{body}"))),
        ("a BEGIN in the body", text(format!("{begin}\n{}-----BEGIN {body}", &body[..40]))),
        (
            "the body as the name of END",
            text(format!("{begin}\n{}\n-----END {body}-----", &body[..40])),
        ),
        ("the body as the name of BEGIN", text(format!("-----BEGIN {body}-----\n{rest}"))),
        ("the body as a header", text(format!("{begin}\n{body}: {body}\n\n{rest}"))),
        ("one letter of base64 too few", text(pem.replacen("MI", "M", 1))),
        ("a letter that is no base64", text(pem.replacen("MI", "M*", 1))),
        ("a dash too few", text(pem.replacen("-----", "----", 1))),
        ("the body alone", text(body.clone())),
        ("as it is without PEM", base64::decode(&body)),
        (
            "cut in the middle",
            text(format!("{begin}\n{}\n{}", &body[..60], pem.lines().last().unwrap_or(""))),
        ),
        ("UTF-16", [&[0xff, 0xfe][..], &utf16].concat()),
        ("the other file", text(other.to_owned())),
        (
            "marked as the other kind",
            text(match pem.contains("PRIVATE KEY") {
                true => pem.replace("PRIVATE KEY", "CERTIFICATE"),
                false => pem.replace("CERTIFICATE", "PRIVATE KEY"),
            }),
        ),
        ("a password in a comment", text(format!("password: {MARKER}\n----BEGIN {MARKER}-----\n"))),
        ("nothing", Vec::new()),
    ]
}

#[test]
fn no_output_has_bytes_of_a_key_or_a_certificate() {
    for identity in [Identity::new(&["localhost"]), Identity::rsa(&["localhost"])] {
        let service = Service::start(&identity);
        let (certificate, key) = (&identity.certificate, &identity.key);
        let mut secrets = Secrets::default();
        secrets.add_pem(certificate);
        secrets.add_pem(key);
        secrets.add_bytes(MARKER.as_bytes());
        for (what, text) in broken(key, certificate) {
            let all = service.all_of_a_failed_reload(certificate.as_bytes(), &text);
            secrets.assert_none_in(&all, &format!("what is said of a key: {what}"));
            assert!(all.contains("live.key"), "{what}: {all}");
        }
        for (what, text) in broken(certificate, key) {
            let all = service.all_of_a_failed_reload(&text, key.as_bytes());
            secrets.assert_none_in(&all, &format!("what is said of a certificate: {what}"));
            assert!(all.contains("live.pem"), "{what}: {all}");
        }
        service.running.signal(SIGTERM);
        assert!(service.running.wait_exit().success());
        let log = fs::read_to_string(service.at("log")).expect("a log");
        assert!(log.contains("the reload failed") || log.contains("reload failed"), "{log}");
        secrets.assert_none_in(&log, "the log");
        secrets.assert_none_in(&service.running.lines().join("\n"), "standard error");
    }
}

/// What is typed, the variables there are, and whether that ends badly.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], bool);

#[test]
fn no_output_has_the_value_of_a_variable() {
    let directory = TempDir::new().expect("a directory");
    fs::create_dir(directory.path().join("variables")).expect("a directory");
    fs::write(directory.path().join("variables/PASSWORD"), MARKER).expect("a file");
    fs::create_dir(directory.path().join("variables/A")).expect("a directory");
    let path = format!("/{MARKER}:/bin:/usr/bin");
    let starts = ["--control", "off", "--attempts", "1", "--log-level", "debug"];
    let fails = ["start", "--listen", "127.0.0.1:0", "--env-dir", "variables"];
    let cases: &[Case<'_>] = &[
        (&["--", "no-such-program"], &[("PATH", &path)], true),
        (&["--", "false"], &[("PATH", &path), ("SECRET", MARKER)], true),
        (&["--inherited", "--", "cat"], &[("LISTEN_FDS", MARKER), ("LISTEN_PID", MARKER)], true),
        (&["--inherited", "--", "cat"], &[("LISTEN_FDS", MARKER), ("LISTEN_PID", "1")], true),
        (&["--inherited", "--", "cat"], &[("SERVER_STARTER_PORT", MARKER)], true),
        (
            &["--inherited", "--", "cat"],
            &[("SERVER_STARTER_PORT", &format!("80=3;{MARKER}=x"))],
            true,
        ),
        (&["--inherited", "--", "cat"], &[("EINHORN_FD_COUNT", MARKER)], true),
        (&["--check", "--", "cat"], &[("NOTIFY_SOCKET", MARKER), ("WATCHDOG_USEC", MARKER)], false),
        (&["--", "false"], &[("NOTIFY_SOCKET", MARKER), ("TINE_WORKER", MARKER)], true),
        (&["--", "false"], &[("NOTIFY_SOCKET", &format!("@{MARKER}"))], true),
        (&["--", "false"], &[("TINE_HANDOVER", MARKER), ("TINE_WORKER", MARKER)], true),
    ];
    let mut secrets = Secrets::default();
    secrets.add_bytes(MARKER.as_bytes());
    for (words, variables, ends_badly) in cases {
        let mut command = tine();
        command.args(fails).args(starts).args(*words).current_dir(directory.path());
        let output = command.envs(variables.iter().copied()).output().expect("it runs");
        let all = said(&output);
        assert_eq!(!output.status.success(), *ends_badly, "{words:?}: {all}");
        secrets.assert_none_in(&all, &format!("what is said with {:?}", variables[0].0));
    }
}

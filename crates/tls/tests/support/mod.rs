//! The fixture as the tests use it.
#![allow(dead_code, reason = "every test program uses a part of it")]

use std::path::{Path, PathBuf};

use testkit::tls::Identity;
use testkit::{Client, Running, Server, TempDir, wait_gone};

pub const HUP: i32 = 1;
pub const TERM: i32 = 15;

/// A running fixture, and what it shows.
pub struct Served {
    pub running: Running,
    pub identities: Vec<Identity>,
    pub directory: TempDir,
}

/// With a certificate for each of these hosts, the first one the default.
#[track_caller]
pub fn start(hosts: &[&str], arguments: impl FnOnce(&Path) -> String) -> Served {
    let directory = TempDir::new().expect("a directory");
    let identities: Vec<Identity> = hosts.iter().map(|host| Identity::new(&[host])).collect();
    let mut server = fixture(directory.path());
    for (number, identity) in identities.iter().enumerate() {
        let (certificate, key) = identity.write(directory.path(), &number.to_string());
        server = server.arg("--pair").arg(pair(&certificate, &key));
    }
    let arguments = arguments(directory.path());
    let running = server.args(arguments.split_whitespace()).start();
    Served { running, identities, directory }
}

/// With these pairs, each as [`pair`] has it.
#[track_caller]
pub fn start_with(directory: TempDir, pairs: impl Iterator<Item = impl AsRef<str>>) -> Served {
    let server = fixture(directory.path()).args(["--listen", "127.0.0.1:0/tls"]);
    let server = pairs.fold(server, |server, pair| server.arg("--pair").arg(pair.as_ref()));
    Served { running: server.start(), identities: Vec::new(), directory }
}

pub fn fixture(directory: &Path) -> Server {
    let control = directory.join("control");
    Server::command(testkit::bin("tls_fixture")).arg("--control").arg(control)
}

pub fn pair(certificate: &Path, key: &Path) -> String {
    format!("{},{}", certificate.display(), key.display())
}

impl Served {
    pub fn address(&self) -> String {
        self.running.address()
    }

    /// The workers, of which there is one at least.
    pub fn workers(&self) -> Vec<u32> {
        self.address();
        self.running.wait_until("there are workers", || !self.running.children().is_empty());
        self.running.children()
    }

    pub fn files(&self, number: usize) -> (PathBuf, PathBuf) {
        let at = |ending| self.directory.path().join(format!("{number}.{ending}"));
        (at("pem"), at("key"))
    }

    /// Stops it, with nothing left behind.
    #[track_caller]
    pub fn stop(self) {
        let workers = self.running.children();
        self.running.signal(TERM);
        assert!(self.running.wait_exit().success());
        workers.into_iter().for_each(wait_gone);
    }
}

/// One question: who answers, and the rest of the line.
#[track_caller]
pub fn ask(client: &mut Client, question: &str) -> (String, String) {
    client.send(format!("{question}\n").as_bytes());
    let line = String::from_utf8(client.read_until(b"\n")).expect("text");
    let (pid, rest) = line.trim_end().split_once(' ').expect("two words");
    (pid.to_owned(), rest.to_owned())
}

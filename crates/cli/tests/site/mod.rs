//! A small site, served by `tine serve`, and the commands that are asked of it.
#![allow(dead_code, reason = "every test program uses a part of it")]

use std::path::PathBuf;

use testkit::{Running, Server, TempDir, client};

/// What its page says.
pub const PAGE: &str = "Hello, World!";

/// A directory with a page of thirteen bytes. What begins with a dot is not served.
pub struct Site(TempDir);

impl Site {
    pub fn new() -> Self {
        let site = Self(TempDir::new().expect("a directory"));
        std::fs::write(site.path("index.html"), PAGE).expect("a file");
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn control(&self) -> PathBuf {
        self.path(".control")
    }

    /// This program, as what serves it on a free port.
    pub fn served_by(&self, program: impl Into<PathBuf>, more: &[&str]) -> Server {
        Server::command(program.into())
            .args(["serve", "--listen", "127.0.0.1:0", "--control"])
            .arg(self.control())
            .args(more)
            .arg(self.0.path())
    }

    /// Serves it; returns when workers take connections, with its address.
    pub fn serve(&self, more: &[&str]) -> (Running, String) {
        let server = self.served_by(env!("CARGO_BIN_EXE_tine"), more).start();
        let address = server.address();
        assert_eq!(client::get(&address, "/").text(), PAGE);
        (server, address)
    }

    /// Another `tine`, that asks the one that serves.
    pub fn ask(&self, words: &[&str]) -> Running {
        let tine = Server::command(env!("CARGO_BIN_EXE_tine")).args(words);
        tine.arg("--control").arg(self.control()).start()
    }
}

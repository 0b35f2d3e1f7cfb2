//! The access log on a disk that is full for a while: each line that is written later stands alone.

use std::fs;
use std::path::PathBuf;

use testkit::{Running, Server, TempDir, client, is_root, require_peer};

/// What a line says, so long that no whole number of them fills a page of memory.
const LINE: &str = "/ 200 the rest of a line that is so long that it does not divide a page";

/// A server whose access log is on a file system of a few pages, which only it sees.
struct Tiny {
    directory: TempDir,
    server: Running,
    address: String,
}

impl Tiny {
    fn start() -> Self {
        let directory = TempDir::new().expect("a directory");
        for name in ["site", "disk"] {
            fs::create_dir(directory.path().join(name)).expect("a directory");
        }
        fs::write(directory.path().join("site/index.html"), "page").expect("a file");
        let disk = directory.path().join("disk").display().to_string();
        let mount = "mount -t tmpfs -o size=64k none \"$0\" && exec \"$@\"";
        let server = server(&directory).wrap(["unshare", "-m", "sh", "-c", mount, &disk]).start();
        let address = server.address();
        Self { directory, server, address }
    }

    /// A path on its disk, as this process sees it.
    fn on_disk(&self, name: &str) -> PathBuf {
        let disk = self.directory.path().join("disk");
        let disk = disk.strip_prefix("/").expect("it is absolute").to_owned();
        PathBuf::from(format!("/proc/{}/root", self.server.pid())).join(disk).join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.on_disk("log")).expect("it is there")
    }

    /// Asks until the disk is full in the middle of a line.
    fn tear(&self) {
        assert_eq!(client::get(&self.address, "/").status, 200);
        self.server.wait_until("the log has a page", || self.log().ends_with('\n'));
        fs::write(self.on_disk("filler"), vec![0; 64 << 10]).expect_err("there is no room for it");
        for _ in 0..200 {
            assert_eq!(client::get(&self.address, "/").status, 200);
        }
        self.server.wait_line("lines are being lost: No space left on device");
        assert!(!self.log().ends_with('\n'), "the last line is torn");
    }

    /// The worker that has torn a line writes nothing more.
    fn kill_worker(&self) {
        let torn_by = self.server.wait_children(1)[0];
        assert!(testkit::process::signal(torn_by, 9), "it lived");
        self.server.wait_until("another worker", || {
            self.server.children().first().is_some_and(|&worker| worker != torn_by)
        });
    }

    /// Waits until at least so many lines stand behind the one that was torn, and all but that one are what they should be.
    /// The line of a request from before may come late.
    #[track_caller]
    fn wait_for_lines_behind_the_torn_one(&self, count: usize) {
        let is_whole = |line: &&str| *line == LINE;
        self.server.wait_until("lines that stand alone", || {
            let log = self.log();
            let behind = log.lines().rev().take_while(is_whole).count();
            let mut others = log.lines().filter(|line| !is_whole(line));
            let torn = others.next().is_some_and(|torn| LINE.starts_with(torn));
            log.ends_with('\n') && behind >= count && torn && others.next().is_none()
        });
    }
}

fn server(directory: &TempDir) -> Server {
    let (site, log) = (directory.path().join("site"), directory.path().join("disk/log"));
    Server::command(env!("CARGO_BIN_EXE_tine"))
        .args(["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--control", "off"])
        .args(["--access-log-format", &LINE.replacen("/ 200", "%U %s", 1), "--access-log"])
        .arg(log)
        .arg(site)
}

fn can_mount() -> bool {
    is_root() && require_peer("unshare") && require_peer("nsenter")
}

#[test]
fn a_line_that_a_full_disk_has_torn_is_ended_before_the_next() {
    if !can_mount() {
        return;
    }
    let tiny = Tiny::start();
    tiny.tear();
    fs::remove_file(tiny.on_disk("filler")).expect("it is there");
    for _ in 0..3 {
        assert_eq!(client::get(&tiny.address, "/").status, 200);
    }
    tiny.server.wait_line("lines were lost");
    tiny.wait_for_lines_behind_the_torn_one(3);
}

#[test]
fn a_line_that_another_worker_has_torn_is_ended_too() {
    if !can_mount() {
        return;
    }
    let tiny = Tiny::start();
    tiny.tear();
    tiny.kill_worker();
    fs::remove_file(tiny.on_disk("filler")).expect("it is there");
    assert_eq!(client::get(&tiny.address, "/").status, 200);
    tiny.wait_for_lines_behind_the_torn_one(1);
}

#[test]
fn a_line_that_another_service_has_torn_is_ended_too() {
    if !can_mount() {
        return;
    }
    let tiny = Tiny::start();
    tiny.tear();
    tiny.kill_worker();
    fs::remove_file(tiny.on_disk("filler")).expect("it is there");
    let pid = tiny.server.pid().to_string();
    let next = server(&tiny.directory).wrap(["nsenter", "-t", &pid, "-m"]).start();
    assert_eq!(client::get(&next.address(), "/").status, 200);
    tiny.wait_for_lines_behind_the_torn_one(1);
}

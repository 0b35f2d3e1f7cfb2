//! What `tine serve` does when its files cannot be read, its directory is replaced, or its descriptors run out; and what its
//! logs say of that.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use testkit::{
    Client, DEADLINE, Running, Server, TempDir, client, is_root, require_peer, wait_until,
};

/// A directory to be served, and beside it the access log. Others than root may find it by its path.
struct Site {
    around: TempDir,
}

impl Site {
    fn new() -> Self {
        let around = TempDir::new().expect("a directory");
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(around.path(), all).expect("it is ours");
        fs::create_dir(around.path().join("site")).expect("a directory");
        let site = Self { around };
        fs::write(site.path("index.html"), "page").expect("a file");
        site
    }

    fn root(&self) -> PathBuf {
        self.around.path().join("site")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    fn file(&self, name: &str, length: usize) -> Vec<u8> {
        let content: Vec<u8> = (0..length).map(|at| (at / 7 + at / 4099) as u8).collect();
        fs::write(self.path(name), &content).expect("a file");
        content
    }

    fn log(&self) -> PathBuf {
        self.around.path().join("access")
    }

    /// To be started, perhaps behind something else.
    fn server(&self, more: &[&str]) -> Server {
        Server::command(env!("CARGO_BIN_EXE_tine"))
            .args(["serve", "--listen", "127.0.0.1:0", "--control", "off", "--access-log"])
            .arg(self.log())
            .args(["--access-log-format", "%U %s %B %X %P"])
            .args(more)
            .arg(self.root())
    }

    fn serve(&self, more: &[&str]) -> (Running, String) {
        let server = self.server(more).start();
        let address = server.address();
        (server, address)
    }

    /// The line of the access log about this path, as its words.
    fn line(&self, path: &str) -> Vec<String> {
        let find = || {
            let all = fs::read_to_string(self.log()).unwrap_or_default();
            let line = all.lines().find(|line| line.starts_with(&format!("{path} ")));
            line.map(|line| line.split(' ').map(str::to_owned).collect())
        };
        wait_until("a line in the access log", DEADLINE, || find().is_some());
        find().expect("it was there")
    }
}

/// A prefix that runs the rest with a limit of open files.
fn limited(files: u32) -> [String; 4] {
    ["sh".into(), "-c".into(), format!("ulimit -n {files}; exec \"$@\""), "sh".into()]
}

fn ask(client: &mut Client, path: &str) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
}

#[test]
fn a_file_that_cannot_be_read_is_logged_with_its_reason_and_not_without_end() {
    let site = Site::new();
    // Its length is said to be a page, and it is a few bytes.
    std::os::unix::fs::symlink("/sys/class/net/lo", site.path("lo")).expect("a link");
    let server = Server::command(env!("CARGO_BIN_EXE_tine"))
        .args(["serve", "--listen", "127.0.0.1:0", "--control", "off", "--workers", "1"])
        .arg("/sys/class/net/lo")
        .start();
    let address = server.address();
    for _ in 0..100 {
        assert_eq!(client::get(&address, "/mtu").status, 500);
    }
    server.wait_line("C1.1-1: 500: /sys/class/net/lo/mtu: ");
    let lines = server.count_lines("/sys/class/net/lo/mtu");
    // Ten at once and one a second.
    assert!((10..70).contains(&lines), "{lines} lines");
}

#[test]
fn a_body_that_breaks_off_is_logged_and_counted_as_far_as_it_was_sent() {
    const LENGTH: usize = 40 << 20;
    let site = Site::new();
    site.file("large", LENGTH);
    let (server, address) = site.serve(&["--workers", "1"]);
    let mut client = Client::connect(&address);
    client.keep_window();
    ask(&mut client, "/large");
    client.read_until(b"\r\n\r\n");
    let cut = File::options().write(true).open(site.path("large")).expect("it is there");
    cut.set_len(20 << 20).expect("it can be cut");
    let received = client.read_to_end().len();
    let path = site.path("large");
    server.wait_line(&format!("the answer breaks off: {}: it is ", path.display()));
    let line = site.line("/large");
    assert_eq!((&*line[1], &*line[2], &*line[3]), ("200", &*received.to_string(), "X"));
}

#[test]
fn what_a_client_that_leaves_has_not_taken_is_not_counted_and_no_trouble() {
    const LENGTH: usize = 40 << 20;
    let site = Site::new();
    site.file("large", LENGTH);
    let (server, address) = site.serve(&["--workers", "1"]);
    let mut client = Client::connect(&address);
    client.keep_window();
    ask(&mut client, "/large");
    client.read_exact(1000);
    client.abort();
    let line = site.line("/large");
    let sent: usize = line[2].parse().expect("a number");
    assert!((1..LENGTH / 2).contains(&sent) && line[3] == "X", "{line:?}");
    assert_eq!(server.count_lines("breaks off"), 0);
}

#[test]
fn where_the_kernel_does_not_send_files_they_are_read_and_written() {
    if !require_peer("strace") {
        return;
    }
    // From the first call on, and in the middle of a file.
    for (error, when) in [("EINVAL", "1+"), ("ENOSYS", "2+"), ("EPERM", "3+"), ("EOVERFLOW", "2")] {
        let site = Site::new();
        let content = site.file("large", (12 << 20) + 77);
        let inject = format!("inject=sendfile:error={error}:when={when}");
        let strace = ["strace", "-qq", "-f", "-o", "/dev/null", "-e", "trace=sendfile", "-e"];
        let server =
            site.server(&["--workers", "1"]).wrap(strace.into_iter().chain([&*inject])).start();
        let address = server.address();
        for _ in 0..2 {
            assert!(client::get(&address, "/large").body == content, "{error}");
        }
        server.wait_line("the kernel does not send files here");
        assert_eq!(server.count_lines("the kernel does not send files here"), 1);
        assert_eq!(site.line("/large")[1..4], ["200", &*content.len().to_string(), "-"]);
    }
}

#[test]
fn a_root_that_is_gone_is_told_once_by_all_workers_and_served_again_when_it_is_back() {
    let site = Site::new();
    let (server, address) = site.serve(&["--workers", "4", "--concurrency", "1"]);
    let gone = format!("no directory {}", site.root().display());
    for round in 1..=3 {
        wait_until("it is served", DEADLINE, || client::get(&address, "/").status == 200);
        fs::remove_dir_all(site.root()).expect("it is there");
        // Each of the workers has answered without a directory.
        let mut others: Vec<Client> = (0..4).map(|_| Client::connect(&address)).collect();
        wait_until("no worker has it", DEADLINE, || {
            others.iter_mut().map(|client| client.get("/").status).all(|status| status == 503)
        });
        drop(others);
        server.wait_line(&gone);
        assert_eq!(server.count_lines(&gone), round);
        fs::create_dir(site.root()).expect("a directory");
        fs::write(site.path("index.html"), "page").expect("a file");
    }
}

#[test]
fn a_root_that_only_root_can_find_is_served_to_the_end_by_another_user() {
    if !is_root() {
        return;
    }
    let site = Site::new();
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(site.around.path(), closed).expect("it is ours");
    let (server, address) = site.serve(&["--workers", "1", "--user", "nobody"]);
    for _ in 0..3 {
        assert_eq!(client::get(&address, "/").text(), "page");
    }
    server.wait_line("the directory opened at the start is served on");
    assert_eq!(server.count_lines("is served on"), 1);
}

#[test]
fn a_link_that_is_turned_to_what_the_user_may_not_read_shows_nothing_of_it() {
    if !is_root() {
        return;
    }
    let site = Site::new();
    let link = site.around.path().join("current");
    std::os::unix::fs::symlink("site", &link).expect("a link");
    let server = Server::command(env!("CARGO_BIN_EXE_tine"))
        .args(["serve", "--listen", "127.0.0.1:0", "--control", "off", "--user", "nobody"])
        .arg(&link)
        .start();
    let address = server.address();
    assert_eq!(client::get(&address, "/").text(), "page");
    let closed = site.around.path().join("closed");
    fs::create_dir_all(closed.join("below")).expect("directories");
    for directory in ["", "below"] {
        fs::write(closed.join(directory).join("index.html"), "secret").expect("a file");
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&closed, mode).expect("it is ours");
    // The directory itself may not be entered; or it cannot be found.
    for (target, status, told) in [("closed", 403, "403: "), ("closed/below", 503, "no directory ")]
    {
        let new = site.around.path().join("new");
        std::os::unix::fs::symlink(target, &new).expect("a link");
        fs::rename(new, &link).expect("a link");
        wait_until("it is noticed", DEADLINE, || client::get(&address, "/").status == status);
        server.wait_line(told);
    }
}

#[test]
fn remembered_files_are_given_up_when_there_are_no_descriptors_left() {
    let site = Site::new();
    (0..60).for_each(|number| drop(site.file(&format!("{number}"), 30_000)));
    let server = site.server(&["--workers", "1"]).wrap(limited(40)).start();
    let address = server.address();
    for number in 0..60 {
        let answer = client::get(&address, &format!("/{number}"));
        assert_eq!((answer.status, answer.body.len()), (200, 30_000), "{number}");
    }
    // Each with a connection that stays: as many as there is room for beside what a worker needs itself.
    let clients: Vec<Client> = (0..10)
        .map(|number| {
            let mut client = Client::connect(&address);
            let answer = client.get(&format!("/{number}"));
            assert_eq!(answer.status, 200, "{number}");
            client
        })
        .collect();
    assert_eq!(server.count_lines("Too many open files"), 0);
    drop(clients);
}

#[test]
fn who_takes_the_last_descriptor_again_and_again_does_not_flood_the_log() {
    let site = Site::new();
    let server = site.server(&["--workers", "1", "--health", "/well"]).wrap(limited(40)).start();
    let address = server.address();
    let mut clients: Vec<Client> = (0..60).map(|_| Client::connect(&address)).collect();
    clients.iter_mut().for_each(|client| client.send(b"GET /well HTTP/1.1\r\nHost: a\r\n\r\n"));
    server.wait_line("cannot accept: Too many open files");
    clients.iter_mut().for_each(|client| client.set_deadline(Duration::from_millis(500)));
    let room = clients.iter_mut().map_while(|client| client.try_read_response().ok()).count();
    // Each that goes makes room for one, and for none behind it.
    for next in room..clients.len() {
        clients[next].set_deadline(DEADLINE);
        clients[next - room].finish_sending();
        assert_eq!(clients[next].read_response().status, 200);
    }
    let said = server.count_lines("cannot accept: Too many open files");
    assert!((1..=3).contains(&said), "{said}");
}

/// How workers sleep while they have nothing to do.
const MODES: [&[&str]; 3] = [&[], &["--concurrency", "1"], &["--accept", "serialized"]];

#[test]
fn an_idle_server_lets_go_of_a_deleted_file() {
    for mode in MODES {
        let site = Site::new();
        site.file("large", 100_000);
        let (server, address) = site.serve(&[&["--workers", "1"], mode].concat());
        let worker = server.wait_children(1)[0];
        let mut client = Client::connect(&address);
        assert_eq!(client.get("/large").body.len(), 100_000);
        let open = || {
            let links = fs::read_dir(format!("/proc/{worker}/fd")).expect("it lives");
            let links = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
            links.filter(|link| link.starts_with(site.root())).count()
        };
        assert!(open() > 0, "{mode:?}");
        fs::remove_file(site.path("large")).expect("it is there");
        // Its client stays, and is silent; the second time there is none.
        wait_until("it is closed", DEADLINE, || open() == 0);
        drop(client);
        assert_eq!(client::get(&address, "/").text(), "page");
        wait_until("the root is closed", DEADLINE, || open() == 0);
    }
}

#[test]
fn a_file_system_that_is_served_can_be_unmounted() {
    if !is_root() || !require_peer("unshare") || !require_peer("nsenter") {
        return;
    }
    for mode in MODES {
        let site = Site::new();
        // Mounted where only the server and those who follow it see it.
        let mount = "mount -t tmpfs -o size=1m none \"$0\" && head -c 100000 /dev/zero > \"$0/large\" \
                     && exec \"$@\"";
        let root = site.root().display().to_string();
        let server = site
            .server(&[&["--workers", "2"], mode].concat())
            .wrap(["unshare", "-m", "sh", "-c", mount, &root])
            .start();
        let address = server.address();
        assert_eq!(client::get(&address, "/large").body.len(), 100_000, "{mode:?}");
        let unmount = || {
            let pid = server.pid().to_string();
            let mut nsenter = Command::new("nsenter");
            let nsenter = nsenter.args(["-t", &pid, "-m", "umount", &root]);
            nsenter.output().expect("it starts").status.success()
        };
        wait_until("it is unmounted", DEADLINE, unmount);
        wait_until("what was below is served", DEADLINE, || {
            client::get(&address, "/").status == 200
        });
    }
}

#[test]
fn names_with_a_dot_are_served_when_they_are_asked_for() {
    let site = Site::new();
    for name in [".well-known", ".config"] {
        fs::create_dir(site.path(name)).expect("a directory");
        fs::write(site.path(name).join("file"), "dot").expect("a file");
    }
    for (more, hidden) in [(&[][..], 404), (&["--dotfiles"], 200)] {
        let (_server, address) = site.serve(more);
        assert_eq!(client::get(&address, "/.well-known/file").status, 200);
        assert_eq!(client::get(&address, "/.config/file").status, hidden);
    }
}

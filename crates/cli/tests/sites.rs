//! `tine serve FILE`: sites by their names, each with its rules, headers, log and certificate.

use std::path::PathBuf;

use testkit::tls::{Connector, Identity};
use testkit::{Client, Response, Running, Server, TempDir};

/// A directory with a configuration and what it serves.
struct Place(TempDir);

impl Place {
    fn new(configuration: &str) -> Self {
        let place = Self(TempDir::new().expect("a directory"));
        place.write("tine.toml", configuration);
        for site in ["a", "b"] {
            place.write(&format!("{site}/index.html"), site);
            place.write(&format!("{site}/internal/x.txt"), &format!("{site}: secret"));
            place.write(&format!("{site}/sub/index.html"), &format!("{site}: sub"));
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    fn serve(&self, more: &[&str]) -> Running {
        Server::command(env!("CARGO_BIN_EXE_tine"))
            .arg("serve")
            .arg(self.path("tine.toml"))
            .arg("--control")
            .arg(self.path("control"))
            .args(more)
            .start()
    }
}

fn ask(client: &mut Client, line: &str, host: &str) -> Response {
    client.send(format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    client.read_response()
}

fn get(address: &str, host: &str, path: &str) -> Response {
    ask(&mut Client::connect(address), &format!("GET {path}"), host)
}

const SITES: &str = r#"
[server]
listen = ["127.0.0.1:0"]
workers = 2

[defaults]
headers = { X-Content-Type-Options = "nosniff", X-Site = "any" }

[[site]]
names = ["a.example", "www.a.example"]
canonical = true
root = "a"
headers = { X-Site = "a" }
guards = [
  { path = "/internal/*", deny = ["all"] },
  { path = "/sub/*", methods = ["GET"] },
  { max-body-size = "10" },
]
routes = [
  { path = "/press/*", redirect = "/news/{*}", status = 308 },
  { path = "/b/*", files = "b", headers = { X-Content-Type-Options = false } },
  { path = "/app/*", files = true, missing = "/index.html" },
  { path = "/next/*", files = true, missing = "next" },
  { path = "/next/*", status = 451 },
  { match = '^/old/(\d+)$', redirect = "https://other.example/{1}" },
  { files = true },
]

[[site]]
names = ["*.b.example"]
root = "b"
routes = [{ files = true }]

[[site]]
default = true
routes = [{ status = 421 }]
"#;

#[test]
fn each_host_has_its_site() {
    let place = Place::new(SITES);
    let server = place.serve(&[]);
    let address = server.address();
    for (host, path, status, text) in [
        ("a.example", "/", 200, "a"),
        ("A.Example.:80", "/", 200, "a"),
        ("x.b.example", "/", 200, "b"),
        ("y.x.B.example:1", "/", 200, "b"),
        ("b.example", "/", 421, "421"),
        ("elsewhere", "/", 421, "421"),
        ("a.example", "/sub/", 200, "a: sub"),
        ("a.example", "/b/", 200, "b"),
        ("a.example", "/b/sub/", 200, "b: sub"),
        ("a.example", "/app/no/such", 200, "a"),
        ("a.example", "/next/no", 451, "451"),
        ("a.example", "/none", 404, "404"),
    ] {
        let answer = get(&address, host, path);
        assert_eq!(answer.status, status, "{host}{path}");
        assert!(answer.text().contains(text), "{host}{path}: {}", answer.text());
    }
    for (host, path, location) in [
        ("www.a.example", "/x?y", "http://a.example/x?y"),
        ("www.a.example:8080", "//evil.example", "http://a.example:8080//evil.example"),
        ("a.example", "/press/2026/a?q", "/news/2026/a?q"),
        ("a.example", "/press", "/news/"),
        ("a.example", "/old/12", "https://other.example/12"),
        ("a.example", "/sub", "/sub/"),
        ("a.example", "/b/sub", "/b/sub/"),
    ] {
        let answer = get(&address, host, path);
        assert_eq!(answer.header("location"), Some(location), "{host}{path}");
    }
}

#[test]
fn headers_are_merged_by_name() {
    let place = Place::new(SITES);
    let server = place.serve(&[]);
    let address = server.address();
    let fields = |host: &str, path: &str| {
        let answer = get(&address, host, path);
        ["x-site", "x-content-type-options"].map(|name| answer.header(name).map(str::to_owned))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(fields("a.example", "/"), [some("a"), some("nosniff")]);
    assert_eq!(fields("a.example", "/b/"), [some("a"), None]);
    assert_eq!(fields("a.example", "/internal/"), [some("a"), some("nosniff")]);
    assert_eq!(fields("x.b.example", "/"), [some("any"), some("nosniff")]);
}

#[test]
fn no_spelling_of_a_path_gets_past_a_guard() {
    let place = Place::new(SITES);
    let server = place.serve(&[]);
    let address = server.address();
    for path in [
        "/internal/x.txt",
        "/internal",
        "/internal/",
        "//internal/x.txt",
        "/./internal/x.txt",
        "/sub/../internal/x.txt",
        "/sub/%2e%2E/internal/x.txt",
        "/%69nternal/x.txt",
        "/internal//x.txt",
        "/internal/./%78.txt",
        "/../internal/x.txt",
        "/app/../internal/x.txt",
        "http://a.example/internal/x.txt",
        "http://a.example//internal/x.txt",
    ] {
        let answer = get(&address, "a.example", path);
        assert_eq!(answer.status, 403, "{path}: {}", answer.text());
    }
    // Not the guarded path, however it looks; and nothing of it is found.
    for path in [
        "/internal%2fx.txt",
        "/internal%5cx.txt",
        "/internalx",
        "/Internal/x.txt",
        "/%2569nternal/x.txt",
    ] {
        assert_eq!(get(&address, "a.example", path).status, 404, "{path}");
    }
    let post = ask(&mut Client::connect(&address), "POST /sub/", "a.example");
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
    let mut client = Client::connect(&address);
    client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 11\r\n\r\n12345678901");
    assert_eq!(client.read_response().status, 413);
}

#[test]
fn flags_win_over_the_file() {
    let place = Place::new(SITES);
    let server = place.serve(&["--workers", "1"]);
    let address = server.address();
    assert_eq!(get(&address, "a.example", "/").status, 200);
    server.wait_children(1);
    assert_eq!(server.count_lines("pool files: 1 workers"), 1);
    // A flag that another of the file completes, and one that excludes keys.
    let trusting = SITES.replace("workers = 2", "workers = 2\ntrust = [\"127.0.0.1\"]");
    let place = Place::new(&trusting);
    let server = place.serve(&["--forwarded", "forwarded"]);
    assert_eq!(get(&server.address(), "a.example", "/").status, 200);
}

#[test]
fn a_hangup_reads_the_file_again_and_a_broken_file_changes_nothing() {
    let place = Place::new(SITES);
    let server = place.serve(&[]);
    let address = server.address();
    assert_eq!(get(&address, "new.example", "/").status, 421);
    place
        .write("tine.toml", &format!("{SITES}\n[[site]]\nnames = [\"new.example\"]\nrotes = []\n"));
    server.mark();
    server.signal(1);
    server.wait_line("did you mean `routes`");
    // The same words as those of `tine check`, their further lines marked as another program's.
    let tine = |words: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tine")).args(words).output();
        String::from_utf8(output.expect("it runs").stderr).expect("text")
    };
    let checked = tine(&["check", place.path("tine.toml").to_str().expect("text")]);
    let control = place.path("control");
    let reloaded = tine(&["reload", "--control", control.to_str().expect("text")]);
    assert!(checked.contains("did you mean `routes`"), "{checked}");
    let quoted = checked.trim_end().replace('\n', "\n| ");
    assert!(reloaded.trim_end().ends_with(&quoted), "{reloaded}");
    assert_eq!(get(&address, "new.example", "/").status, 421);
    let site = "[[site]]\nnames = [\"new.example\"]\nroutes = [{ status = 418 }]\n";
    place.write("tine.toml", &format!("{SITES}\n{site}"));
    server.signal(1);
    server.wait_until("the new site", || get(&address, "new.example", "/").status == 418);
    assert_eq!(get(&address, "a.example", "/").text(), "a");
}

#[test]
fn each_site_has_its_log() {
    let place = Place::new(
        r#"
[server]
listen = ["127.0.0.1:0"]
access-log = "rest.log"
[log.a]
file = "a.log"
format = "%v %U %s"
[log.b]
file = "b.log"
format = '{"host":%v,"status":%s}'
[[site]]
names = ["a.example"]
access-log = "a"
root = "a"
routes = [{ files = true }]
[[site]]
names = ["b.example"]
access-log = "b"
root = "b"
routes = [{ files = true }]
[[site]]
default = true
routes = [{ status = 404 }]
"#,
    );
    let server = place.serve(&[]);
    let address = server.address();
    for host in ["a.example", "B.example:80", "c.example"] {
        get(&address, host, "/");
    }
    server.signal(15);
    assert!(server.wait_exit().success());
    let read = |name: &str| std::fs::read_to_string(place.path(name)).expect("a log");
    assert_eq!(read("a.log"), "a.example / 200\n");
    assert_eq!(read("b.log"), "{\"host\":\"B.example\",\"status\":200}\n");
    let rest = read("rest.log");
    assert!(rest.lines().count() == 1 && rest.contains("\"GET / HTTP/1.1\" 404"), "{rest}");
}

#[test]
fn each_site_has_its_certificate_and_answers_over_no_other() {
    let place = Place::new(
        r#"
[server]
listen = ["127.0.0.1:0/tls"]
[[site]]
names = ["a.example"]
tls = { cert = "a.pem", key = "a.key" }
root = "a"
routes = [{ files = true }]
[[site]]
names = ["b.example"]
tls = { cert = "b.pem", key = "b.key" }
root = "b"
routes = [{ files = true }]
"#,
    );
    let identities = ["a", "b"].map(|name| {
        let identity = Identity::new(&[&format!("{name}.example")]);
        identity.write(place.0.path(), name);
        identity
    });
    let server = place.serve(&[]);
    let address = server.address();
    let trusting = Connector::trusting(&[&identities[0], &identities[1]]);
    for (index, name) in ["a", "b"].into_iter().enumerate() {
        let mut client = trusting.connect(&address, &format!("{name}.example"));
        assert!(client.tls().expect("TLS").shown(&identities[index]));
        assert_eq!(ask(&mut client, "GET /", &format!("{name}.example")).text(), name);
        let other = ["b", "a"][index];
        assert_eq!(ask(&mut client, "GET /", &format!("{other}.example")).status, 421);
    }
}

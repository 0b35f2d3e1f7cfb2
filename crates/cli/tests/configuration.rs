//! `tine check FILE` and `tine schema`: what is wrong with a configuration, and what it comes to.

use std::path::Path;
use std::process::{Command, Output};

use testkit::TempDir;

fn tine(directory: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tine"))
        .args(words)
        .current_dir(directory)
        .output()
        .expect("the program runs")
}

/// A directory with these files.
fn files(files: &[(&str, &str)]) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
    directory
}

/// What is said of `tine.toml`, which is wrong.
#[track_caller]
fn faults(directory: &TempDir) -> String {
    let output = tine(directory.path(), &["check", "tine.toml"]);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(output.stdout.is_empty());
    text
}

const TEN: &str = r#"include = ["more.toml"]
[server]
worker = 4
[defaults]
listing = "yes"
[log.main]
fle = "access.log"
[auth.staff]
file = 3
[[site]]
names = ["a.example"]
tls = { cert = "a.pem" }
guards = [{ rate = "often" }]
routes = [
  { path = "/x", files = "site", redirect = "/y" },
]
[[site]]
nams = ["b.example"]
routes = [{ status = 404 }]
[app.shop]
psgi = "app.psgi"
"#;

#[test]
fn ten_faults_of_ten_sections_are_shown_in_one_run() {
    let more = "[[site]]\nnames = [\"A.example.\"]\nroutes = [{ status = 404 }]\n";
    let directory = files(&[("tine.toml", TEN), ("more.toml", more)]);
    assert_eq!(faults(&directory), include_str!("configuration/ten_faults.txt"));
}

#[test]
fn a_reference_is_current() {
    let here = Path::new(".");
    let output = tine(here, &["schema", "--markdown"]);
    let page = String::from_utf8(output.stdout).expect("text");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let written = std::fs::read_to_string(path).expect("the page");
    assert!(page == written, "tine schema --markdown > docs/configuration.md");
}

#[test]
fn the_schema_has_every_section_and_the_flags() {
    let output = tine(Path::new("."), &["schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let keys = &schema["properties"];
    for pointer in [
        "/server/properties/listen",
        "/defaults/properties/access-log",
        "/site/items/properties/routes/items/properties/redirect",
        "/auth/additionalProperties/properties/file",
        "/log/additionalProperties/properties/format",
    ] {
        assert!(keys.pointer(pointer).is_some(), "{pointer}");
    }
    assert!(keys.pointer("/server/properties/check").is_none(), "it is only typed");
}

#[test]
fn what_is_right_is_fine_and_every_value_says_where_it_comes_from() {
    let main = r#"include = ["sites.d/*.toml"]
[server]
listen = ["127.0.0.1:0"]
workers = 2
[defaults]
headers = { X-A = "1", X-B = "2" }
"#;
    let site = r#"[[site]]
names = ["a.example"]
root = "../site"
headers = { x-b = false, X-C = "3" }
routes = [{ files = true, headers = { x-a = "4" } }]
"#;
    let directory = files(&[
        ("conf/tine.toml", main),
        ("conf/sites.d/a.toml", site),
        ("conf/sites.d/.hidden.toml", "not read"),
        ("conf/site/index.html", "hello"),
    ]);
    let output = tine(directory.path(), &["check", "conf/tine.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"the configuration is fine\n");
    let output = tine(directory.path(), &["check", "conf/tine.toml", "--effective"]);
    let text = String::from_utf8(output.stdout).expect("text");
    let squeezed: Vec<String> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "workers = \"2\" # conf/tine.toml:4",
        "listen = [\"127.0.0.1:0\"] # conf/tine.toml:3",
        "concurrency = \"256\" # default",
        "names = [\"a.example\"] # conf/sites.d/a.toml:2",
        "files = \"conf/sites.d/../site\" # conf/sites.d/a.toml:5",
        "headers.x-a = \"4\" # conf/sites.d/a.toml:5",
        "headers.x-c = \"3\" # conf/sites.d/a.toml:4",
    ] {
        assert!(squeezed.iter().any(|it| it == line), "{line}: {text}");
    }
    assert!(!text.contains("headers.x-b"), "it is taken away: {text}");
}

#[test]
fn what_the_flags_refuse_is_refused_at_its_place() {
    for (server, words) in [
        ("workers = \"many\"", "`workers`: workers \"many\""),
        ("listn = [\"80\"]", "did you mean `listen`?"),
        ("check = true", "type `tine check FILE`"),
        ("max-memory = true", "`max-memory`: a value of the wrong kind"),
        ("daemonize = \"yes\"", "daemonize = true, or daemonize = false"),
        ("workers = [1, 2]", "`workers` has one value"),
        ("proxy-protocol = true", "--trust"),
        ("inherited = true\nlisten = [\"80\"]", "cannot be used with"),
    ] {
        let text = format!(
            "[server]\n{server}\n[[site]]\ndefault = true\nroutes = [{{ status = 404 }}]\n"
        );
        let directory = files(&[("tine.toml", &text)]);
        let said = faults(&directory);
        assert!(said.contains(words) && said.contains("tine.toml:2:"), "{server}: {said}");
    }
}

#[test]
fn what_sites_refer_to_is_looked_up() {
    let text = r#"[log.main]
file = "none/access.log"
[[site]]
default = true
tls = { cert = "none.pem", key = "none.key" }
routes = [{ path = "/a", files = "none" }, { files = "tine.toml" }]
"#;
    let said = faults(&files(&[("tine.toml", text)]));
    for words in [
        "none/access.log",
        "none.pem",
        "cannot serve the directory none: No such file",
        "cannot serve the directory tine.toml: Not a directory",
        "4 faults",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn what_cannot_be_served_yet_is_refused_and_not_ignored() {
    let text = r#"[auth.staff]
file = "tine.toml"
[[site]]
default = true
root = "."
guards = [{ auth = "staff" }, { rate = "10/min" }, { allow = ["www.example.org"] }]
routes = [{ files = true, listing = true }, { redirect = "https://a.example{1}" }]
"#;
    let said = faults(&files(&[("tine.toml", text)]));
    for words in [
        "passwords are not supported yet",
        "`auth` is not supported yet",
        "`rate` is not supported yet",
        "www.example.org",
        "`listing` is not supported yet",
        "would become part of the host",
        "6 faults",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    for line in 1..=7 {
        let fault = said.contains(&format!("tine.toml:{line}:"));
        assert_eq!(fault, matches!(line, 1 | 6 | 7), "{line}: {said}");
    }
}

#[test]
fn no_line_of_a_key_is_shown_where_its_file_is_taken_for_a_configuration() {
    let key = "-----BEGIN PRIVATE KEY-----\nMARKER = {\n-----END PRIVATE KEY-----\n";
    let directory = files(&[("tine.toml", "include = [\"*.pem\"]\n"), ("a.pem", key)]);
    for file in ["tine.toml", "a.pem"] {
        let output = tine(directory.path(), &["check", file]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("it is PEM") && !said.contains("MARKER"), "{said}");
    }
}

#[test]
fn a_file_that_is_not_there_and_one_that_is_no_toml() {
    let directory = files(&[("tine.toml", "[server\nlisten = 80 80\n\u{1b}[2J")]);
    let said = faults(&directory);
    assert!(said.contains("tine.toml:1:") && !said.contains('\u{1b}'), "{said}");
    let output = tine(directory.path(), &["check", "none.toml"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("tine: cannot read none.toml: No such file"), "{said}");
    assert_eq!(output.status.code(), Some(2));
}

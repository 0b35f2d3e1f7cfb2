//! Configurations that are broken in every place: each is read into faults with words, and none ends the program.

use tine_web::config::{Config, ReadError};

const WHOLE: &str = r#"include = ["more/*.toml"]
[server]
listen = ["80", "443/tls"]
[defaults]
headers = { X-A = "ä", X-B = false }
[log.main]
file = "access.log"
[auth.staff]
file = "staff"
[[site]]
names = ["a.example", "é"]
tls = { cert = "a.pem", key = "a.key" }
root = "/srv/a"
guards = [{ path = "/x/*", allow = ["10.0.0.0/8"], auth = "staff", rate = "10/min" }]
routes = [
  { match = '^/(\d+)$', redirect = "/n/{1}", status = 308 },
  { files = true, missing = "next" }, { status = 404 },
]
"#;

/// What is said of a text.
fn said(text: &str) -> Option<String> {
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("tine.toml");
    std::fs::create_dir(directory.path().join("more")).expect("a directory");
    std::fs::write(&path, text).expect("a file");
    match Config::read(&path, |_, _| {}) {
        Ok(config) => {
            assert!(!config.effective().is_empty());
            None
        }
        Err(ReadError::Faults(faults)) => Some(faults.to_string()),
        Err(ReadError::Unreadable(error)) => panic!("{error}"),
    }
}

#[test]
fn the_whole_is_right() {
    assert_eq!(said(WHOLE), None);
}

#[test]
fn a_text_that_breaks_off_anywhere_has_faults_with_a_place_or_is_right() {
    for (end, _) in WHOLE.char_indices() {
        if let Some(text) = said(&WHOLE[..end]) {
            assert!(text.contains("tine.toml:") && text.contains(" fault"), "{end}: {text}");
        }
    }
}

#[test]
fn a_sign_in_place_of_any_other_has_faults_with_a_place_or_is_right() {
    let signs = ["\"", "[", "{", "é", "\n", "\0", "=", "\u{1b}", "'", "#"];
    // Each place gets one of the signs: all of them everywhere take half a minute.
    for (index, (at, old)) in WHOLE.char_indices().enumerate() {
        let new = signs[index % signs.len()];
        let text = format!("{}{new}{}", &WHOLE[..at], &WHOLE[at + old.len_utf8()..]);
        if let Some(text) = said(&text) {
            assert!(text.contains("tine.toml:") && text.contains(" fault"), "{at}: {text}");
        }
    }
}

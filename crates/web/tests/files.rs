//! What `Files` promises, asked of the service itself.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use http::header::{
    ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED, LOCATION,
};
use http::{Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use support::{Site, block_on, bytes, field, request, text};
use tine_web::Files;

#[test]
fn a_file_is_served_with_its_type_length_and_validators() {
    let site = Site::new(&[("a b.txt", "hello")]);
    site.age("a b.txt", 10);
    let response = site.get("/a%20b.txt?query=is#not");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(field(&response, CONTENT_TYPE), "text/plain; charset=utf-8");
    assert_eq!(field(&response, CONTENT_LENGTH), "5");
    assert!(field(&response, ETAG).starts_with('"') && field(&response, ETAG).ends_with('"'));
    httpdate::parse_http_date(field(&response, LAST_MODIFIED)).expect("a date");
    assert_eq!(text(response), "hello");
}

#[test]
fn an_empty_file_has_a_length() {
    let site = Site::new(&[("empty", "")]);
    let response = site.get("/empty");
    assert_eq!(field(&response, CONTENT_LENGTH), "0");
    assert!(response.body().is_end_stream());
}

#[test]
fn a_large_file_arrives_whole_and_announced() {
    let site = Site::new(&[]);
    let content: Vec<u8> = (0..=255).cycle().take(1_000_003).collect();
    fs::write(site.path("large.bin"), &content).expect("a file");
    let response = site.get("/large.bin");
    assert_eq!(field(&response, CONTENT_LENGTH), "1000003");
    assert_eq!(response.body().size_hint().exact(), Some(1_000_003));
    assert_eq!(bytes(response), content);
}

#[test]
fn a_large_file_that_shrinks_breaks_the_body_off() {
    let site = Site::new(&[("large", &"x".repeat(200_000))]);
    let response = site.get("/large");
    let file = File::options().write(true).open(site.path("large")).expect("it can be opened");
    file.set_len(100_000).expect("it can be cut");
    block_on(response.into_body().collect()).expect_err("the length was promised");
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let site = Site::new(&[("page.html", "<p>"), ("sub/index.html", "")]);
    for path in ["/page.html", "/sub", "/sub/", "/none", "/%00"] {
        let (get, head) = (site.get(path), site.ask(request(Method::HEAD, path)));
        assert_eq!(head.status(), get.status(), "{path}");
        assert_eq!(head.headers(), get.headers(), "{path}");
        assert!(head.headers().contains_key(CONTENT_LENGTH), "{path}");
        assert!(head.body().is_end_stream() && bytes(head).is_empty(), "{path}");
    }
}

#[test]
fn other_methods_are_refused_with_those_allowed() {
    let site = Site::new(&[("page", "")]);
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
        for path in ["/page", "/none"] {
            let response = site.ask(request(method.clone(), path));
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
            assert_eq!(field(&response, ALLOW), "GET, HEAD");
        }
    }
    let unknown = Method::from_bytes(b"GETT").expect("a token");
    let response = site.ask(request(unknown, "/page"));
    assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
    assert!(!response.headers().contains_key(ALLOW));
}

#[test]
fn a_directory_is_its_index() {
    let site = Site::new(&[
        ("index.html", "root"),
        ("html/index.html", "html"),
        ("html/index.htm", "no"),
        ("htm/index.htm", "htm"),
        ("odd/index.html/file", "no"),
        ("odd/index.htm", "odd"),
    ]);
    for (path, expected) in
        [("/", "root"), ("/html/", "html"), ("/htm/?a=b", "htm"), ("/odd/", "odd")]
    {
        let response = site.get(path);
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(field(&response, CONTENT_TYPE), "text/html; charset=utf-8");
        assert!(!response.headers().contains_key(LOCATION), "{path}");
        assert_eq!(text(response), expected, "{path}");
    }
}

#[test]
fn there_is_no_listing() {
    let site = Site::new(&[("sub/secret.txt", "x")]);
    site.assert_status("/", StatusCode::NOT_FOUND);
    site.assert_status("/sub/", StatusCode::NOT_FOUND);
}

#[test]
fn a_directory_without_a_slash_is_redirected_and_keeps_its_query() {
    let site = Site::new(&[("sub dir/é/index.html", "")]);
    for (path, expected) in [
        ("/sub%20dir", "/sub%20dir/"),
        ("/sub%20dir?a=b&c=%20", "/sub%20dir/?a=b&c=%20"),
        ("/sub%20dir?", "/sub%20dir/?"),
        ("/sub%20dir/%C3%A9?http://host/", "/sub%20dir/%C3%A9/?http://host/"),
        ("http://host.example/sub%20dir", "/sub%20dir/"),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let response = site.ask(request(method, path));
            assert_eq!(response.status(), StatusCode::MOVED_PERMANENTLY, "{path}");
            assert_eq!(field(&response, LOCATION), expected);
        }
    }
}

#[test]
fn no_redirect_leads_to_another_host() {
    let site = Site::new(&[("host/index.html", ""), ("\\host/index.html", "")]);
    for (path, expected) in [
        ("//host", "/host/"),
        ("///host", "/host/"),
        ("/.//host", "/host/"),
        ("/x/..//host", "/host/"),
        ("//evil.test/..//host", "/host/"),
        ("/%2e%2e//host?//evil.test", "/host/?//evil.test"),
        // Browsers take a backslash for a slash.
        ("/%5chost", "/%5Chost/"),
        ("//\\host", "/%5Chost/"),
    ] {
        let response = site.get(path);
        assert_eq!(response.status(), StatusCode::MOVED_PERMANENTLY, "{path}");
        assert_eq!(field(&response, LOCATION), expected, "{path}");
    }
    for path in ["/%2fhost", "//host%2f", "//evil.test/host", "/%2f/host"] {
        let response = site.get(path);
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(!response.headers().contains_key(LOCATION), "{path}");
    }
}

#[test]
fn paths_are_normalised_before_they_mean_anything() {
    let site = Site::new(&[("sub/deep/a", "a"), ("m", "m"), ("back\\slash", "b")]);
    for (path, expected) in [
        ("/sub//deep/a", "a"),
        ("//sub/deep/a", "a"),
        ("/sub/../m", "m"),
        ("/./m", "m"),
        ("/none/%2E%2e/sub/./deep//../deep/a", "a"),
        ("/../../m", "m"),
        ("/back%5Cslash", "b"),
        ("/back\\slash", "b"),
    ] {
        let response = site.get(path);
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(text(response), expected, "{path}");
    }
}

#[test]
fn nothing_outside_the_root_is_served() {
    let site = Site::new(&[("sub/page", "")]);
    for path in [
        "/../secret",
        "/sub/../../secret",
        "/%2e%2e/secret",
        "/%2E./secret",
        "/..%2fsecret",
        "/..%5csecret",
        "/sub/%2e%2e/%2e%2e/secret",
        "//secret",
        "/./../secret",
    ] {
        site.assert_status(path, StatusCode::NOT_FOUND);
    }
    site.assert_status("/%00", StatusCode::BAD_REQUEST);
    site.assert_status("/sub/page%00.html", StatusCode::BAD_REQUEST);
    site.assert_status("/%zz", StatusCode::BAD_REQUEST);
    // Decoded once, not twice.
    site.assert_status("/%252e%252e/secret", StatusCode::NOT_FOUND);
}

#[test]
fn links_are_followed_as_long_as_they_stay_inside() {
    let site = Site::new(&[("real/page", "inside"), ("real/index.html", "index")]);
    for (name, target) in [
        ("link", "real/page"),
        ("real/up", "../link"),
        ("alias", "real"),
        ("out", "../secret"),
        ("above", ".."),
        ("absolute", "/etc/passwd"),
        ("circle", "circle"),
        ("dangling", "none"),
    ] {
        symlink(target, site.path(name)).expect("a link");
    }
    for (name, target) in [("inside", "real/page"), ("folder", "real"), ("escape", "../secret")] {
        symlink(site.path(target), site.path(name)).expect("an absolute link");
    }
    assert_eq!(text(site.get("/inside")), "inside");
    assert_eq!(text(site.get("/folder/page")), "inside");
    site.assert_status("/escape", StatusCode::NOT_FOUND);
    assert_eq!(text(site.get("/link")), "inside");
    assert_eq!(text(site.get("/real/up")), "inside");
    assert_eq!(text(site.get("/alias/")), "index");
    assert_eq!(site.get("/alias").status(), StatusCode::MOVED_PERMANENTLY);
    for path in ["/out", "/above/secret", "/above/", "/absolute", "/circle", "/dangling"] {
        site.assert_status(path, StatusCode::NOT_FOUND);
    }
}

#[test]
fn hidden_files_and_what_is_no_file_do_not_exist() {
    let site = Site::new(&[(".htpasswd", "secret"), (".git/config", "secret"), ("page", "")]);
    let _socket = std::os::unix::net::UnixListener::bind(site.path("socket")).expect("a socket");
    let (mode, kind) = (rustix::fs::Mode::RWXU, rustix::fs::FileType::Fifo);
    rustix::fs::mknodat(rustix::fs::CWD, site.path("fifo"), kind, mode, 0).expect("a FIFO");
    for path in ["/.htpasswd", "/.git", "/.git/config", "/%2egit/config", "/fifo", "/socket"] {
        site.assert_status(path, StatusCode::NOT_FOUND);
    }
    for path in ["/none", "/page/", "/page/more", &format!("/{}", "a".repeat(300))] {
        site.assert_status(path, StatusCode::NOT_FOUND);
    }
}

#[test]
fn well_known_names_are_served_and_others_with_a_dot_when_asked_for() {
    let mut site = Site::new(&[
        (".well-known/acme-challenge/token", "token"),
        (".well-known/.secret", "secret"),
        ("sub/.well-known/token", "secret"),
        (".git/config", "secret"),
    ]);
    assert_eq!(text(site.get("/.well-known/acme-challenge/token")), "token");
    assert_eq!(text(site.get("/%2Ewell-known//acme-challenge/token")), "token");
    let hidden = ["/.well-known/.secret", "/sub/.well-known/token", "/.git/config"];
    for path in hidden {
        site.assert_status(path, StatusCode::NOT_FOUND);
    }
    site.files = site.files.dotfiles(true);
    for path in hidden {
        assert_eq!(text(site.get(path)), "secret", "{path}");
    }
    site.assert_status("/..%2fsecret", StatusCode::NOT_FOUND);
}

#[test]
fn what_may_not_be_read_is_forbidden() {
    if rustix::process::geteuid().is_root() {
        // Root may read everything; the program's own tests see to it with a worker that is not.
        return;
    }
    let site = Site::new(&[("closed", "secret")]);
    rustix::fs::chmod(site.path("closed"), rustix::fs::Mode::empty()).expect("it is ours");
    site.assert_status("/closed", StatusCode::FORBIDDEN);
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    let site = Site::new(&[("page.html", "hello")]);
    let first = site.get("/page.html");
    let (tag, date) = (field(&first, ETAG), field(&first, LAST_MODIFIED));
    for (name, value) in [("if-none-match", tag), ("if-modified-since", date)] {
        let again = site.get_with("/page.html", &[(name, value)]);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{name}");
        assert_eq!(field(&again, ETAG), tag);
        assert!(!again.headers().contains_key(CONTENT_LENGTH));
        assert!(again.body().is_end_stream());
    }
}

#[test]
fn a_changed_file_is_sent_again() {
    let site = Site::new(&[("page.html", "hello")]);
    let first = site.get("/page.html");
    let file = File::options().append(true).open(site.path("page.html")).expect("it is there");
    let later = SystemTime::now() - Duration::from_secs(3600);
    file.set_modified(later).expect("it is ours");
    let changed = site.get_with("/page.html", &[("if-none-match", field(&first, ETAG))]);
    assert_eq!(changed.status(), StatusCode::OK);
    let date = httpdate::fmt_http_date(later - Duration::from_secs(1));
    let changed = site.get_with("/page.html", &[("if-modified-since", &date)]);
    assert_eq!(changed.status(), StatusCode::OK);
}

#[test]
fn copies_of_a_site_agree_on_tags_and_resume_each_others_downloads() {
    let (one, other) = (Site::new(&[("a", "12345")]), Site::new(&[("x", ""), ("a", "12345")]));
    // As rsync, tar and images of containers keep it.
    let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for (site, fraction) in [(&one, 123_456_789), (&other, 0)] {
        let file = File::options().append(true).open(site.path("a")).expect("it is there");
        file.set_modified(second + Duration::from_nanos(fraction)).expect("it is ours");
    }
    let answer = one.get("/a");
    let tag = field(&answer, ETAG);
    let known = other.get_with("/a", &[("if-none-match", tag)]);
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    let rest = other.get_with("/a", &[("range", "bytes=3-"), ("if-range", tag)]);
    assert_eq!(rest.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(text(rest), "45");
}

#[test]
fn a_time_that_means_nothing_is_no_validator() {
    let site = Site::new(&[("a", "12345")]);
    let file = File::options().append(true).open(site.path("a")).expect("it is there");
    for seconds in [0, 1] {
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).expect("ours");
        let answer = site.get("/a");
        assert!(!answer.headers().contains_key(ETAG), "{seconds}");
        assert!(!answer.headers().contains_key(LAST_MODIFIED), "{seconds}");
        let date = httpdate::fmt_http_date(SystemTime::now());
        let again = site.get_with("/a", &[("if-modified-since", &date)]);
        assert_eq!(again.status(), StatusCode::OK, "{seconds}");
    }
}

#[test]
fn a_compressed_picture_says_so_to_every_client_and_is_not_compressed_again() {
    let site = Site::new(&[("a.svgz", &"gzip, so to speak ".repeat(200)), ("a.svgz.br", "no")]);
    for fields in [&[][..], &[("accept-encoding", "br, gzip")]] {
        let answer = site.get_with("/a.svgz", fields);
        assert_eq!(field(&answer, CONTENT_TYPE), "image/svg+xml");
        assert_eq!(field(&answer, CONTENT_ENCODING), "gzip");
        assert_eq!(field(&answer, CONTENT_LENGTH), "3600");
        assert_eq!(text(answer).len(), 3600);
    }
}

#[test]
fn a_date_that_cannot_be_told_is_left_out() {
    let site = Site::new(&[("old", ""), ("future", "")]);
    let set = |name: &str, time| {
        let file = File::options().append(true).open(site.path(name)).expect("it is there");
        file.set_modified(time).expect("it is ours");
    };
    set("old", SystemTime::UNIX_EPOCH - Duration::from_secs(1000));
    set("future", SystemTime::now() + Duration::from_secs(1_000_000));
    assert!(!site.get("/old").headers().contains_key(LAST_MODIFIED));
    let future = site.get("/future");
    let date = httpdate::parse_http_date(field(&future, LAST_MODIFIED)).expect("a date");
    assert!(date <= SystemTime::now());
}

#[test]
fn error_pages_repeat_nothing_of_the_request() {
    let site = Site::new(&[]);
    let response = site.get("/%3Cscript%3E");
    assert_eq!(field(&response, CONTENT_TYPE), "text/html; charset=utf-8");
    let length: usize = field(&response, CONTENT_LENGTH).parse().expect("a number");
    let text = text(response);
    assert_eq!(text.len(), length);
    assert!(text.contains("404 Not Found") && !text.contains("script"), "{text}");
}

#[test]
fn the_root_is_a_directory_that_exists() {
    let site = Site::new(&[("page", "")]);
    for name in ["none", "page"] {
        let error = Files::new(site.path(name)).expect_err(name);
        assert!(error.to_string().contains(name), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
}

//! Files in the coding a client likes best: those that stand beside them, and those made on the way.

mod support;

use std::io::Read as _;

use flate2::read::GzDecoder;
use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, VARY,
};
use http::{HeaderName, Method, Response, StatusCode};
use http_body::Body as _;
use support::{Site, bytes, field, request, text};
use tine_http::FileBody;

fn coding(response: &Response<FileBody>) -> Option<&str> {
    response.headers().get(CONTENT_ENCODING).map(|coding| coding.to_str().expect("text"))
}

fn has(response: &Response<FileBody>, name: HeaderName) -> bool {
    response.headers().contains_key(name)
}

fn expand(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).expect("it is whole");
    text
}

#[test]
fn what_stands_beside_a_file_is_sent_to_those_who_take_it() {
    let site = Site::new(&[
        ("page.html", "plain"),
        ("page.html.br", "brotli"),
        ("page.html.zst", "zstd"),
        ("page.html.gz", "gzip"),
        ("sub/index.html", "plain"),
        ("sub/index.html.gz", "gzip"),
    ]);
    for (path, accepted, expected, content) in [
        ("/page.html", "gzip, deflate, br, zstd", Some("br"), "brotli"),
        ("/page.html", "gzip, br;q=0.5", Some("gzip"), "gzip"),
        ("/page.html", "gzip;q=0.2, zstd;q=0.9", Some("zstd"), "zstd"),
        ("/page.html", "*", Some("br"), "brotli"),
        ("/page.html", "br;q=0, *;q=0.1", Some("zstd"), "zstd"),
        ("/page.html", "identity", None, "plain"),
        ("/page.html", "gzip;q=0", None, "plain"),
        ("/sub/", "br, gzip", Some("gzip"), "gzip"),
        ("/sub/", "br", None, "plain"),
    ] {
        let response = site.get_with(path, &[("accept-encoding", accepted)]);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(coding(&response), expected, "{path} {accepted}");
        assert_eq!(field(&response, VARY), "accept-encoding");
        assert_eq!(field(&response, CONTENT_TYPE), "text/html; charset=utf-8");
        assert_eq!(field(&response, CONTENT_LENGTH), content.len().to_string());
        assert_eq!(text(response), content);
    }
    let silent = site.get("/page.html");
    assert_eq!((coding(&silent), field(&silent, VARY)), (None, "accept-encoding"));
}

#[test]
fn each_coding_is_a_version_of_its_own() {
    let site = Site::new(&[("page.html", "plain"), ("page.html.br", "brotli"), ("a.png", "")]);
    site.age("page.html", 10);
    site.age("page.html.br", 10);
    let br = [("accept-encoding", "br")];
    let (plain, coded) = (site.get("/page.html"), site.get_with("/page.html", &br));
    let (plain, coded) = (field(&plain, ETAG), field(&coded, ETAG));
    assert_ne!(plain, coded);
    let known = site.get_with("/page.html", &[br[0], ("if-none-match", coded)]);
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(field(&known, VARY), "accept-encoding");
    assert!(coding(&known).is_none() && !has(&known, CONTENT_TYPE));
    let other = site.get_with("/page.html", &[br[0], ("if-none-match", plain)]);
    assert_eq!(other.status(), StatusCode::OK);
    // Its parts are parts of what is sent.
    let part = site.get_with("/page.html", &[br[0], ("range", "bytes=1-2")]);
    assert_eq!((coding(&part), field(&part, CONTENT_RANGE)), (Some("br"), "bytes 1-2/6"));
    assert_eq!(text(part), "ro");
    assert!(!has(&site.get("/a.png"), VARY), "there is nothing to choose");
}

#[test]
fn what_is_older_than_its_file_no_file_or_hidden_is_not_sent_in_its_stead() {
    let site = Site::new(&[
        ("old.html", "new"),
        ("old.html.br", "old"),
        ("odd.html", "plain"),
        ("odd.html.br/index.html", "no"),
        ("photo.png", "plain"),
        ("photo.png.br", "no"),
        ("out.html", "plain"),
    ]);
    site.age("old.html.br", 10);
    std::os::unix::fs::symlink("../../secret", site.path("out.html.br")).expect("a link");
    for path in ["/old.html", "/odd.html", "/photo.png", "/out.html"] {
        let response = site.get_with(path, &[("accept-encoding", "br")]);
        assert_eq!(coding(&response), None, "{path}");
        assert!(["new", "plain"].contains(&text(response).as_str()));
    }
    // The same age in whole seconds is as good.
    site.age("old.html", 10);
    let response = site.get_with("/old.html", &[("accept-encoding", "br")]);
    assert_eq!(coding(&response), Some("br"));
}

#[test]
fn text_is_compressed_on_the_way_and_expands_to_the_same() {
    let site = Site::new(&[]);
    for length in [1024, 5_000, 16 * 1024, 16 * 1024 + 1, 700_000] {
        let content: String = "many words ".chars().cycle().take(length).collect();
        std::fs::write(site.path("it.txt"), &content).expect("a file");
        site.age("it.txt", 10);
        for _ in 0..2 {
            let response = site.get_with("/it.txt", &[("accept-encoding", "gzip")]);
            assert_eq!(
                (coding(&response), field(&response, VARY)),
                (Some("gzip"), "accept-encoding")
            );
            assert!(field(&response, ETAG).starts_with("W/"), "the bytes may differ");
            assert!(!has(&response, ACCEPT_RANGES));
            let announced = response.headers().get(CONTENT_LENGTH).cloned();
            assert_eq!(announced.is_some(), length <= 16 * 1024, "what is held is made once");
            let sent = bytes(response);
            assert!(sent.len() < length / 4, "{} of {length}", sent.len());
            assert!(announced.is_none_or(|announced| announced == sent.len().to_string()));
            assert_eq!(expand(&sent), content);
        }
    }
}

#[test]
fn what_would_gain_nothing_is_sent_as_it_is() {
    let site = Site::new(&[("short.txt", "few words"), ("photo.png", &"x".repeat(9000))]);
    let noise =
        std::iter::successors(Some(1_u64), |it| Some(it.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let noise: Vec<u8> =
        noise.flat_map(|it| (it >> 8).to_le_bytes()[3..6].to_vec()).take(9000).collect();
    std::fs::write(site.path("noise.txt"), noise).expect("a file");
    let huge = std::fs::File::create(site.path("huge.txt")).expect("a file");
    huge.set_len((8 << 20) + 1).expect("it can grow");
    for path in ["/short.txt", "/photo.png", "/noise.txt", "/huge.txt"] {
        let response = site.get_with(path, &[("accept-encoding", "gzip")]);
        assert_eq!(coding(&response), None, "{path}");
        assert!(has(&response, CONTENT_LENGTH) && has(&response, ACCEPT_RANGES));
    }
}

#[test]
fn ranges_are_never_of_what_is_compressed_on_the_way() {
    let site = Site::new(&[("it.txt", &"many words ".repeat(10_000))]);
    let fields = [("accept-encoding", "gzip"), ("range", "bytes=5-9")];
    let part = site.get_with("/it.txt", &fields);
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(coding(&part), None);
    assert_eq!(text(part), "words");
}

#[test]
fn head_has_the_fields_of_get_in_every_coding() {
    let site = Site::new(&[("a.txt", &"a".repeat(5000)), ("b.txt", &"b".repeat(50_000))]);
    for path in ["/a.txt", "/b.txt"] {
        let mut head = request(Method::HEAD, path);
        head.headers_mut().insert("accept-encoding", "gzip".parse().expect("a value"));
        let head = site.ask(head);
        let get = site.get_with(path, &[("accept-encoding", "gzip")]);
        assert_eq!((head.headers(), coding(&head)), (get.headers(), Some("gzip")));
        assert!(head.body().is_end_stream());
    }
}

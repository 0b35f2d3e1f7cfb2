//! Parts of files, and files under conditions (RFC 9110, 13 and 14).

mod support;

use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
};
use http::{Method, Response, StatusCode};
use support::{Site, bytes, field, request, text};
use tine_http::FileBody;

/// A site with one file that is held in memory, one that is not, and an empty one; all are ten seconds
/// old.
fn site() -> (Site, [(&'static str, Vec<u8>); 2]) {
    let content = |length| (b' '..b'~').cycle().take(length).collect::<Vec<u8>>();
    let site = Site::new(&[("empty.txt", "")]);
    let files = [("/small.txt", content(1000)), ("/large.bin", content(1_000_000))];
    for (path, content) in &files {
        std::fs::write(site.path(&path[1..]), content).expect("a file");
        site.age(&path[1..], 10);
    }
    site.age("empty.txt", 10);
    (site, files)
}

#[track_caller]
fn assert_part(response: Response<FileBody>, range: &str, content: &[u8]) {
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(field(&response, CONTENT_RANGE), range);
    assert_eq!(field(&response, CONTENT_LENGTH), content.len().to_string());
    assert!(bytes(response) == content, "{range}");
}

#[test]
fn a_part_of_a_file_is_sent_alone() {
    let (site, files) = site();
    for (path, all) in files {
        let whole = site.get(path);
        assert_eq!(field(&whole, ACCEPT_RANGES), "bytes");
        let length = all.len();
        for (range, from, to) in [
            ("bytes=0-0".to_owned(), 0, 1),
            ("bytes=7-99".to_owned(), 7, 100),
            ("bytes=-5".to_owned(), length - 5, length),
            ("bytes=500-".to_owned(), 500, length),
            (format!("bytes={}-{}", length - 1, 10 * length), length - 1, length),
        ] {
            let part = site.get_with(path, &[("range", &range)]);
            for name in [ETAG, LAST_MODIFIED, CONTENT_TYPE] {
                assert_eq!(field(&part, name.clone()), field(&whole, name));
            }
            assert_part(part, &format!("bytes {from}-{}/{length}", to - 1), &all[from..to]);
        }
    }
}

#[test]
fn several_parts_come_as_one_body_with_many() {
    let (site, files) = site();
    for (path, all) in files {
        let response = site.get_with(path, &[("range", "bytes=0-9, 500-599, -1")]);
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        assert!(!response.headers().contains_key(CONTENT_RANGE));
        let kind = field(&response, CONTENT_TYPE).to_owned();
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("it is several");
        let announced: usize = field(&response, CONTENT_LENGTH).parse().expect("a number");
        let body = bytes(response);
        assert_eq!(body.len(), announced);
        let kind = field(&site.get(path), CONTENT_TYPE).to_owned();
        let length = all.len();
        let mut expected = Vec::new();
        for (from, to) in [(0, 10), (500, 600), (length - 1, length)] {
            let place = format!("bytes {from}-{}/{length}", to - 1);
            let head = format!("Content-Type: {kind}\r\nContent-Range: {place}\r\n\r\n");
            expected.extend(format!("\r\n--{boundary}\r\n{head}").into_bytes());
            expected.extend(&all[from..to]);
        }
        expected.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
        assert!(body == expected, "{}", String::from_utf8_lossy(&body));
        let again = site.get_with(path, &[("range", "bytes=0-9, 500-599, -1")]);
        assert_ne!(
            field(&again, CONTENT_TYPE),
            format!("multipart/byteranges; boundary={boundary}")
        );
    }
}

#[test]
fn a_range_that_is_not_there_is_refused_with_the_length_that_is() {
    let (site, _) = site();
    for range in ["bytes=1000-", "bytes=5000-6000", "bytes=-0"] {
        let response = site.get_with("/small.txt", &[("range", range)]);
        assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
        assert_eq!(field(&response, CONTENT_RANGE), "bytes */1000");
        assert!(text(response).contains("416"));
    }
}

#[test]
fn the_whole_is_sent_for_ranges_that_are_none_too_many_or_overlapping() {
    let (site, files) = site();
    let many: Vec<String> = (0..17).map(|at| format!("{0}-{0}", 2 * at)).collect();
    let many = format!("bytes={}", many.join(","));
    for range in ["bytes=5-2", "lines=1-2", "bytes=0-,0-,0-", "bytes=0-9,9-20", &many] {
        let response = site.get_with("/small.txt", &[("range", range)]);
        assert_eq!(response.status(), StatusCode::OK, "{range}");
        assert!(bytes(response) == files[0].1);
    }
    let empty = site.get_with("/empty.txt", &[("range", "bytes=0-")]);
    assert_eq!((empty.status(), field(&empty, CONTENT_LENGTH)), (StatusCode::OK, "0"));
}

#[test]
fn a_head_has_no_parts() {
    let (site, _) = site();
    let mut head = request(Method::HEAD, "/small.txt");
    head.headers_mut().insert("range", "bytes=0-5".parse().expect("a value"));
    let head = site.ask(head);
    assert_eq!((head.status(), field(&head, CONTENT_LENGTH)), (StatusCode::OK, "1000"));
}

#[test]
fn a_download_is_resumed_only_if_the_file_is_the_same() {
    let (site, files) = site();
    let (path, all) = &files[1];
    let first = site.get(path);
    let (tag, date) = (field(&first, ETAG), field(&first, LAST_MODIFIED));
    for same in [tag, date] {
        let part = site.get_with(path, &[("range", "bytes=1000-"), ("if-range", same)]);
        assert_part(part, "bytes 1000-999999/1000000", &all[1000..]);
    }
    std::fs::write(site.path(&path[1..]), "other").expect("a file");
    site.age(&path[1..], 5);
    for old in [tag, date, &format!("W/{tag}"), "nonsense"] {
        let whole = site.get_with(path, &[("range", "bytes=1-"), ("if-range", old)]);
        assert_eq!(whole.status(), StatusCode::OK, "{old}");
        assert_eq!(text(whole), "other");
    }
}

#[test]
fn parts_of_a_file_just_written_to_are_not_put_together() {
    let site = Site::new(&[("fresh", "hello")]);
    let tag = field(&site.get("/fresh"), ETAG).to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    let whole = site.get_with("/fresh", &[("range", "bytes=1-"), ("if-range", &tag)]);
    assert_eq!(text(whole), "hello");
    // Who does not ask for it to be the same gets what there is.
    let part = site.get_with("/fresh", &[("range", "bytes=1-")]);
    assert_part(part, "bytes 1-4/5", b"ello");
}

#[test]
fn what_must_match_and_does_not_is_refused_before_anything_else() {
    let (site, _) = site();
    let tag = field(&site.get("/small.txt"), ETAG).to_owned();
    let long_ago = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (fields, expected) in [
        (&[("if-match", "\"other\"")][..], StatusCode::PRECONDITION_FAILED),
        (&[("if-unmodified-since", long_ago)], StatusCode::PRECONDITION_FAILED),
        (&[("if-match", "\"other\""), ("if-none-match", &tag)], StatusCode::PRECONDITION_FAILED),
        (&[("if-match", "\"other\""), ("range", "bytes=0-1")], StatusCode::PRECONDITION_FAILED),
        (&[("if-match", &tag), ("if-unmodified-since", long_ago)], StatusCode::OK),
        (&[("if-match", &tag), ("if-none-match", &tag)], StatusCode::NOT_MODIFIED),
        (&[("if-match", &tag), ("range", "bytes=0-1")], StatusCode::PARTIAL_CONTENT),
        (&[("if-none-match", &tag), ("range", "bytes=0-1")], StatusCode::NOT_MODIFIED),
    ] {
        let response = site.get_with("/small.txt", fields);
        assert_eq!(response.status(), expected, "{fields:?}");
    }
}

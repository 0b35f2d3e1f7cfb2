//! What is remembered of files, for how long, and how much of it.

mod support;

use std::fs;
use std::time::Duration;

use http::StatusCode;
use support::{Site, text};
use tine_web::Files;

/// A site that remembers.
fn remembering(files: &[(&str, &str)], trust: Duration) -> Site {
    let mut site = Site::new(files);
    site.files = Files::new(site.path("")).expect("it exists").recheck_after(trust);
    site
}

const FOR_EVER: Duration = Duration::from_secs(100_000);

#[test]
fn what_was_seen_is_believed_and_looked_at_again_later() {
    for length in [5, 50_000] {
        let (before, after) = ("a".repeat(length), "b".repeat(length));
        let site = remembering(&[("it", &before)], FOR_EVER);
        assert_eq!(text(site.get("/it")), before);
        // Another file of the name, and the open one stays what it was.
        fs::remove_file(site.path("it")).expect("it is there");
        fs::write(site.path("it"), &after).expect("a file");
        assert_eq!(text(site.get("/it")), before, "{length}");
        let site = Site { files: site.files.clone().recheck_after(Duration::ZERO), ..site };
        assert_eq!(text(site.get("/it")), after, "{length}");
    }
}

#[test]
fn every_change_is_seen_at_the_next_look() {
    let site = Site::new(&[("it.html", "one"), ("dir/index.html", "index")]);
    assert_eq!(text(site.get("/it.html")), "one");
    // The same file, length, and perhaps tick of the clock.
    fs::write(site.path("it.html"), "two").expect("a file");
    assert_eq!(text(site.get("/it.html")), "two");
    fs::write(site.path("it.html"), "three and more").expect("a file");
    assert_eq!(text(site.get("/it.html")), "three and more");
    fs::write(site.path("new"), "four").expect("a file");
    fs::rename(site.path("new"), site.path("it.html")).expect("it is there");
    assert_eq!(text(site.get("/it.html")), "four");
    let br = [("accept-encoding", "br")];
    fs::write(site.path("it.html.br"), "five").expect("a file");
    assert_eq!(text(site.get_with("/it.html", &br)), "five");
    fs::remove_file(site.path("it.html.br")).expect("it is there");
    assert_eq!(text(site.get_with("/it.html", &br)), "four");
    fs::remove_file(site.path("it.html")).expect("it is there");
    assert_eq!(site.get("/it.html").status(), StatusCode::NOT_FOUND);
    assert_eq!(text(site.get("/dir/")), "index");
    fs::remove_dir_all(site.path("dir")).expect("it is there");
    assert_eq!(site.get("/dir/").status(), StatusCode::NOT_FOUND);
}

#[test]
fn a_second_is_how_long_a_change_may_stay_unseen_unless_told() {
    let site = remembering(&[("it", "before")], FOR_EVER);
    let site = Site { files: Files::new(site.path("")).expect("it exists"), ..site };
    assert_eq!(text(site.get("/it")), "before");
    fs::write(site.path("it"), "after!").expect("a file");
    let begun = std::time::Instant::now();
    while text(site.get("/it")) == "before" {
        assert!(begun.elapsed() < Duration::from_secs(5), "it is never seen");
        std::thread::yield_now();
    }
}

#[test]
fn no_more_is_kept_open_than_there_is_room_for() {
    let site = remembering(&[], FOR_EVER);
    let names: Vec<String> = (0..400).map(|number| format!("file{number}")).collect();
    for name in &names {
        fs::write(site.path(name), "x".repeat(20_000)).expect("a file");
    }
    let root = fs::canonicalize(site.path("")).expect("it exists");
    let mut open = 0;
    for name in &names {
        assert_eq!(text(site.get(&format!("/{name}"))).len(), 20_000);
        let links = fs::read_dir("/proc/self/fd").expect("there is one");
        let links = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
        open = links.filter(|link| link.parent() == Some(&root)).count();
        assert!(open <= 128, "{open} files are open");
    }
    assert_eq!(open, 128, "what there is room for is kept");
    // The one used last is among them.
    fs::remove_file(site.path("file399")).expect("it is there");
    assert_eq!(site.get("/file399").status(), StatusCode::OK);
    fs::remove_file(site.path("file0")).expect("it is there");
    assert_eq!(site.get("/file0").status(), StatusCode::NOT_FOUND);
}

#[test]
fn one_file_by_many_names_takes_no_more_memory_than_there_is_room_for() {
    const NAME: &str = "abcdefghijklm";
    let site = remembering(&[(NAME, &"x".repeat(16 * 1024))], FOR_EVER);
    let resident = || {
        let statm = fs::read_to_string("/proc/self/statm").expect("a process has one");
        let pages = statm.split(' ').nth(1).expect("the second");
        pages.parse::<usize>().expect("a number") * rustix::param::page_size()
    };
    let before = resident();
    // Each number has its own letters escaped: kept all, these would be 128 MiB.
    for number in 0..1 << NAME.len() {
        let escape = |(index, letter)| match number >> index & 1 {
            0 => char::from(letter).to_string(),
            _ => format!("%{letter:02x}"),
        };
        let name: String = NAME.bytes().enumerate().map(escape).collect();
        assert_eq!(site.get(&format!("/{name}")).status(), StatusCode::OK);
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes");
}

//! A site's directory that is replaced, goes away and comes back while it is served.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::StatusCode;
use support::{Site, text};
use tine_http::Reason;
use tine_web::Files;

/// No request looks at anything again that was seen before.
const FOR_EVER: Duration = Duration::from_secs(100_000);

/// A site of several directories, one of which is served by this path beneath it.
struct Sites {
    site: Site,
    around: PathBuf,
}

impl Sites {
    fn new(trust: Duration) -> Self {
        let mut site = Site::new(&[("page", "one"), ("large", &"1".repeat(50_000))]);
        let around = site.directory.path().to_owned();
        fs::rename(around.join("root"), around.join("1")).expect("it is there");
        symlink("1", around.join("root")).expect("a link");
        site.files = Files::new(around.join("root")).expect("it is there").recheck_after(trust);
        Self { site, around }
    }

    fn make(&self, name: &str, page: &str) -> PathBuf {
        let path = self.around.join(name);
        fs::create_dir(&path).expect("a directory");
        fs::write(path.join("page"), page).expect("a file");
        path
    }

    /// As `ln -sfn` does it, or `mv -T`.
    fn turn(&self, target: impl AsRef<Path>) {
        symlink(target, self.around.join("new")).expect("a link");
        fs::rename(self.around.join("new"), self.around.join("root")).expect("a link");
    }

    fn page(&self) -> String {
        let answer = self.site.get("/page");
        assert_eq!(answer.status(), StatusCode::OK);
        text(answer)
    }

    /// Why there is no answer, if that is told.
    fn gone(&self) -> Option<String> {
        let answer = self.site.get("/page");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        answer.extensions().get::<Reason>().map(|reason| reason.0.clone())
    }
}

#[test]
fn a_link_that_is_turned_is_followed_and_nothing_of_the_old_site_is_remembered() {
    let sites = Sites::new(Duration::ZERO);
    assert_eq!(sites.page(), "one");
    assert_eq!(text(sites.site.get("/large")).len(), 50_000);
    sites.make("2", "two");
    sites.turn("2");
    assert_eq!(sites.page(), "two");
    assert_eq!(sites.site.get("/large").status(), StatusCode::NOT_FOUND);
    fs::remove_dir_all(sites.around.join("1")).expect("it is there");
    assert_eq!(sites.page(), "two");
    // Absolute, and through another link.
    let third = sites.make("3", "three");
    symlink(third, sites.around.join("stage")).expect("a link");
    sites.turn(sites.around.join("stage"));
    assert_eq!(sites.page(), "three");
}

#[test]
fn a_directory_that_is_deleted_and_made_anew_is_served_and_503_meanwhile() {
    let sites = Sites::new(Duration::ZERO);
    assert_eq!(sites.page(), "one");
    for round in 0..20 {
        fs::remove_dir_all(sites.around.join("1")).expect("it is there");
        let told = sites.gone().expect("it is told");
        assert!(told.contains("root") && told.contains("No such file"), "{told}");
        assert_eq!(sites.gone(), None, "it is told once");
        let page = format!("page {round}");
        sites.make("1", &page);
        assert_eq!(sites.page(), page);
    }
    // A file in its place is no directory, either.
    fs::remove_dir_all(sites.around.join("1")).expect("it is there");
    fs::write(sites.around.join("1"), "").expect("a file");
    assert!(sites.gone().is_some_and(|told| told.contains("Not a directory")));
}

#[test]
fn another_directory_is_noticed_within_the_time_to_recheck() {
    let trust = Duration::from_millis(500);
    let sites = Sites::new(trust);
    assert_eq!(sites.page(), "one");
    sites.make("2", "two");
    for target in ["2", "1", "2"] {
        let before = sites.page();
        sites.turn(target);
        let turned = Instant::now();
        while sites.page() == before {
            // With time for a look that comes late on a busy machine.
            assert!(turned.elapsed() < trust * 4, "the link was turned long ago");
        }
    }
}

#[test]
fn the_root_is_not_looked_at_for_each_request() {
    let sites = Sites::new(FOR_EVER);
    assert_eq!(sites.page(), "one");
    sites.make("2", "two");
    sites.turn("2");
    assert_eq!(sites.page(), "one");
    assert_eq!(
        text(sites.site.get("/large")).len(),
        50_000,
        "what was never asked for is its, too"
    );
}

#[test]
fn a_pinned_root_is_served_whatever_becomes_of_its_path() {
    let mut sites = Sites::new(Duration::ZERO);
    let files = Files::pinned(sites.around.join("root")).expect("it is there");
    sites.site.files = files.recheck_after(Duration::ZERO);
    sites.make("2", "two");
    sites.turn("2");
    fs::rename(sites.around.join("1"), sites.around.join("elsewhere")).expect("it is there");
    assert_eq!(sites.page(), "one");
}

#[test]
fn nothing_stays_open_that_no_request_uses() {
    let sites = Sites::new(FOR_EVER);
    let open = || {
        let links = fs::read_dir("/proc/self/fd").expect("there is one");
        let links = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
        links.filter(|link| link.starts_with(sites.around.join("1"))).count()
    };
    assert_eq!(sites.site.files.let_go(), None, "nothing was used");
    assert_eq!(text(sites.site.get("/large")).len(), 50_000);
    assert_eq!(sites.page(), "one");
    assert_eq!(open(), 2, "the root and a file");
    let begun = Instant::now();
    let mut rounds = 0;
    while let Some(next) = sites.site.files.let_go() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{} are open", open());
        std::thread::park_timeout(next);
        rounds += 1;
    }
    assert!(open() == 0 && rounds <= 10, "{rounds} rounds, {} open", open());
    assert_eq!(text(sites.site.get("/large")).len(), 50_000);
    sites.site.files.let_go_of_all();
    assert_eq!(open(), 1, "the root");
}

//! Which version of a file this is (RFC 9110, 8.8).

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use http::header::{ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};

use crate::coding::Coding;

/// The year 10000, which the format of dates has no room for; seconds since 1970.
const END_OF_DATES: u64 = 253_402_300_800;
/// A file may be written to twice within a tick of its file system's clock and look the same; the
/// coarsest tick is that of FAT. What was last written to longer ago than this is told apart for sure.
const TICK: Duration = Duration::from_secs(2);

/// A time of change up to this one means nothing, in seconds since 1970: reproducible builds and package stores give it to all
/// that they make.
const MEANINGLESS: i64 = 1;

/// What tells one version of a file from another.
///
/// The tag is made of the size, the time of change in whole seconds, and the coding: what replicas and redeployed copies
/// agree on. The inode differs between them. So may the fraction of the second, which archives, `rsync` and some file systems
/// do not keep.
///
/// The tag is strong (equal tags, equal bytes) unless the file was written to a moment ago. Then it is weak, has
/// the fraction of the second in it, and becomes strong with the next look at the file (RFC 9110, 8.8.1). A client that has
/// another version of that second has another tag than the one that stays; one that has this version is known by its weak tag.
///
/// A file whose time means nothing has no validators.
#[derive(Clone, Debug)]
pub(crate) struct Validators {
    /// With its quotes, and without the mark of a weak one.
    tag: Option<String>,
    /// The one it has, or had, while it is weak.
    young: Option<String>,
    strong: bool,
    /// In whole seconds, as dates are.
    modified: Option<SystemTime>,
}

impl Validators {
    /// The validators of a file as it was `now`, which is in this coding.
    pub(crate) fn new(file: &Metadata, coding: Option<Coding>, now: SystemTime) -> Self {
        let (size, seconds) = (file.size(), file.mtime());
        let time = file.modified().ok();
        let strong = time.is_some_and(|time| time + TICK <= now);
        if seconds <= MEANINGLESS {
            return Self { tag: None, young: None, strong, modified: None };
        }
        let coding = coding.map_or("", Coding::suffix).replace('.', "-");
        let young = format!("\"{size:x}-{seconds:x}.{:x}{coding}\"", file.mtime_nsec());
        let settled = format!("\"{size:x}-{seconds:x}{coding}\"");
        Self {
            tag: Some(if strong { settled } else { young.clone() }),
            young: Some(young),
            strong,
            modified: time.and_then(|time| date(time, now)),
        }
    }

    /// The same for content that means the same, byte for byte or not.
    pub(crate) fn weakened(&self) -> Self {
        Self { strong: false, ..self.clone() }
    }

    /// Whether the file was left alone for long enough, so that a change of it is seen.
    pub(crate) fn is_settled(&self) -> bool {
        self.strong
    }

    /// Whether equal validators mean equal bytes.
    pub(crate) fn are_strong(&self) -> bool {
        self.strong && self.tag.is_some()
    }

    /// When the file was last written to.
    pub(crate) fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// Writes them into a response.
    pub(crate) fn insert(&self, headers: &mut HeaderMap) {
        let mark = if self.strong { "" } else { "W/" };
        let tag = self.tag.as_ref().map(|tag| HeaderValue::try_from(format!("{mark}{tag}")));
        if let Some(Ok(tag)) = tag {
            headers.insert(ETAG, tag);
        }
        let modified = self.modified.map(httpdate::fmt_http_date);
        if let Some(Ok(modified)) = modified.map(HeaderValue::try_from) {
            headers.insert(LAST_MODIFIED, modified);
        }
    }

    /// Whether a tag of the client's names this version; the weak comparison (RFC 9110, 8.8.3.2).
    pub(crate) fn may_be(&self, tag: &str) -> bool {
        let tag = Some(tag.strip_prefix("W/").unwrap_or(tag));
        self.tag.as_deref() == tag || self.young.as_deref() == tag
    }

    /// The same by the strong comparison: two weak ones are never equal.
    pub(crate) fn is(&self, tag: &str) -> bool {
        self.strong && self.tag.as_deref() == Some(tag)
    }
}

/// The time as a date has it. One to come would be a lie (RFC 9110, 8.8.2.1), so it is now; one
/// before 1970 has no form we could send.
fn date(time: SystemTime, now: SystemTime) -> Option<SystemTime> {
    let since_1970 = time.min(now).duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let whole = Duration::from_secs(since_1970.as_secs());
    (whole.as_secs() < END_OF_DATES).then_some(SystemTime::UNIX_EPOCH + whole)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Of a file last written to at 08:49:37 on 6 November 1994.
    pub(crate) fn validators(tag: &str, strong: bool) -> Validators {
        let modified = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        Validators { tag: Some(tag.to_owned()), young: None, strong, modified: Some(modified) }
    }

    fn tag(validators: &Validators) -> String {
        let mut headers = HeaderMap::new();
        validators.insert(&mut headers);
        headers.get(ETAG).map_or("", |tag| tag.to_str().expect("text")).to_owned()
    }

    /// Metadata of a file of this length, last written to so long after 1970.
    fn metadata(length: u64, time: Duration) -> Metadata {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(length).expect("it can grow");
        file.set_modified(SystemTime::UNIX_EPOCH + time).expect("it is ours");
        file.metadata().expect("it has some")
    }

    #[test]
    fn a_file_just_written_to_has_a_weak_tag_and_a_strong_one_later() {
        let then = Duration::new(1_700_000_000, 5);
        let file = metadata(3, then);
        let at = |time| Validators::new(&file, None, SystemTime::UNIX_EPOCH + time);
        let (fresh, settled) = (at(then), at(then + TICK));
        assert!(!fresh.are_strong() && settled.are_strong());
        assert_eq!((&*tag(&fresh), &*tag(&settled)), ("W/\"3-6553f100.5\"", "\"3-6553f100\""));
        assert_eq!(tag(&settled.weakened()), format!("W/{}", tag(&settled)));
        assert!(settled.is(&tag(&settled)) && !settled.is(&tag(&fresh)));
        assert!(fresh.may_be(&tag(&fresh)) && !fresh.is(&tag(&fresh)));
        assert!(settled.may_be(&tag(&settled.weakened())) && !settled.may_be("\"other\""));
        assert!(settled.may_be(&tag(&fresh)) && !fresh.may_be(&tag(&settled)));
        // Another version, written within the same second.
        let other = metadata(3, then + Duration::from_millis(1));
        let other = Validators::new(&other, None, SystemTime::UNIX_EPOCH + then);
        assert!(!settled.may_be(&tag(&other)) && !fresh.may_be(&tag(&other)));
    }

    #[test]
    fn copies_have_one_tag_and_versions_and_codings_have_their_own() {
        let second = Duration::from_secs(1_700_000_000);
        let later = SystemTime::UNIX_EPOCH + 2 * second;
        let of =
            |length, time, coding| tag(&Validators::new(&metadata(length, time), coding, later));
        let first = of(3, second, None);
        assert_eq!(first, of(3, second + Duration::from_millis(999), None), "another file system");
        assert_ne!(first, of(4, second, None));
        assert_ne!(first, of(3, second + Duration::from_secs(1), None));
        assert_ne!(first, of(3, second, Some(Coding::Gzip)));
        assert_ne!(of(3, second, Some(Coding::Brotli)), of(3, second, Some(Coding::Gzip)));
    }

    #[test]
    fn a_time_that_means_nothing_is_no_validator() {
        for seconds in [0, 1] {
            let file = metadata(3, Duration::from_secs(seconds));
            let validators = Validators::new(&file, None, SystemTime::now());
            let mut headers = HeaderMap::new();
            validators.insert(&mut headers);
            assert!(headers.is_empty() && validators.modified().is_none(), "{seconds}");
            assert!(validators.is_settled() && !validators.are_strong() && !validators.may_be(""));
        }
        let file = metadata(3, Duration::from_secs(2));
        assert!(Validators::new(&file, None, SystemTime::now()).are_strong());
    }

    #[test]
    fn every_time_a_file_can_have_is_a_date_or_none() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let now = at(1_000_000_000);
        let odd = at(5) + Duration::from_nanos(5);
        assert_eq!(date(odd, now), Some(at(5)));
        assert_eq!(date(at(2_000_000_000), now), Some(now));
        assert_eq!(date(at(0) - Duration::from_nanos(1), now), None);
        assert_eq!(date(at(END_OF_DATES), at(END_OF_DATES)), None);
        httpdate::fmt_http_date(at(END_OF_DATES - 1));
    }
}

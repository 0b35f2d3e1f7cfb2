//! Which version of a file this is (RFC 9110, 8.8).

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use http::header::{ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};

/// The year 10000, which the format of dates has no room for; seconds since 1970.
const END_OF_DATES: u64 = 253_402_300_800;
/// A file may be written to twice within a tick of its file system's clock and look the same; the
/// coarsest tick is that of FAT. What was last written to longer ago than this is told apart for sure.
const TICK: Duration = Duration::from_secs(2);

/// What tells one version of a file from another.
///
/// The tag is made of inode, size and time of change. It is strong (equal tags, equal bytes) unless the
/// file was written to a moment ago: then it is weak, and becomes strong with the next look at the
/// file (RFC 9110, 8.8.1).
#[derive(Clone, Debug)]
pub(crate) struct Validators {
    /// With its quotes, and without the mark of a weak one.
    tag: String,
    strong: bool,
    /// In whole seconds, as dates are.
    modified: Option<SystemTime>,
}

impl Validators {
    /// The validators of a file as it was `now`.
    pub(crate) fn new(file: &Metadata, now: SystemTime) -> Self {
        let (inode, size) = (file.ino(), file.size());
        let (seconds, nanoseconds) = (file.mtime(), file.mtime_nsec());
        let modified = file.modified().ok();
        Self {
            tag: format!("\"{inode:x}-{size:x}-{seconds:x}.{nanoseconds:x}\""),
            strong: modified.is_some_and(|time| time + TICK <= now),
            modified: modified.and_then(|time| date(time, now)),
        }
    }

    /// The same for content that means the same, byte for byte or not.
    pub(crate) fn weakened(&self) -> Self {
        Self { strong: false, ..self.clone() }
    }

    /// Whether equal validators mean equal bytes.
    pub(crate) fn are_strong(&self) -> bool {
        self.strong
    }

    /// When the file was last written to.
    pub(crate) fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// Writes them into a response.
    pub(crate) fn insert(&self, headers: &mut HeaderMap) {
        let mark = if self.strong { "" } else { "W/" };
        if let Ok(tag) = HeaderValue::try_from(format!("{mark}{}", self.tag)) {
            headers.insert(ETAG, tag);
        }
        let modified = self.modified.map(httpdate::fmt_http_date);
        if let Some(Ok(modified)) = modified.map(HeaderValue::try_from) {
            headers.insert(LAST_MODIFIED, modified);
        }
    }

    /// Whether a tag of the client's names this version; the weak comparison (RFC 9110, 8.8.3.2).
    pub(crate) fn may_be(&self, tag: &str) -> bool {
        tag.strip_prefix("W/").unwrap_or(tag) == self.tag
    }

    /// The same by the strong comparison: two weak ones are never equal.
    pub(crate) fn is(&self, tag: &str) -> bool {
        self.strong && tag == self.tag
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
        Validators { tag: tag.to_owned(), strong, modified: Some(modified) }
    }

    #[test]
    fn a_file_just_written_to_has_a_weak_tag_and_a_strong_one_later() {
        let file = tempfile::tempfile().expect("a file");
        let metadata = file.metadata().expect("it has some");
        let now = SystemTime::now();
        let fresh = Validators::new(&metadata, now);
        let settled = Validators::new(&metadata, now + 2 * TICK);
        assert!(!fresh.are_strong() && settled.are_strong());
        let tag = |validators: &Validators| {
            let mut headers = HeaderMap::new();
            validators.insert(&mut headers);
            headers[ETAG].to_str().expect("text").to_owned()
        };
        assert_eq!(tag(&fresh), format!("W/{}", tag(&settled)));
        assert_eq!(tag(&settled.weakened()), tag(&fresh));
        assert!(settled.is(&tag(&settled)) && !settled.is(&tag(&fresh)));
        assert!(!fresh.is(&tag(&settled)) && fresh.may_be(&tag(&settled)));
        assert!(settled.may_be(&tag(&fresh)) && !settled.may_be("\"other\""));
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

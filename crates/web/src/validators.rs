//! Which version of a file this is, and whether the client has it already (RFC 9110, 8.8 and 13).

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};

/// The year 10000, which the format of dates has no room for; seconds since 1970.
const END_OF_DATES: u64 = 253_402_300_800;

/// What tells one version of a file from another.
#[derive(Debug)]
pub(crate) struct Validators {
    etag: String,
    /// In whole seconds, as dates are.
    modified: Option<SystemTime>,
}

impl Validators {
    /// The validators of a file now.
    pub(crate) fn new(file: &Metadata, now: SystemTime) -> Self {
        let etag = format!(
            "\"{:x}-{:x}-{:x}.{:x}\"",
            file.ino(),
            file.size(),
            file.mtime(),
            file.mtime_nsec()
        );
        Self { etag, modified: file.modified().ok().and_then(|time| date(time, now)) }
    }

    /// Writes them into a response.
    pub(crate) fn insert(&self, headers: &mut HeaderMap) {
        if let Ok(etag) = HeaderValue::from_str(&self.etag) {
            headers.insert(ETAG, etag);
        }
        let modified = self.modified.map(httpdate::fmt_http_date);
        if let Some(Ok(modified)) = modified.map(HeaderValue::try_from) {
            headers.insert(LAST_MODIFIED, modified);
        }
    }

    /// Whether the request's conditions say that its client has this version: the answer is 304
    /// then. `If-None-Match` is all that counts where there is one (RFC 9110, 13.2.2).
    pub(crate) fn is_known(&self, request: &HeaderMap) -> bool {
        let mut tags = request.get_all(IF_NONE_MATCH).iter().peekable();
        if tags.peek().is_some() {
            return tags.any(|tags| self.is_among(tags));
        }
        let since = request.get(IF_MODIFIED_SINCE).and_then(|since| since.to_str().ok());
        // What is no date is to be ignored (RFC 9110, 13.1.3).
        let since = since.and_then(|since| httpdate::parse_http_date(since).ok());
        since.zip(self.modified).is_some_and(|(since, modified)| modified <= since)
    }

    /// Weak comparison (RFC 9110, 8.8.3.2). Our tags have no comma, so one cannot be taken apart.
    fn is_among(&self, tags: &HeaderValue) -> bool {
        let Ok(tags) = tags.to_str() else { return false };
        tags.trim() == "*"
            || tags.split(',').map(str::trim).any(|tag| tag.trim_start_matches("W/") == self.etag)
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
mod tests {
    use super::*;

    const ETAG: &str = "\"1-2-3.4\"";

    fn known(fields: &[(&'static str, &str)]) -> bool {
        let modified = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        let validators = Validators { etag: ETAG.to_owned(), modified: Some(modified) };
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("a value"));
        }
        validators.is_known(&headers)
    }

    #[test]
    fn a_tag_is_looked_for_in_all_lists() {
        let weak = format!("W/{ETAG}");
        let list = format!("\"a\" ,W/\"b\", {ETAG}");
        for tags in ["*", ETAG, &weak, &list] {
            assert!(known(&[("if-none-match", tags)]), "{tags}");
        }
        assert!(known(&[("if-none-match", "\"a\""), ("if-none-match", ETAG)]));
        for tags in ["", "\"a\"", "1-2-3.4", "\"1-2-3\"", "\"*\""] {
            assert!(!known(&[("if-none-match", tags)]), "{tags}");
        }
    }

    #[test]
    fn a_date_counts_from_its_second_on_and_in_every_form() {
        for (since, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("Sunday, 06-Nov-94 08:49:37 GMT", true),
            ("Sun Nov  6 08:49:37 1994", true),
            ("Sun, 06 Nov 1994 08:49:38 GMT", true),
            ("Sun, 06 Nov 1994 08:49:36 GMT", false),
            ("yesterday", false),
            ("", false),
        ] {
            assert_eq!(known(&[("if-modified-since", since)]), expected, "{since}");
        }
    }

    #[test]
    fn a_tag_outweighs_a_date() {
        let later = ("if-modified-since", "Sun, 06 Nov 2044 08:49:37 GMT");
        assert!(!known(&[("if-none-match", "\"a\""), later]));
        let earlier = ("if-modified-since", "Sun, 06 Nov 1974 08:49:37 GMT");
        assert!(known(&[("if-none-match", ETAG), earlier]));
        assert!(!known(&[]));
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

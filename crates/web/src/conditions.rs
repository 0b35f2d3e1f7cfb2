//! Conditional requests (RFC 9110, 13): whether the client's idea of a file is that of now.

use std::time::SystemTime;

use http::header::{
    AsHeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::validators::Validators;

/// What the conditions of a GET or HEAD come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is to be answered as if there were none.
    Proceed,
    /// 304: the client has it.
    Known,
    /// 412: it is not what the client wants to go on with.
    Failed,
}

/// Evaluated in the order of RFC 9110, 13.2.2: a tag outweighs the date beside it, and what must match
/// is asked before what must not.
pub(crate) fn judge(request: &HeaderMap, current: &Validators) -> Verdict {
    let kept = match any_tag(request, &IF_MATCH, |tag| current.is(tag)) {
        Some(matches) => matches,
        None => date(request, &IF_UNMODIFIED_SINCE)
            .is_none_or(|since| current.modified().is_none_or(|modified| modified <= since)),
    };
    if !kept {
        return Verdict::Failed;
    }
    let known = match any_tag(request, &IF_NONE_MATCH, |tag| current.may_be(tag)) {
        Some(matches) => matches,
        None => date(request, &IF_MODIFIED_SINCE)
            .is_some_and(|since| current.modified().is_some_and(|modified| modified <= since)),
    };
    if known { Verdict::Known } else { Verdict::Proceed }
}

/// Whether a range is asked for of this very version, or of whatever there is (RFC 9110, 13.1.5). Only
/// validators that are strong will do: parts of two versions must not be put together.
pub(crate) fn range_is_of(request: &HeaderMap, current: &Validators) -> bool {
    let Some(wanted) = request.get(IF_RANGE) else { return true };
    let Ok(wanted) = wanted.to_str().map(str::trim) else { return false };
    let dated = || httpdate::parse_http_date(wanted).ok() == current.modified();
    match wanted.ends_with('"') {
        true => current.is(wanted),
        false => current.are_strong() && current.modified().is_some() && dated(),
    }
}

/// Whether one of the tags in these fields is the one; `None` without any such field.
fn any_tag(request: &HeaderMap, name: &HeaderName, is: impl Fn(&str) -> bool) -> Option<bool> {
    let mut fields = request.get_all(name).iter().peekable();
    fields.peek()?;
    // Our tags have no comma, so none of them can be taken apart.
    let among = |field: &HeaderValue| {
        let tags = field.to_str().unwrap_or_default();
        tags.trim() == "*" || tags.split(',').any(|tag| is(tag.trim()))
    };
    Some(fields.any(among))
}

/// What is no date is to be ignored (RFC 9110, 13.1.3 and 13.1.4).
fn date(request: &HeaderMap, name: impl AsHeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(request.get(name)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validators::tests::validators;

    const TAG: &str = "\"1-2-3.4\"";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    fn verdict(fields: &[(&'static str, &str)]) -> Verdict {
        judge(&headers(fields), &validators(TAG, true))
    }

    #[test]
    fn a_tag_is_looked_for_in_all_lists() {
        let weak = format!("W/{TAG}");
        let list = format!("\"a\" ,W/\"b\", {TAG}");
        for tags in ["*", TAG, &weak, &list] {
            assert_eq!(verdict(&[("if-none-match", tags)]), Verdict::Known, "{tags}");
        }
        let lists = [("if-none-match", "\"a\", \"b\""), ("if-none-match", TAG)];
        assert_eq!(verdict(&lists), Verdict::Known);
        for tags in ["\"a\"", "1-2-3.4", "\"1-2-3.4", "", "\"*\"", "*, *"] {
            assert_eq!(verdict(&[("if-none-match", tags)]), Verdict::Proceed, "{tags}");
        }
    }

    #[test]
    fn a_date_is_read_in_each_of_its_forms_and_ignored_if_it_is_none() {
        for (since, known) in [
            (THEN, true),
            ("Sunday, 06-Nov-94 08:49:37 GMT", true),
            ("Sun Nov  6 08:49:37 1994", true),
            (AFTER, true),
            (BEFORE, false),
            ("yesterday", false),
            ("", false),
        ] {
            let expected = if known { Verdict::Known } else { Verdict::Proceed };
            assert_eq!(verdict(&[("if-modified-since", since)]), expected, "{since}");
        }
        for (since, kept) in
            [(THEN, true), (AFTER, true), (BEFORE, false), ("yesterday", true), ("", true)]
        {
            let expected = if kept { Verdict::Proceed } else { Verdict::Failed };
            assert_eq!(verdict(&[("if-unmodified-since", since)]), expected, "{since}");
        }
    }

    #[test]
    fn what_must_match_is_compared_strongly() {
        let weak = format!("W/{TAG}");
        for (tags, expected) in [
            (TAG, Verdict::Proceed),
            ("*", Verdict::Proceed),
            (&weak, Verdict::Failed),
            ("\"a\"", Verdict::Failed),
        ] {
            assert_eq!(verdict(&[("if-match", tags)]), expected, "{tags}");
        }
        let fresh = validators(TAG, false);
        assert_eq!(judge(&headers(&[("if-match", TAG)]), &fresh), Verdict::Failed);
        assert_eq!(judge(&headers(&[("if-none-match", TAG)]), &fresh), Verdict::Known);
    }

    #[test]
    fn conditions_are_asked_in_the_order_of_the_standard() {
        for (fields, expected) in [
            // A tag outweighs a date.
            (&[("if-none-match", "\"a\""), ("if-modified-since", AFTER)][..], Verdict::Proceed),
            (&[("if-none-match", TAG), ("if-modified-since", BEFORE)], Verdict::Known),
            (&[("if-match", TAG), ("if-unmodified-since", BEFORE)], Verdict::Proceed),
            (&[("if-match", "\"a\""), ("if-unmodified-since", AFTER)], Verdict::Failed),
            // What must match comes before what must not.
            (&[("if-none-match", TAG), ("if-match", "\"a\"")], Verdict::Failed),
            (&[("if-modified-since", AFTER), ("if-unmodified-since", BEFORE)], Verdict::Failed),
            (&[("if-none-match", TAG), ("if-match", TAG)], Verdict::Known),
            (&[], Verdict::Proceed),
        ] {
            assert_eq!(verdict(fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_range_goes_on_only_with_the_same_bytes() {
        let weak = format!("W/{TAG}");
        for (wanted, strong, expected) in [
            (TAG, true, true),
            (THEN, true, true),
            (&weak, true, false),
            ("\"a\"", true, false),
            (BEFORE, true, false),
            // An exact match, not "not later than".
            (AFTER, true, false),
            ("nonsense", true, false),
            ("*", true, false),
            (TAG, false, false),
            (&weak, false, false),
            (THEN, false, false),
        ] {
            let request = headers(&[("if-range", wanted)]);
            assert_eq!(range_is_of(&request, &validators(TAG, strong)), expected, "{wanted}");
        }
        assert!(range_is_of(&HeaderMap::new(), &validators(TAG, false)));
    }
}

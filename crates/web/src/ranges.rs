//! Which bytes a client asks for (RFC 9110, 14.1.2 and 14.2).

use std::ops::Range;

use http::HeaderMap;
use http::header::RANGE;

/// The most ranges answered at once. Who asks for more gets the whole: so do those whose ranges overlap,
/// and no request costs more than the file (RFC 9110, 14.2 and 17.15).
const MOST: usize = 16;

/// What is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Everything: nothing else was asked for, or not in a way we follow.
    Whole,
    /// These, in this order; none is empty.
    Parts(Vec<Range<u64>>),
    /// 416: nothing that is there.
    Nothing,
}

/// What a GET asks for, of a representation of `length` bytes.
pub(crate) fn asked(request: &HeaderMap, length: u64) -> Asked {
    let mut fields = request.get_all(RANGE).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return Asked::Whole };
    let parts = field.to_str().ok().and_then(|field| parse(field, length));
    match parts {
        // No range of an empty file could be written in an answer.
        None => Asked::Whole,
        Some(_) if length == 0 => Asked::Whole,
        Some(parts) if parts.is_empty() => Asked::Nothing,
        Some(parts) if parts.len() > MOST || overlap(&parts) => Asked::Whole,
        Some(parts) => Asked::Parts(parts),
    }
}

/// Those that are there; `None` for what is no range of bytes, or too long to be looked through.
fn parse(field: &str, length: u64) -> Option<Vec<Range<u64>>> {
    let (unit, set) = field.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut parts = Vec::new();
    let mut count = 0;
    for part in set.split(',').map(|part| part.trim_matches([' ', '\t'])) {
        if part.is_empty() {
            continue;
        }
        count += 1;
        if count > MOST {
            return None;
        }
        let part = one(part, length)?;
        if !part.is_empty() {
            parts.push(part);
        }
    }
    (count > 0).then_some(parts)
}

/// One range; empty if it is not there.
fn one(text: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = text.split_once('-')?;
    if first.is_empty() {
        return Some(length.saturating_sub(number(last)?)..length);
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    (first <= last).then(|| first..last.saturating_add(1).min(length).max(first))
}

/// One too large is larger than any file.
fn number(digits: &str) -> Option<u64> {
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn overlap(parts: &[Range<u64>]) -> bool {
    let overlaps = |(index, part): (usize, &Range<u64>)| {
        parts[..index].iter().any(|other| part.start < other.end && other.start < part.end)
    };
    parts.iter().enumerate().any(overlaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(field: &str, length: u64) -> Asked {
        let mut request = HeaderMap::new();
        request.insert(RANGE, field.parse().expect("a value"));
        asked(&request, length)
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "lists of one range are meant")]
    fn ranges_are_clipped_to_what_is_there() {
        let huge = "99999999999999999999999999";
        for (field, expected) in [
            ("bytes=0-0", vec![0..1]),
            ("bytes=0-499", vec![0..500]),
            ("BYTES = 500-", vec![500..1000]),
            ("bytes=-1", vec![999..1000]),
            ("bytes=-5000", vec![0..1000]),
            ("bytes=999-5000", vec![999..1000]),
            (&format!("bytes=7-{huge}"), vec![7..1000]),
            (&format!("bytes=-{huge}"), vec![0..1000]),
            ("bytes=0-0,-1", vec![0..1, 999..1000]),
            ("bytes= 500-600 ,\t,0-9,", vec![500..601, 0..10]),
            ("bytes=2000-,5-6,-0", vec![5..7]),
        ] {
            assert_eq!(of(field, 1000), Asked::Parts(expected), "{field}");
        }
    }

    #[test]
    fn what_is_not_there_is_refused() {
        for field in ["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=5000-,-0"] {
            assert_eq!(of(field, 1000), Asked::Nothing, "{field}");
        }
    }

    #[test]
    fn what_is_no_range_is_ignored() {
        for field in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=5",
            "bytes=9-5",
            "bytes=0-5,x",
            "bytes=+1-2",
            "bytes=1--2",
            "lines=0-5",
            "bytes=0x1-2",
            "bytes=1 -2",
        ] {
            assert_eq!(of(field, 1000), Asked::Whole, "{field}");
        }
        let mut twice = HeaderMap::new();
        twice.append(RANGE, "bytes=0-0".parse().expect("a value"));
        twice.append(RANGE, "bytes=1-1".parse().expect("a value"));
        assert_eq!(asked(&twice, 1000), Asked::Whole);
        assert_eq!(asked(&HeaderMap::new(), 1000), Asked::Whole);
        for field in ["bytes=0-", "bytes=-5", "bytes=0-0,1-1"] {
            assert_eq!(of(field, 0), Asked::Whole, "{field} of nothing");
        }
    }

    #[test]
    fn ranges_that_overlap_or_are_too_many_are_the_whole() {
        for field in ["bytes=0-,0-", "bytes=0-5,5-9", "bytes=100-200,0-99,150-160", "bytes=-5,-1"] {
            assert_eq!(of(field, 1000), Asked::Whole, "{field}");
        }
        let many = |count: usize| {
            let parts: Vec<String> =
                (0..count).map(|at| format!("{}-{}", 2 * at, 2 * at)).collect();
            of(&format!("bytes={}", parts.join(",")), 1000)
        };
        assert!(matches!(many(MOST), Asked::Parts(parts) if parts.len() == MOST));
        assert_eq!(many(MOST + 1), Asked::Whole);
        assert_eq!(many(400), Asked::Whole);
    }
}

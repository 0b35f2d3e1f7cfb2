//! The `Date` field, made once a second.

use std::cell::RefCell;
use std::time::SystemTime;

use http::HeaderValue;

thread_local! {
    static LAST: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
}

/// How long a date is used, in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// What `Date` says at this monotonic nanosecond: the system's time of up to a second before.
pub(crate) fn at(now: u64) -> HeaderValue {
    LAST.with_borrow_mut(|last| match last {
        Some((made, date)) if now.wrapping_sub(*made) < SECOND => date.clone(),
        _ => {
            let text = httpdate::fmt_http_date(SystemTime::now());
            let date = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
            *last = Some((now, date.clone()));
            date
        }
    })
}

//! The path of a request as rules see it: normalised and decoded once, before any of them.

use std::borrow::Cow;

use http::StatusCode;

use crate::path;

/// The path: it begins with one `/`; no segment is empty, `.` or `..`, and nothing in it is percent-encoded. A `/` at the end
/// stays.
///
/// # Errors
/// What [`path::parse`] says of what is no path: 400, or 404 for an encoded `/`.
pub(super) fn normal(path: &str) -> Result<Cow<'_, str>, StatusCode> {
    if path.starts_with('/') && !path.contains('%') && !path.contains("//") && !path.contains("/.")
    {
        return Ok(Cow::Borrowed(path));
    }
    let name = path::parse(path, true)?;
    let text = name.path.to_string_lossy();
    let slash = if name.directory && !text.is_empty() { "/" } else { "" };
    Ok(Cow::Owned(format!("/{text}{slash}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_path_is_the_same_path() {
        for spelling in [
            "/internal/a",
            "//internal//a",
            "/./internal/./a",
            "/x/../internal/a",
            "/x/%2e%2E/internal/a",
            "/%69nternal/a",
            "/../internal/%61",
            "/x/y/../../internal/a",
        ] {
            assert_eq!(normal(spelling).as_deref(), Ok("/internal/a"), "{spelling}");
        }
        for (path, expected) in
            [("/", "/"), ("/a/", "/a/"), ("/a/.", "/a/"), ("//", "/"), ("/.a", "/.a")]
        {
            assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
        }
        for (path, status) in [("*", 400), ("/%", 400), ("/%00", 400), ("/a%2fb", 404)] {
            assert_eq!(normal(path).map_err(|it| it.as_u16()).err(), Some(status), "{path}");
        }
    }
}

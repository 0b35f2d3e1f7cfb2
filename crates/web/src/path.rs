//! What a request's path means as the name of a file, and which paths mean none.
//!
//! This is about names alone. That no link leads out of the root is the kernel's affair
//! ([`tine_os::beneath`]).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use http::StatusCode;
use percent_encoding::percent_decode_str;

/// The name of a file or a directory, relative to the root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// Without a `/` at either end; empty for the root.
    pub(crate) path: PathBuf,
    /// Whether the path ended with a `/`, hence must be a directory.
    pub(crate) directory: bool,
}

/// The name that the path of a URI stands for.
///
/// 400 for what no path can be: a `%` without two hexadecimal digits after it (RFC 3986, 2.1), a
/// zero byte, something that does not begin with `/`. 404 for what we have no files for: hidden ones
/// (which covers `.` and `..`), empty segments (`//`), and segments with a `/` or a `\` in them,
/// which other programs may take for two.
pub(crate) fn parse(path: &str) -> Result<Name, StatusCode> {
    let path = path.strip_prefix('/').ok_or(StatusCode::BAD_REQUEST)?;
    if path.is_empty() {
        return Ok(Name { path: PathBuf::new(), directory: true });
    }
    let (path, directory) = match path.strip_suffix('/') {
        Some(path) => (path, true),
        None => (path, false),
    };
    let mut name = Vec::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            name.push(b'/');
        }
        name.extend(decode(segment)?);
    }
    Ok(Name { path: OsString::from_vec(name).into(), directory })
}

fn decode(segment: &str) -> Result<Vec<u8>, StatusCode> {
    let mut escapes = segment.split('%').skip(1).map(str::as_bytes);
    if !escapes.all(|rest| rest.len() >= 2 && rest[..2].iter().all(u8::is_ascii_hexdigit)) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let name: Vec<u8> = percent_decode_str(segment).collect();
    if name.contains(&0) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let hidden = name.first().is_none_or(|&first| first == b'.');
    if hidden || name.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
        return Err(StatusCode::NOT_FOUND);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str, directory: bool) -> Result<Name, StatusCode> {
        Ok(Name { path: path.into(), directory })
    }

    #[test]
    fn names_are_decoded_and_relative() {
        assert_eq!(parse("/"), name("", true));
        assert_eq!(parse("/a"), name("a", false));
        assert_eq!(parse("/a/b.txt"), name("a/b.txt", false));
        assert_eq!(parse("/a/"), name("a", true));
        assert_eq!(parse("/a%20b%2Etxt"), name("a b.txt", false));
        assert_eq!(parse("/%C3%A9/a..b/c~"), name("é/a..b/c~", false));
        let latin1 = OsString::from_vec(vec![0xe9]);
        assert_eq!(parse("/%e9").map(|name| name.path), Ok(latin1.into()));
    }

    #[test]
    fn what_is_no_path_is_a_bad_request() {
        for path in ["", "*", "a", "/%", "/a%2", "/%zz", "/%+1", "/%00", "/a%00.txt", "/%%41"] {
            assert_eq!(parse(path), Err(StatusCode::BAD_REQUEST), "{path}");
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_not_found() {
        let hidden = ["/.", "/..", "/../", "/.git/config", "/a/.b", "/%2e%2e/", "/a/%2E./b"];
        let empty = ["//", "//host", "///", "/a//b", "/a//"];
        let separators = ["/a%2fb", "/..%2f..", "/a%5Cb", "/a\\..\\b", "/%2f%2fhost"];
        for path in hidden.into_iter().chain(empty).chain(separators) {
            assert_eq!(parse(path), Err(StatusCode::NOT_FOUND), "{path}");
        }
    }
}

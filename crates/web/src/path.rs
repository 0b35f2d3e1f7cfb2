//! What a request's path means as the name of a file, and which paths mean none.
//!
//! This is about names alone. That no link leads out of the root is the kernel's affair
//! ([`tine_os::beneath`]).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// What is escaped where a path is written as a URI: everything but the characters of a segment (RFC 3986, 3.3). A
/// backslash is among it: browsers take one behind the first slash for a second slash, and what follows for a host.
pub(crate) const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');
/// The one name with a dot that is served unless told otherwise, at the root (RFC 8615).
const WELL_KNOWN: &[u8] = b".well-known";

/// The name of a file or a directory, relative to the root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// Without a `/` at either end; empty for the root.
    pub(crate) path: PathBuf,
    /// Whether the path ended with a `/`, or a `.` or `..` behind one: then it must be a directory.
    pub(crate) directory: bool,
}

impl Name {
    /// The path of a URI that leads here as to a directory. It begins with one `/` and ends with one, so as a
    /// reference it can only be an address on the same host (RFC 3986, 4.2).
    pub(crate) fn as_directory(&self) -> String {
        match self.path.as_os_str().as_bytes() {
            b"" => "/".to_owned(),
            path => format!("/{}/", percent_encode(path, ESCAPED)),
        }
    }
}

/// The name that the path of a URI stands for. `dotfiles`: names that begin with a dot mean something.
///
/// The path is normalised first: it is taken apart at each `/`, the segments are decoded, empty ones and `.` are left out,
/// and `..` takes back the one before it. At the root `..` means nothing (RFC 3986, 5.2.4).
///
/// 400 for what no path can be: a `%` without two hexadecimal digits after it (RFC 3986, 2.1), a
/// zero byte, something that does not begin with `/`. 404 for what we have no files for: names that begin with a dot,
/// and segments with an encoded `/` in them, which other programs may take for two.
pub(crate) fn parse(path: &str, dotfiles: bool) -> Result<Name, StatusCode> {
    let path = path.strip_prefix('/').ok_or(StatusCode::BAD_REQUEST)?;
    let mut segments: Vec<Vec<u8>> = Vec::new();
    let mut directory = true;
    for segment in path.split('/') {
        let name = decode(segment)?;
        directory = matches!(&*name, b"" | b"." | b"..");
        match &*name {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            _ => segments.push(name),
        }
    }
    // Only what is left is looked at: a `..` takes a hidden name back, too.
    let shown = |(index, name): (usize, &Vec<u8>)| {
        dotfiles || !name.starts_with(b".") || (index == 0 && name == WELL_KNOWN)
    };
    if !segments.iter().enumerate().all(shown) || segments.iter().any(|name| name.contains(&b'/')) {
        return Err(StatusCode::NOT_FOUND);
    }
    Ok(Name { path: OsString::from_vec(segments.join(&b'/')).into(), directory })
}

fn decode(segment: &str) -> Result<Vec<u8>, StatusCode> {
    let mut escapes = segment.split('%').skip(1).map(str::as_bytes);
    if !escapes.all(|rest| rest.len() >= 2 && rest[..2].iter().all(u8::is_ascii_hexdigit)) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let name: Vec<u8> = percent_decode_str(segment).collect();
    if name.contains(&0) { Err(StatusCode::BAD_REQUEST) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(path: &str) -> Result<Name, StatusCode> {
        parse(path, false)
    }

    fn name(path: &str, directory: bool) -> Result<Name, StatusCode> {
        Ok(Name { path: path.into(), directory })
    }

    #[test]
    fn names_are_decoded_and_relative() {
        assert_eq!(parsed("/"), name("", true));
        assert_eq!(parsed("/a"), name("a", false));
        assert_eq!(parsed("/a/b.txt"), name("a/b.txt", false));
        assert_eq!(parsed("/a/"), name("a", true));
        assert_eq!(parsed("/a%20b%2Etxt"), name("a b.txt", false));
        assert_eq!(parsed("/%C3%A9/a..b/c~"), name("é/a..b/c~", false));
        assert_eq!(parsed("/a%5Cb/\\"), name("a\\b/\\", false));
        let latin1 = OsString::from_vec(vec![0xe9]);
        assert_eq!(parsed("/%e9").map(|name| name.path), Ok(latin1.into()));
    }

    #[test]
    fn doubled_slashes_and_dots_are_taken_out_and_never_lead_above_the_root() {
        for (path, expected, directory) in [
            ("//a", "a", false),
            ("/a//b///c", "a/b/c", false),
            ("/a//", "a", true),
            ("///", "", true),
            ("/./a/./b", "a/b", false),
            ("/a/.", "a", true),
            ("/a/b/..", "a", true),
            ("/a/../b", "b", false),
            ("/a//../b", "b", false),
            ("/a/%2E%2e/%2e/b", "b", false),
            ("/../a", "a", false),
            ("/..", "", true),
            ("/a/../../../b/..//c", "c", false),
            ("/.git/../a", "a", false),
        ] {
            assert_eq!(parsed(path), name(expected, directory), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_a_bad_request() {
        let undone = ["/%zz/../a", "/%00/../a"];
        for path in ["", "*", "a", "/%", "/a%2", "/%zz", "/%+1", "/%00", "/a%00.txt", "/%%41"] {
            assert_eq!(parsed(path), Err(StatusCode::BAD_REQUEST), "{path}");
        }
        for path in undone {
            assert_eq!(parsed(path), Err(StatusCode::BAD_REQUEST), "{path}");
        }
    }

    #[test]
    fn names_with_a_dot_and_encoded_slashes_are_not_found() {
        let hidden = ["/.git/config", "/a/.b", "/a/%2Eb", "/...", "/.../", "/.a/..b"];
        let known = ["/a/.well-known/b", "/.well-known/.b", "/.well-knowns", "/.Well-Known"];
        let separators = ["/a%2fb", "/..%2f..", "/%2f%2fhost", "/%2e%2f"];
        for path in hidden.into_iter().chain(known).chain(separators) {
            assert_eq!(parsed(path), Err(StatusCode::NOT_FOUND), "{path}");
        }
        assert_eq!(parsed("/.well-known/a"), name(".well-known/a", false));
        assert_eq!(parsed("/b/../%2ewell-known/"), name(".well-known", true));
        assert_eq!(parse("/.a/.b/..c", true), name(".a/.b/..c", false));
        assert_eq!(parse("/..%2f..", true), Err(StatusCode::NOT_FOUND));
    }

    #[test]
    fn what_is_written_as_a_reference_stays_on_its_host_and_leads_to_the_same() {
        for (path, expected) in [
            ("/", "/"),
            ("//host", "/host/"),
            ("/%5Chost", "/%5Chost/"),
            ("/\\/host", "/%5C/host/"),
            ("/a b/%C3%A9?", "/a%20b/%C3%A9%3F/"),
            ("/%68ost:80/..", "/"),
            ("/javascript:x", "/javascript:x/"),
            ("/%0d%0aA:b", "/%0D%0AA:b/"),
            ("/%25%32%65", "/%252e/"),
        ] {
            let name = parse(path, false).expect(path);
            assert_eq!(name.as_directory(), expected, "{path}");
            let again = parse(expected, false).expect(expected);
            assert_eq!(again, Name { directory: true, ..name }, "{path}");
        }
    }
}

//! A directory, served: the files in it by GET and HEAD, and nothing that is not beneath it.

use std::convert::Infallible;
use std::fmt;
use std::fs::{File, Metadata};
use std::future::{Ready, ready};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use mime_guess::{MimeGuess, mime};
use tine_os::beneath::{self, open_beneath, open_directory};
use tower_service::Service;

use crate::body::FileBody;
use crate::page;
use crate::path::{self, Name};
use crate::validators::Validators;

/// What is served for a directory: the first of these that is a file in it (row M11).
const INDEX: [&str; 2] = ["index.html", "index.htm"];

/// A tower service that answers with the files of a directory.
///
/// GET and HEAD; another method gets 405. A directory is answered with its `index.html` or
/// `index.htm`, and has no listing; without a `/` at the end of the path it gets 308 to the path
/// with one. Files and directories whose names begin with a dot do not exist for it, nor does what is
/// not a regular file, nor what symbolic links reach outside the root. `If-None-Match` and
/// `If-Modified-Since` are honoured.
///
/// Cheap to clone. The request's body is not looked at.
#[derive(Clone, Debug)]
pub struct Files {
    root: Arc<OwnedFd>,
}

/// Why a directory cannot be served; its source is the system's reason.
#[derive(Debug)]
pub struct FilesError {
    root: PathBuf,
    source: io::Error,
}

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot serve the directory {}", self.root.display())
    }
}

impl std::error::Error for FilesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// What a request's path leads to: a file, or a directory that was asked for without a `/` at the
/// end.
struct Found {
    file: File,
    metadata: Metadata,
    path: PathBuf,
}

impl Files {
    /// Serves what is beneath `root`. The directory is opened here, once: it stays the same one when
    /// it is renamed, and when the process gets another root.
    ///
    /// # Errors
    /// When there is no such directory, or it may not be entered.
    pub fn new(root: PathBuf) -> Result<Self, FilesError> {
        match open_directory(&root) {
            Ok(directory) => Ok(Self { root: Arc::new(directory) }),
            Err(source) => Err(FilesError { root, source }),
        }
    }

    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<FileBody> {
        let head = method == Method::HEAD;
        if !head && method != Method::GET {
            return page::wrong_method();
        }
        let response = match path::parse(uri.path()).and_then(|name| self.find(name)) {
            Ok(found) if found.metadata.is_dir() => page::with_slash(uri),
            Ok(found) => found.response(headers, head),
            Err(status) => page::status(status),
        };
        // The fields are those of the answer to GET, the length too (RFC 9110, 9.3.2).
        if head { response.map(|_| FileBody::empty()) } else { response }
    }

    fn find(&self, name: Name) -> Result<Found, StatusCode> {
        if !name.directory {
            return self.open(name.path);
        }
        for index in INDEX {
            match self.open(name.path.join(index)) {
                Err(StatusCode::NOT_FOUND) => {}
                Ok(found) if found.metadata.is_dir() => {}
                found => return found,
            }
        }
        Err(StatusCode::NOT_FOUND)
    }

    fn open(&self, path: PathBuf) -> Result<Found, StatusCode> {
        let file = open_beneath(&*self.root, &path).map_err(|error| status_of(&error))?;
        let metadata = file.metadata().map_err(|error| status_of(&error))?;
        if metadata.is_file() || metadata.is_dir() {
            Ok(Found { file, metadata, path })
        } else {
            Err(StatusCode::NOT_FOUND)
        }
    }
}

impl Found {
    /// The answer of a file to GET, for HEAD without having read it.
    fn response(self, request: &HeaderMap, head: bool) -> Response<FileBody> {
        let mut response = Response::new(FileBody::empty());
        let validators = Validators::new(&self.metadata, SystemTime::now());
        validators.insert(response.headers_mut());
        if validators.is_known(request) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        let length = self.metadata.len();
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, length.into());
        headers.insert(CONTENT_TYPE, content_type(&self.path));
        if !head {
            match FileBody::file(self.file, length) {
                Ok(body) => *response.body_mut() = body,
                Err(error) => return page::status(status_of(&error)),
            }
        }
        response
    }
}

impl<B> Service<Request<B>> for Files {
    type Response = Response<FileBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<FileBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(request.method(), request.uri(), request.headers())))
    }
}

/// By the extension of the name; text is UTF-8.
fn content_type(path: &Path) -> HeaderValue {
    let kind = MimeGuess::from_path(path).first_or_octet_stream();
    let text = kind.type_() == mime::TEXT && kind.get_param(mime::CHARSET).is_none();
    let value = if text { format!("{kind}; charset=utf-8") } else { kind.to_string() };
    HeaderValue::try_from(value)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"))
}

/// What a client is told of a file that cannot be opened or read.
fn status_of(error: &io::Error) -> StatusCode {
    if beneath::names_nothing(error) {
        StatusCode::NOT_FOUND
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        StatusCode::FORBIDDEN
    } else if beneath::is_passing(error) {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_say_whose_fault_it_is() {
        let status = |kind: io::ErrorKind| status_of(&kind.into());
        assert_eq!(status(io::ErrorKind::PermissionDenied), StatusCode::FORBIDDEN);
        assert_eq!(status(io::ErrorKind::UnexpectedEof), StatusCode::INTERNAL_SERVER_ERROR);
        let errno = |errno: rustix::io::Errno| status_of(&errno.into());
        assert_eq!(errno(rustix::io::Errno::ACCESS), StatusCode::FORBIDDEN);
        assert_eq!(errno(rustix::io::Errno::LOOP), StatusCode::NOT_FOUND);
        assert_eq!(errno(rustix::io::Errno::MFILE), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(errno(rustix::io::Errno::IO), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn text_is_utf8_and_what_is_unknown_is_bytes() {
        for (name, expected) in [
            ("a.html", "text/html; charset=utf-8"),
            ("a.CSS", "text/css; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.txt", "text/plain; charset=utf-8"),
            ("a.svg", "image/svg+xml"),
            ("a.json", "application/json"),
            ("a.png", "image/png"),
            ("a.unheard-of", "application/octet-stream"),
            ("a", "application/octet-stream"),
        ] {
            assert_eq!(content_type(Path::new(name)), expected, "{name}");
        }
    }
}

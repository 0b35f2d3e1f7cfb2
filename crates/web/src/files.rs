//! A directory, served: the files in it by GET and HEAD, and nothing that is not beneath it.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use tine_http::FileBody;
use tine_os::beneath::{self, open_beneath, open_directory};
use tower_service::Service;

use crate::answer::answer;
use crate::cache::Cache;
use crate::page;
use crate::path::{self, Name};
use crate::resource::{Looked, Opened, Resource};

/// What is served for a directory: the first of these that is a file in it (row M11).
const INDEX: [&str; 2] = ["index.html", "index.htm"];
/// How long what was seen of a file is believed, unless told.
const TRUST: Duration = Duration::from_secs(1);

/// A tower service that answers with the files of a directory.
///
/// GET and HEAD; another method gets 405. A directory is answered with its `index.html` or
/// `index.htm`, and has no listing; without a `/` at the end of the path it gets 308 to the path
/// with one. Files and directories whose names begin with a dot do not exist for it, nor does what is
/// not a regular file, nor what symbolic links reach outside the root.
///
/// **Versions.** `ETag` and `Last-Modified` are sent, all conditions of RFC 9110, 13, are honoured.
/// Equal tags mean equal bytes, but for a file written to less than two seconds ago, and for what is
/// compressed here: those have weak ones.
///
/// **Ranges** of bytes: up to 16 that do not overlap, several as `multipart/byteranges`; who asks for
/// more gets the whole.
///
/// **Codings.** Of a file that is text or the like (by its type), `NAME.br`, `NAME.zst` or `NAME.gz` beside
/// it is sent instead where the client takes it and it is no older. Without one, files from 1 KiB to 8 MiB are
/// compressed with gzip while they are sent.
///
/// **What is remembered.** Files stay open, and those up to 16 KiB in memory: at most 512 of them, 128
/// descriptors and 1 MiB in each process. They are looked at again after a second
/// ([`recheck_after`](Self::recheck_after)).
///
/// Cheap to clone; clones share what is remembered. The request's body is not looked at.
#[derive(Clone, Debug)]
pub struct Files {
    root: Arc<OwnedFd>,
    cache: Arc<Cache>,
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

/// What a path leads to instead of a file.
enum Miss {
    /// A directory that was asked for without a `/` at the end.
    Directory,
    Status(StatusCode),
}

impl From<StatusCode> for Miss {
    fn from(status: StatusCode) -> Self {
        Self::Status(status)
    }
}

impl From<io::Error> for Miss {
    fn from(error: io::Error) -> Self {
        Self::Status(status_of(&error))
    }
}

impl Files {
    /// Serves what is beneath `root`. The directory is opened here, once: it stays the same one when
    /// it is renamed, and when the process gets another root.
    ///
    /// # Errors
    /// When there is no such directory, or it may not be entered.
    pub fn new(root: PathBuf) -> Result<Self, FilesError> {
        match open_directory(&root) {
            Ok(directory) => {
                Ok(Self { root: Arc::new(directory), cache: Arc::new(Cache::new(TRUST)) })
            }
            Err(source) => Err(FilesError { root, source }),
        }
    }

    /// How long what was seen of a file is believed: within this time after a look at it, the file as it was
    /// then may still be sent. One second unless told; zero looks anew for every request.
    #[must_use]
    pub fn recheck_after(self, trust: Duration) -> Self {
        Self { cache: Arc::new(Cache::new(trust)), ..self }
    }

    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<FileBody> {
        let head = method == Method::HEAD;
        if !head && method != Method::GET {
            return page::wrong_method();
        }
        let response = match self.find(uri.path()) {
            Ok(found) => found.with_version(headers, |version| answer(version, head, headers)),
            Err(Miss::Directory) => page::with_slash(uri),
            Err(Miss::Status(status)) => page::status(status),
        };
        // The fields are those of the answer to GET, the length too (RFC 9110, 9.3.2).
        if head { response.map(|_| FileBody::empty()) } else { response }
    }

    fn find(&self, path: &str) -> Result<Arc<Resource>, Miss> {
        let now = Instant::now();
        let known = match self.cache.find(path, now) {
            Some((resource, true)) => return Ok(resource),
            known => known.map(|(resource, _)| resource),
        };
        let looked = path::parse(path).map_err(Miss::from).and_then(|name| self.look(name));
        let resource = looked.and_then(|looked| match known {
            Some(known) if known.is(&looked) => Ok(known),
            _ => Ok(Arc::new(Resource::new(looked, SystemTime::now())?)),
        });
        match &resource {
            Ok(resource) => self.cache.keep(path, resource, now),
            Err(_) => self.cache.forget(path),
        }
        resource
    }

    fn look(&self, name: Name) -> Result<Looked, Miss> {
        if !name.directory {
            let opened = self.open(&name.path)?;
            return match opened.metadata.is_dir() {
                true => Err(Miss::Directory),
                false => Ok(self.with_siblings(&name.path, opened)),
            };
        }
        for index in INDEX {
            let path = name.path.join(index);
            match self.open(&path) {
                Err(StatusCode::NOT_FOUND) => {}
                Ok(opened) if opened.metadata.is_dir() => {}
                opened => return Ok(self.with_siblings(&path, opened?)),
            }
        }
        Err(Miss::Status(StatusCode::NOT_FOUND))
    }

    fn with_siblings(&self, path: &Path, opened: Opened) -> Looked {
        Looked::new(path, opened, |sibling| self.open(sibling).ok())
    }

    /// A regular file or a directory.
    fn open(&self, path: &Path) -> Result<Opened, StatusCode> {
        let file = open_beneath(&*self.root, path).map_err(|error| status_of(&error))?;
        let metadata = file.metadata().map_err(|error| status_of(&error))?;
        if metadata.is_file() || metadata.is_dir() {
            Ok(Opened { file, metadata })
        } else {
            Err(StatusCode::NOT_FOUND)
        }
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
}

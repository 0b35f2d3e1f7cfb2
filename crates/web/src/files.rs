//! A directory, served: the files in it by GET and HEAD, and nothing that is not beneath it.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use tine_http::{FileBody, Reason};
use tine_os::beneath::{self, open_beneath};
use tower_service::Service;

use crate::answer::answer;
use crate::cache::Cache;
use crate::page;
use crate::path::{self, Name};
use crate::resource::{Looked, Opened, Resource, Unread};
use crate::root::{Gone, Root};

/// What is served for a directory: the first of these that is a file in it (row M11).
const INDEX: [&str; 2] = ["index.html", "index.htm"];
/// How long what was seen of a file is believed, unless told.
const TRUST: Duration = Duration::from_secs(1);

/// A tower service that answers with the files of a directory.
///
/// GET and HEAD; another method gets 405, one that is not registered 501. A directory is answered with its `index.html` or
/// `index.htm`, and has no listing; without a `/` at the end of the path it gets 301 to the path
/// with one. What is not a regular file does not exist for it, nor what symbolic links reach outside the root. Absolute links
/// are followed where their target begins with the root's path.
///
/// **Paths** are normalised before anything else: doubled slashes, `.` and `..`, percent-encoded or not, are taken out, and
/// none leads above the root. Names that begin with a dot do not exist, but for `/.well-known/` (RFC 8615), unless
/// [`dotfiles`](Self::dotfiles) says so.
///
/// **Versions.** `ETag` and `Last-Modified` are sent, all conditions of RFC 9110, 13, are honoured. The tag is made of size
/// and time of change, so copies of a site agree on it where these are kept. It is weak for a file written to less than
/// two seconds ago, and for what is compressed here. A file whose time of change is 0 or 1 has neither.
///
/// **Ranges** of bytes: up to 16 that do not overlap, several as `multipart/byteranges`; who asks for
/// more gets the whole.
///
/// **Codings.** Of a file that is text or the like (by its type), `NAME.br`, `NAME.zst` or `NAME.gz` beside
/// it is sent instead where the client takes it and it is no older. Without one, files from 1 KiB to 8 MiB are
/// compressed with gzip while they are sent.
///
/// **What is remembered.** Files stay open, and those up to 16 KiB in memory: at most 512 of them, 128
/// descriptors and 1 MiB in each process. They and the root are looked at again after a second
/// ([`recheck_after`](Self::recheck_after)). Where descriptors run out those that are remembered are given up first.
///
/// **Trouble.** What cannot be read is answered with 403, 500 or 503, and the answer has the [`Reason`] in its extensions,
/// which `tine-http` logs. A root that is gone is 503, and its reason is given once for all processes.
///
/// Cheap to clone; clones share what is remembered. The request's body is not looked at.
#[derive(Clone, Debug)]
pub struct Files {
    root: Arc<Root>,
    cache: Arc<Cache>,
    dotfiles: bool,
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
    Directory(Name),
    /// With words for the log.
    Status(StatusCode, Option<String>),
}

impl From<StatusCode> for Miss {
    fn from(status: StatusCode) -> Self {
        Self::Status(status, None)
    }
}

impl Files {
    /// Serves what is beneath `root`: the directory that is found there, looked for again every second
    /// ([`recheck_after`](Self::recheck_after)). So a link that is turned and a directory that is deleted and made anew
    /// are followed, and as long as there is none, the answer is 503. A relative path is one of the working directory of
    /// this moment.
    ///
    /// Where this is called as root, and other users may not enter all directories on the way to `root`, the directory is kept
    /// open: a worker with another user serves it on where it cannot find it by its path. Else a directory is open
    /// only while it is used.
    ///
    /// # Errors
    /// When there is no such directory, or it may not be entered.
    pub fn new(root: PathBuf) -> Result<Self, FilesError> {
        Self::open_root(root, false)
    }

    /// Serves the directory that is at `root` now, whatever becomes of the path: for workers that get another root
    /// directory, or a site that is mounted somewhere else later.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn pinned(root: PathBuf) -> Result<Self, FilesError> {
        Self::open_root(root, true)
    }

    fn open_root(path: PathBuf, pinned: bool) -> Result<Self, FilesError> {
        match Root::new(&path, pinned) {
            Ok(root) => {
                let cache = Arc::new(Cache::new(TRUST));
                Ok(Self { root: Arc::new(root), cache, dotfiles: false })
            }
            Err(source) => Err(FilesError { root: path, source }),
        }
    }

    /// How long what was seen of a file, or of the root, is believed: within this time after a look at it, the file as it
    /// was then may still be sent. One second unless told; zero looks anew for every request.
    #[must_use]
    pub fn recheck_after(self, trust: Duration) -> Self {
        Self { cache: Arc::new(Cache::new(trust)), ..self }
    }

    /// Whether files and directories whose names begin with a dot are served. They are not unless told, for
    /// `.git` and `.htpasswd` are among them; but `/.well-known/` always is.
    #[must_use]
    pub fn dotfiles(self, served: bool) -> Self {
        Self { dotfiles: served, ..self }
    }

    /// Closes files, and the root, that no request has used for two seconds. Says when to call it again, if something is still
    /// open: for a process that has nothing else to do. A deleted file takes its space as long as it is open, and a file
    /// system with an open file cannot be unmounted. What is in memory stays.
    #[must_use = "it says when to call it again"]
    pub fn let_go(&self) -> Option<Duration> {
        let now = Instant::now();
        let dues = [self.root.let_go(now), self.cache.let_go(now)];
        dues.into_iter().flatten().min()
    }

    /// Closes all files that are only remembered: for a process that has no descriptor left. What is being sent
    /// stays open.
    pub fn let_go_of_all(&self) {
        self.cache.close();
    }

    pub(crate) fn answer(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Response<FileBody> {
        let head = method == Method::HEAD;
        if !head && method != Method::GET {
            return page::wrong_method(method);
        }
        let mut words = None;
        let mut response = match self.find(uri.path(), &mut words) {
            Ok(found) => found.with_version(headers, |version| answer(version, head, headers)),
            Err(Miss::Directory(name)) => page::with_slash(&name, uri, method),
            Err(Miss::Status(status, reason)) => {
                words = reason.or(words);
                page::status(status)
            }
        };
        if let Some(words) = words {
            response.extensions_mut().insert(Reason(words));
        }
        // The fields are those of the answer to GET, the length too (RFC 9110, 9.3.2).
        if head { response.map(|_| FileBody::empty()) } else { response }
    }

    /// `words` are for the log.
    fn find(&self, path: &str, words: &mut Option<String>) -> Result<Arc<Resource>, Miss> {
        let now = Instant::now();
        match self.root.see(now, self.cache.trust(), || self.cache.close()) {
            Ok(seen) => {
                *words = seen.words;
                if seen.another {
                    self.cache.clear();
                }
            }
            Err(Gone(words)) => {
                self.cache.clear();
                return Err(Miss::Status(StatusCode::SERVICE_UNAVAILABLE, words));
            }
        }
        let known = match self.cache.find(path, now) {
            Some((resource, true)) => return Ok(resource),
            known => known.map(|(resource, _)| resource),
        };
        let looked = path::parse(path, self.dotfiles).map_err(Miss::from);
        let looked = looked.and_then(|name| self.look(name));
        let resource = looked.and_then(|looked| match known {
            Some(known) if known.is(&looked) => Ok(known),
            _ => {
                let read = Resource::new(looked, SystemTime::now());
                Ok(Arc::new(read.map_err(|Unread { path, error }| self.miss(&path, &error))?))
            }
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
                true => Err(Miss::Directory(name)),
                false => Ok(self.with_siblings(opened)),
            };
        }
        for index in INDEX {
            match self.open(&name.path.join(index)) {
                Err(Miss::Status(StatusCode::NOT_FOUND, _)) => {}
                Ok(opened) if opened.metadata.is_dir() => {}
                opened => return Ok(self.with_siblings(opened?)),
            }
        }
        Err(StatusCode::NOT_FOUND.into())
    }

    fn with_siblings(&self, opened: Opened) -> Looked {
        Looked::new(opened, |sibling| self.open(sibling).ok())
    }

    /// A regular file or a directory.
    fn open(&self, path: &Path) -> Result<Opened, Miss> {
        let root = self.root.directory().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        let open = || open_beneath(&*root, Some(self.root.path()), path);
        let mut opened = open();
        if opened.as_ref().is_err_and(beneath::is_out_of_descriptors) {
            self.cache.close();
            opened = open();
        }
        let looked = opened.and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = looked.map_err(|error| self.miss(path, &error))?;
        if metadata.is_file() || metadata.is_dir() {
            Ok(Opened { file, metadata, path: path.to_owned() })
        } else {
            Err(StatusCode::NOT_FOUND.into())
        }
    }

    /// What a client is told of a file that cannot be opened or read, and the log.
    fn miss(&self, path: &Path, error: &io::Error) -> Miss {
        let status = status_of(error);
        let words = || format!("{}: {error}", self.root.path().join(path).display());
        Miss::Status(status, (status != StatusCode::NOT_FOUND).then(words))
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

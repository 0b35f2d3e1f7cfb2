//! The directory that is served, found by its path again and again: a site is deployed by turning a link, or by deleting the
//! directory and building it anew.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf, absolute};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tine_os::beneath::{is_out_of_descriptors, is_passing, open_directory};
use tine_os::privilege::effective_uid;
use tine_os::word::SharedWord;

use crate::cache::REST;

/// What the processes that share a root have last told of it.
const NOTHING: u64 = 0;
const GONE: u64 = 1;
const KEPT: u64 = 2;

/// See the module. Made once; each process that is forked then has its own view of it.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    /// The directory as it was when the root was made, where a process with fewer rights may not find it by its path.
    kept: Option<Arc<File>>,
    /// That one is served whatever there is at the path.
    pinned: bool,
    view: Mutex<View>,
    /// What was told of it last: not each of the processes needs to say the same.
    told: Option<SharedWord>,
}

/// The directory as a process sees it.
#[derive(Debug, Default)]
struct View {
    directory: Option<Arc<File>>,
    /// Device and inode of the last directory there was.
    identity: Option<(u64, u64)>,
    looked: Option<Instant>,
    used: Option<Instant>,
}

/// What a look found.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// It is another directory than before: what is remembered of that one means nothing.
    pub(crate) another: bool,
    /// For the log.
    pub(crate) words: Option<String>,
}

/// There is no directory. With words about it for the log, if they are new.
#[derive(Debug)]
pub(crate) struct Gone(pub(crate) Option<String>);

impl Root {
    /// The directory must be there, and is opened to see that. `pinned`: it is served from then on, whatever there is at
    /// its path.
    pub(crate) fn new(path: &Path, pinned: bool) -> io::Result<Self> {
        // A daemon, and a worker that leaves its cores somewhere, changes its working directory.
        let path = absolute(path)?;
        let directory = File::from(open_directory(&path)?);
        let kept = (pinned || is_secluded(&path)).then(|| Arc::new(directory));
        Ok(Self { path, kept, pinned, view: Mutex::default(), told: SharedWord::new().ok() })
    }

    /// Its path, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory as it was last seen.
    pub(crate) fn directory(&self) -> Option<Arc<File>> {
        self.view().directory.clone()
    }

    /// Looks at the path again unless that was done within `trust`. `relieve` frees descriptors.
    pub(crate) fn see(
        &self,
        now: Instant,
        trust: Duration,
        relieve: impl FnOnce(),
    ) -> Result<Seen, Gone> {
        let mut view = self.view();
        view.used = Some(now);
        if view.looked.is_some_and(|looked| now.saturating_duration_since(looked) < trust) {
            return if view.directory.is_some() { Ok(Seen::default()) } else { Err(Gone(None)) };
        }
        let mut found = self.open();
        if found.as_ref().is_err_and(is_out_of_descriptors) {
            relieve();
            found = self.open();
        }
        match found {
            Ok((directory, identity, words)) => {
                let another = view.identity.replace(identity).is_some_and(|it| it != identity);
                (view.directory, view.looked) = (Some(directory), Some(now));
                Ok(Seen { another, words })
            }
            // As far as is known it is still there.
            Err(error) if is_passing(&error) && view.directory.is_some() => Ok(Seen::default()),
            Err(error) => {
                view.directory = None;
                view.looked = (!is_passing(&error)).then_some(now);
                let words = || format!("no directory {}: {error}", self.path.display());
                Err(Gone(self.is_news(GONE).then(words)))
            }
        }
    }

    /// The directory there is now, its device and inode, and words for the log.
    #[expect(clippy::type_complexity, reason = "it is taken apart at once")]
    fn open(&self) -> io::Result<(Arc<File>, (u64, u64), Option<String>)> {
        let (directory, words) = match (&self.kept, open_directory(&self.path)) {
            (Some(kept), _) if self.pinned => (kept.clone(), None),
            (Some(kept), Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                let words = || {
                    let path = self.path.display();
                    format!("the directory opened at the start is served on: {path}: {error}")
                };
                (kept.clone(), self.is_news(KEPT).then(words))
            }
            (_, opened) => {
                let opened = File::from(opened?);
                self.is_news(NOTHING);
                (Arc::new(opened), None)
            }
        };
        let metadata = directory.metadata()?;
        Ok((directory, (metadata.dev(), metadata.ino()), words))
    }

    /// Closes the directory unless it was used within [`REST`]; says when that is over, if it is not.
    pub(crate) fn let_go(&self, now: Instant) -> Option<Duration> {
        let mut view = self.view();
        let used = view.used.filter(|_| view.directory.is_some())?;
        let left = REST.saturating_sub(now.saturating_duration_since(used));
        if left.is_zero() {
            (view.directory, view.looked) = (None, None);
            return None;
        }
        Some(left)
    }

    /// Whether no process has told this last.
    fn is_news(&self, now: u64) -> bool {
        self.told.as_ref().is_none_or(|told| told.swap(now, Relaxed) != now)
    }

    /// Nothing in it is ever half done, so what a panic left is good.
    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether root can find this path and another user may not: some directory on the way is not for all to enter.
fn is_secluded(path: &Path) -> bool {
    let is_open = |directory: &Path| {
        fs::metadata(directory).is_ok_and(|metadata| metadata.mode() & 0o001 != 0)
    };
    let leads = |path: &Path| path.ancestors().skip(1).all(is_open);
    let target = fs::canonicalize(path);
    effective_uid() == 0 && !(leads(path) && target.is_ok_and(|target| leads(&target)))
}

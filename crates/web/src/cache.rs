//! What a process remembers of the files it was asked for: they are open, and looked at again no sooner
//! than after a while. nginx's `open_file_cache` is the same idea.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::resource::Resource;

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    entries: usize,
    /// Bytes of content and paths.
    bytes: usize,
    /// Open files.
    files: usize,
}

/// A worker that has 1024 descriptors, the usual limit, keeps most of them for its connections.
const BOUNDS: Bounds = Bounds { entries: 512, bytes: 1 << 20, files: 128 };
/// What no request asked for in this time is let go when something else comes.
const UNUSED: Duration = Duration::from_secs(60);
/// The same of what is open: a deleted file takes its space as long as it is, and a file system cannot be unmounted. To open
/// it again is no more than the look that is due by then.
pub(crate) const REST: Duration = Duration::from_secs(2);

/// The memory. Workers have one each, made empty before the fork; the lock is for servers with several
/// threads, and in a worker never waited for.
#[derive(Debug)]
pub(crate) struct Cache {
    table: Mutex<Table>,
    /// How long what was seen is believed.
    trust: Duration,
}

#[derive(Debug)]
struct Table {
    entries: HashMap<Box<str>, Entry>,
    /// Of all entries together.
    bytes: usize,
    files: usize,
    bounds: Bounds,
    /// When what is open is to be looked through; `None` if nothing is.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    resource: Arc<Resource>,
    seen: Instant,
    used: Instant,
}

impl Cache {
    pub(crate) fn new(trust: Duration) -> Self {
        let table =
            Table { entries: HashMap::new(), bytes: 0, files: 0, bounds: BOUNDS, due: None };
        Self { table: Mutex::new(table), trust }
    }

    /// How long what was seen is believed.
    pub(crate) fn trust(&self) -> Duration {
        self.trust
    }

    /// What a path led to, and whether that is still to be believed.
    pub(crate) fn find(&self, path: &str, now: Instant) -> Option<(Arc<Resource>, bool)> {
        let mut table = self.table();
        let entry = table.entries.get_mut(path)?;
        entry.used = now;
        let fresh = now.saturating_duration_since(entry.seen) < self.trust;
        Some((entry.resource.clone(), fresh))
    }

    /// Remembers what a path was seen to lead to.
    pub(crate) fn keep(&self, path: &str, resource: &Arc<Resource>, now: Instant) {
        let mut table = self.table();
        table.remove(path);
        table.insert(path, Entry { resource: resource.clone(), seen: now, used: now });
    }

    /// The path leads nowhere any more.
    pub(crate) fn forget(&self, path: &str) {
        self.table().remove(path);
    }

    /// Everything is another one now.
    pub(crate) fn clear(&self) {
        self.table().remove_where(|_, _| true);
    }

    /// Gives up all descriptors, so that they can be used for something else. A file that is being sent stays open.
    pub(crate) fn close(&self) {
        self.table().remove_where(|_, files| files > 0);
    }

    /// Closes what no request has used within [`REST`]; says when to come back, if anything is still open.
    pub(crate) fn let_go(&self, now: Instant) -> Option<Duration> {
        let mut table = self.table();
        if table.due? <= now {
            table.sweep(now);
            table.due = (table.files > 0).then(|| now + REST);
        }
        table.due.map(|due| due.saturating_duration_since(now))
    }

    /// Nothing in it is ever half done, so what a panic left is good.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, path: &str, entry: Entry) {
        let (bytes, files) = cost(path, &entry);
        let (now, bounds) = (entry.used, self.bounds);
        if bytes > bounds.bytes || files > bounds.files {
            return;
        }
        self.sweep(now);
        while self.entries.len() >= bounds.entries
            || self.bytes + bytes > bounds.bytes
            || self.files + files > bounds.files
        {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(path) = oldest.map(|(path, _)| path.clone()) else { break };
            self.remove(&path);
        }
        self.bytes += bytes;
        self.files += files;
        if files > 0 {
            self.due.get_or_insert(now + REST);
        }
        self.entries.insert(path.into(), entry);
    }

    /// Removes what was not used for long.
    fn sweep(&mut self, now: Instant) {
        self.remove_where(|entry, files| {
            let unused = now.saturating_duration_since(entry.used);
            unused >= if files > 0 { REST } else { UNUSED }
        });
    }

    fn remove(&mut self, path: &str) {
        if let Some(entry) = self.entries.remove(path) {
            let (bytes, files) = cost(path, &entry);
            self.bytes -= bytes;
            self.files -= files;
        }
    }

    /// Removes what is unwanted, by what it is and how many open files it has.
    fn remove_where(&mut self, unwanted: impl Fn(&Entry, usize) -> bool) {
        let gone = self.entries.extract_if(|_, entry| unwanted(entry, entry.resource.cost().1));
        for (path, entry) in gone {
            let (bytes, files) = cost(&path, &entry);
            self.bytes -= bytes;
            self.files -= files;
        }
    }
}

fn cost(path: &str, entry: &Entry) -> (usize, usize) {
    let (bytes, files) = entry.resource.cost();
    (bytes + path.len(), files)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::resource::{Looked, Opened};

    fn resource(length: u64) -> Arc<Resource> {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(length).expect("it can grow");
        let metadata = file.metadata().expect("it has some");
        let looked = Looked::new(Opened { file, metadata, path: "it".into() }, |_| None);
        Arc::new(Resource::new(looked, SystemTime::now()).expect("it can be read"))
    }

    fn cache(bounds: Bounds) -> Cache {
        let cache = Cache::new(Duration::from_secs(1));
        cache.table().bounds = bounds;
        cache
    }

    /// Which of these is remembered.
    fn kept(cache: &Cache, paths: &[&'static str]) -> Vec<&'static str> {
        let table = cache.table();
        paths.iter().copied().filter(|path| table.entries.contains_key(*path)).collect()
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let by_entries = Bounds { entries: 2, ..BOUNDS };
        let by_bytes = Bounds { bytes: 12, ..BOUNDS };
        for (bounds, length) in [(by_entries, 0), (by_bytes, 5)] {
            let cache = cache(bounds);
            cache.keep("a", &resource(length), at(0));
            cache.keep("b", &resource(length), at(1));
            assert!(cache.find("a", at(2)).is_some());
            cache.keep("c", &resource(length), at(3));
            assert_eq!(kept(&cache, &["a", "b", "c"]), ["a", "c"]);
            cache.keep("large", &resource(bounds.bytes as u64), at(4));
            assert_eq!(kept(&cache, &["a", "c", "large"]).len(), 2);
        }
    }

    #[test]
    fn what_no_request_asks_for_is_let_go_when_something_else_comes() {
        let cache = cache(BOUNDS);
        let (now, open) = (Instant::now(), resource(100_000));
        cache.keep("a", &resource(0), now);
        cache.keep("open", &open, now);
        cache.keep("b", &resource(0), now + REST);
        assert_eq!(kept(&cache, &["a", "b", "open"]), ["a", "b"]);
        assert_eq!(Arc::strong_count(&open), 1, "it is closed");
        cache.keep("c", &resource(0), now + UNUSED);
        assert_eq!(kept(&cache, &["a", "b", "c"]), ["b", "c"]);
        let table = cache.table();
        assert_eq!((table.bytes, table.files), (2, 0));
    }

    #[test]
    fn what_is_open_is_closed_soon_after_its_last_use_and_then_there_is_nothing_to_do() {
        let cache = cache(BOUNDS);
        let (now, open) = (Instant::now(), resource(100_000));
        assert_eq!(cache.let_go(now), None);
        cache.keep("held", &resource(0), now);
        assert_eq!(cache.let_go(now), None, "nothing is open");
        cache.keep("open", &open, now);
        assert_eq!(cache.let_go(now), Some(REST));
        assert!(cache.find("open", now + REST / 2).is_some());
        assert_eq!(cache.let_go(now + REST), Some(REST), "it was used meanwhile");
        assert_eq!(cache.let_go(now + REST + REST / 2), Some(REST / 2));
        assert_eq!(cache.let_go(now + 2 * REST), None);
        assert_eq!(Arc::strong_count(&open), 1, "it is closed");
        assert_eq!(kept(&cache, &["held", "open"]), ["held"]);
        cache.keep("open", &open, now);
        cache.close();
        assert_eq!(kept(&cache, &["held", "open"]), ["held"]);
        cache.clear();
        let table = cache.table();
        assert_eq!((table.entries.len(), table.bytes, table.files), (0, 0, 0));
    }

    #[test]
    fn what_was_seen_is_believed_for_so_long() {
        let cache = cache(BOUNDS);
        let now = Instant::now();
        cache.keep("a", &resource(0), now);
        let fresh = |after| cache.find("a", now + after).expect("it is kept").1;
        assert!(fresh(Duration::from_millis(999)) && !fresh(Duration::from_secs(1)));
        cache.forget("a");
        assert!(cache.find("a", now).is_none());
    }
}

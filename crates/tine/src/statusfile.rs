//! A file that says which processes of a service there are, a line `NUMBER:PID` each: Server::Starter's status file
//! (row S11).
//!
//! In it are those that have been ready and are still there: who serves, and who finishes what it has. One that has
//! ended by itself stays until somebody is ready in its place, so that whoever waits for the next sees it come. The
//! lines are in the order of the numbers, and a reader sees the old file or the new one, never half of it.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf, absolute};
use std::process;

use tine_os::no_follow::{Found, Place, find};

use crate::{Error, Result};

/// A file that is told of its service's processes.
#[derive(Debug)]
pub(crate) struct StatusFile {
    path: PathBuf,
    creator: u32,
    rows: RefCell<Rows>,
    /// Whether this process has put one there.
    made: Cell<bool>,
}

/// Whom a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) seat: (usize, usize),
    pub(crate) number: u64,
    pub(crate) pid: u32,
}

/// The lines, and which of them are of processes that are gone.
#[derive(Debug, Default)]
struct Rows(Vec<(Row, bool)>);

impl StatusFile {
    /// Makes sure that the file can be written, and takes away one that another run has left. There is none until a
    /// process is ready.
    pub(crate) fn prepare(path: &Path) -> Result<Self> {
        let failed = |error| failed(path, error);
        let path = absolute(path).map_err(failed)?;
        let place = place(&path).map_err(failed)?;
        let beside = beside(&place).map_err(failed)?;
        replace(&beside, b"").and_then(|()| beside.remove()).map_err(failed)?;
        if is_there(&path)? {
            place.remove().map_err(failed)?;
        }
        let (rows, made) = Default::default();
        Ok(Self { path, creator: process::id(), rows, made })
    }

    /// Whether it could be written, asked without touching it.
    pub(crate) fn check(path: &Path) -> Result<()> {
        let may = absolute(path).and_then(|path| {
            place(&path)?;
            tine_os::possible::make(&path)
        });
        may.map_err(|error| failed(path, error)).and_then(|()| is_there(path)).map(drop)
    }

    /// Somebody is ready.
    pub(crate) fn ready(&self, row: Row) -> io::Result<()> {
        self.rows.borrow_mut().ready(row);
        self.write()
    }

    /// Somebody is gone; `stays`: until another one is ready in its place.
    pub(crate) fn exited(&self, number: u64, stays: bool) -> io::Result<()> {
        if self.rows.borrow_mut().exited(number, stays) { self.write() } else { Ok(()) }
    }

    fn write(&self) -> io::Result<()> {
        let text = self.rows.borrow().text();
        // Found anew each time: a directory that is held open would be a way out of a worker's root directory.
        let place = place(&self.path)?;
        let beside = beside(&place)?;
        replace(&beside, text.as_bytes())?;
        beside.rename(&place)?;
        self.made.set(true);
        Ok(())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, if this process has made it.
    pub(crate) fn remove(&self) {
        if process::id() == self.creator && self.made.take() {
            // Gone already: nothing to do about it at the end.
            let _ = place(&self.path).and_then(|place| place.remove());
        }
    }
}

/// Where the path leads, by links of root's or this user's.
fn place(path: &Path) -> io::Result<Place> {
    match find(path)? {
        Found::Place(place) => Ok(place),
        Found::Descriptor { .. } => Err(ErrorKind::InvalidInput.into()),
    }
}

/// Where the next file is made.
fn beside(place: &Place) -> io::Result<Place> {
    let mut name = place.name().to_owned();
    name.push(format!(".{}", process::id()));
    place.beside(name)
}

/// Makes a file of this text, in the place of one that a process of this number has left.
fn replace(place: &Place, text: &[u8]) -> io::Result<()> {
    match place.remove() {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    place.make()?.write_all(text)
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::file(format!("the status file {} cannot be written", path.display()), error)
}

/// Whether another run has left one.
fn is_there(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => {
            let text = format!("the status file {}: what is there is no file", path.display());
            Err(Error::config(text))
        }
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(path, error)),
    }
}

impl Rows {
    fn ready(&mut self, row: Row) {
        self.0.retain(|(other, gone)| !gone || other.seat != row.seat);
        self.0.push((row, false));
        self.0.sort_unstable_by_key(|(row, _)| row.number);
    }

    /// Whether that changes anything.
    fn exited(&mut self, number: u64, stays: bool) -> bool {
        let Some(at) = self.0.iter().position(|(row, _)| row.number == number) else {
            return false;
        };
        let seat = self.0[at].0.seat;
        let alone =
            !self.0.iter().any(|(row, gone)| row.seat == seat && row.number != number && !gone);
        if stays && alone {
            self.0[at].1 = true;
        } else {
            self.0.remove(at);
        }
        true
    }

    fn text(&self) -> String {
        self.0.iter().map(|(row, _)| format!("{}:{}\n", row.number, row.pid)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(place: usize, number: u64) -> Row {
        Row { seat: (0, place), number, pid: u32::try_from(number).expect("small") + 100 }
    }

    #[test]
    fn lines_are_in_the_order_of_their_numbers() {
        let mut rows = Rows::default();
        for number in [10, 9, 100, 2] {
            rows.ready(row(usize::try_from(number).expect("small"), number));
        }
        assert_eq!(rows.text(), "2:102\n9:109\n10:110\n100:200\n");
    }

    #[test]
    fn who_ends_by_itself_stays_until_another_one_is_ready() {
        let mut rows = Rows::default();
        rows.ready(row(0, 1));
        assert!(rows.exited(1, true) && rows.text() == "1:101\n");
        rows.ready(row(0, 3));
        assert_eq!(rows.text(), "3:103\n");
        rows.ready(row(0, 4));
        assert!(rows.exited(3, true), "there is another one");
        assert_eq!(rows.text(), "4:104\n");
        assert!(!rows.exited(3, true), "nobody");
        assert!(rows.exited(4, false));
        assert_eq!(rows.text(), "");
    }

    #[test]
    fn there_is_no_file_until_somebody_is_ready_and_none_at_the_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("status");
        fs::write(&path, "7:7\n").expect("a file");
        let file = StatusFile::prepare(&path).expect("it can be written");
        assert!(!path.exists(), "what another run has left is no news");
        file.ready(row(0, 1)).expect("it is written");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "1:101\n");
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
        file.remove();
        assert!(!path.exists());
        fs::write(&path, "somebody's").expect("a file");
        file.remove();
        assert!(path.exists(), "only its own");
    }

    #[test]
    fn a_reader_sees_the_old_file_or_the_new_one_and_never_half_of_one() {
        use std::io::Read as _;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("status");
        let file = StatusFile::prepare(&path).expect("it can be written");
        (1..=3).for_each(|number| file.ready(row(number, number as u64)).expect("it is written"));
        // A reader that has opened it, and reads on when another one is in its place.
        let mut reader = fs::File::open(&path).expect("a file");
        let mut first = [0; 3];
        reader.read_exact(&mut first).expect("its beginning");
        file.exited(1, false).expect("it is written");
        let mut rest = String::new();
        reader.read_to_string(&mut rest).expect("its end");
        assert_eq!((&first, rest.as_str()), (b"1:1", "01\n2:102\n3:103\n"));
        assert_eq!(fs::read_to_string(&path).expect("a file"), "2:102\n3:103\n");
    }

    #[test]
    fn what_cannot_be_written_is_refused_by_name() {
        let error = StatusFile::prepare(Path::new("/no/such/status")).expect_err("refused");
        assert!(error.is_config() && error.to_string().contains("/no/such/status"), "{error}");
        let directory = tempfile::tempdir().expect("a directory");
        assert!(StatusFile::prepare(directory.path()).expect_err("refused").is_config());
    }
}

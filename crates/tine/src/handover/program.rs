//! Where the program is that a reload brings: at the path it was started by, whatever is there then.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use tine_os::fd::pass_on;
use tine_os::image::Image;

use super::letter::Letter;
use crate::program::environment::{self, Handed};

/// The program's path, remembered at the start. A symbolic link in it is followed anew each time.
#[derive(Clone, Debug)]
pub(crate) struct ProgramFile(PathBuf);

impl ProgramFile {
    /// The path this process was started by, if what is there is what runs; else where its file is.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let running = std::fs::metadata("/proc/self/exe");
        let is_it = |path: &PathBuf| match (std::fs::metadata(path), &running) {
            (Ok(it), Ok(running)) => (it.dev(), it.ino()) == (running.dev(), running.ino()),
            // Without /proc nobody can say whether it is.
            (found, Err(_)) => found.is_ok(),
            (Err(_), Ok(_)) => false,
        };
        let typed = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
        let candidates = match typed.components().count() {
            0 => Vec::new(),
            1 if !typed.is_absolute()
                && typed.as_os_str() == typed.file_name().unwrap_or_default() =>
            {
                environment::directories().map(|directory| directory.join(&typed)).collect()
            }
            _ => vec![typed],
        };
        let found = candidates.into_iter().filter_map(|path| absolute(path).ok()).find(is_it);
        found.map_or_else(std::env::current_exe, Ok).map(Self)
    }

    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What is there now.
    pub(crate) fn open(&self) -> io::Result<Image> {
        Image::open(&self.0).map_err(|error| self.named(&error))
    }

    /// An error with the program's path.
    pub(crate) fn named(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.0.display()))
    }
}

/// Makes this process that program, which finds the letter and everything that it names. Returns only if that fails;
/// then nothing has changed.
pub(crate) fn become_program(
    image: &Image,
    left: &Letter,
    taken: Handed,
    patience: Duration,
) -> io::Error {
    let mut numbers = left.descriptors();
    if let Handed::Take { letter, image, note, .. } = taken {
        numbers.extend([letter, image, note]);
    }
    let go = || -> io::Result<io::Error> {
        pass_on(&numbers, true)?;
        Ok(image.exec(arguments(), environment::handover(taken, patience)))
    };
    let error = go().unwrap_or_else(|error| error);
    // They are open, and so can be marked.
    let _ = pass_on(&numbers, false);
    error
}

/// This process's arguments.
pub(super) fn arguments() -> Vec<OsString> {
    std::env::args_os().collect()
}

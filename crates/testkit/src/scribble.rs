//! Writing over the memory that the processes of a service share, as any of its workers could.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;

/// Bytes of a word.
const WORD: usize = 8;

/// Shared memory of a process, opened to be written over.
#[derive(Debug)]
pub struct Scribbler {
    file: File,
}

impl Scribbler {
    /// The `memfd` that process `pid` holds under this name; the one of the lowest descriptor, should there be several.
    ///
    /// # Panics
    /// If it holds none, or the test may not open it.
    #[track_caller]
    pub fn of(pid: u32, name: &str) -> Self {
        let found = Self::all(pid).into_iter().find(|(found, _)| found == name);
        let (_, scribbler) =
            found.unwrap_or_else(|| panic!("process {pid} has no shared memory {name:?}"));
        scribbler
    }

    /// Every `memfd` of a process that can be written to, with its name.
    ///
    /// # Panics
    /// If there is no such process.
    #[track_caller]
    pub fn all(pid: u32) -> Vec<(String, Self)> {
        let open = |(number, target): (i32, String)| {
            let name = target.strip_prefix("/memfd:")?.split(" (deleted)").next()?.to_owned();
            let path = format!("/proc/{pid}/fd/{number}");
            let file = fs::OpenOptions::new().read(true).write(true).open(path).ok()?;
            Some((name, Self { file }))
        };
        crate::process::open_fds(pid).into_iter().filter_map(open).collect()
    }

    /// How many words there are, the header included.
    ///
    /// # Panics
    /// If the kernel does not say.
    #[track_caller]
    pub fn words(&self) -> usize {
        let length = self.file.metadata().expect("the kernel knows its length").len();
        usize::try_from(length).expect("it fits into memory") / WORD
    }

    /// Writes one word over; what was there.
    ///
    /// # Panics
    /// If there is no such word.
    #[track_caller]
    pub fn write(&self, index: usize, value: u64) -> u64 {
        let (mut before, at) = ([0; WORD], (index * WORD) as u64);
        self.file.read_exact_at(&mut before, at).expect("there is such a word");
        self.file.write_all_at(&value.to_le_bytes(), at).expect("it can be written");
        u64::from_le_bytes(before)
    }

    /// Writes all words over with numbers that follow from `seed`.
    ///
    /// # Errors
    /// What `pwrite(2)` says.
    pub fn garbage(&self, seed: u64) -> io::Result<()> {
        let mut state = seed | 1;
        let mut next = || {
            // xorshift64: any numbers do, as long as a failure can be repeated.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let bytes: Vec<u8> = (0..self.words()).flat_map(|_| next().to_le_bytes()).collect();
        self.file.write_all_at(&bytes, 0)
    }
}

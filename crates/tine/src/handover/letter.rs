//! What one image leaves to the next, as text.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::control::Report;
use crate::error::unread;
use crate::listen::Left;
use crate::notify::Wishes;
use crate::supervisor::procs::Totals;
use crate::supervisor::state::{Rules, State};
use crate::{Error, Result};

/// Layout of the letter; another one is refused.
pub(crate) const VERSION: u32 = 2;

/// See the module. Descriptors are named by their numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Letter {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// Where the program was at the start, and is looked for.
    pub(crate) program: PathBuf,
    pub(crate) state: State,
    pub(crate) pools: Vec<PoolLeft>,
    pub(crate) procs: Vec<ProcLeft>,
    /// Scoreboards: descriptor, pools, records. The first one is the current one.
    pub(crate) boards: Vec<(i32, usize, usize)>,
    /// Shared regions: name, version, descriptor.
    pub(crate) regions: Vec<(String, u32, i32)>,
    pub(crate) listeners: Vec<Left>,
    /// The service's log and those of the program's own, those that are files.
    pub(crate) logs: Vec<LogLeft>,
    pub(crate) wake: i32,
    pub(crate) stop: i32,
    pub(crate) control: Option<ControlLeft>,
    pub(crate) pid_file: Option<(PathBuf, i32)>,
    /// When the service began; monotonic nanoseconds.
    pub(crate) started: u64,
    pub(crate) reports: Vec<(u64, Report)>,
    pub(crate) last_words: Option<String>,
    /// What the service manager wants to hear.
    #[serde(default)]
    pub(crate) notify: Option<Wishes>,
}

/// A pool.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PoolLeft {
    pub(crate) name: String,
    pub(crate) rules: Rules,
    pub(crate) past: Totals,
    pub(crate) poke: i32,
}

/// A worker's process. Its pidfd is opened anew: it is a child that nobody else reaps, so its number is its own.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProcLeft {
    pub(crate) worker: u64,
    pub(crate) pool: usize,
    pub(crate) place: usize,
    pub(crate) pid: u32,
    pub(crate) channel: i32,
    /// Index into the boards, and the record there.
    pub(crate) board: usize,
    pub(crate) record: usize,
    pub(crate) is_command: bool,
    /// Of a keeper: its command.
    pub(crate) command: Option<u32>,
    pub(crate) told: bool,
    pub(crate) generation: u32,
    pub(crate) since: u64,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) killed: bool,
}

/// A log that is a file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LogLeft {
    pub(crate) path: PathBuf,
    /// The two ends of where workers find the file that is to follow, and how many it was.
    pub(crate) mailbox: (i32, i32, u64),
    pub(crate) has_stderr: bool,
    /// The file that is open.
    #[serde(default)]
    pub(crate) file: Option<i32>,
}

/// The control socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ControlLeft {
    pub(crate) path: PathBuf,
    pub(crate) identity: (u64, u64),
    pub(crate) ports: Vec<u16>,
    pub(crate) listener: i32,
}

impl Letter {
    /// Every number in it.
    pub(crate) fn descriptors(&self) -> Vec<i32> {
        let mut all = vec![self.wake, self.stop];
        all.extend(self.boards.iter().map(|board| board.0));
        all.extend(self.regions.iter().map(|region| region.2));
        all.extend(self.pools.iter().map(|pool| pool.poke));
        all.extend(self.procs.iter().map(|proc| proc.channel));
        all.extend(self.listeners.iter().map(|listener| listener.number));
        all.extend(self.logs.iter().flat_map(|log| [log.mailbox.0, log.mailbox.1]));
        all.extend(self.logs.iter().filter_map(|log| log.file));
        all.extend(self.control.iter().map(|control| control.listener));
        all.extend(self.pid_file.iter().map(|file| file.1));
        all
    }

    /// Seals it.
    pub(crate) fn seal(&self) -> io::Result<OwnedFd> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        tine_os::memory::sealed("tine-handover", &text)
    }

    pub(super) fn read(file: &OwnedFd) -> Result<Self> {
        let os = |error| Error::os("cannot read what the program before has left", error);
        let text = tine_os::memory::read_sealed(file).map_err(os)?;
        // The version first: of another one nothing else may be as it is here.
        let all: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&text).map_err(|error| os(unread(&error)))?;
        let found = all.get("version").and_then(serde_json::Value::as_u64);
        if found != Some(u64::from(VERSION)) {
            return Err(Error::config(format!(
                "the program that runs hands over in another way (version {}, this one knows {VERSION}): \
                 stop it and start this one",
                found.unwrap_or(0)
            )));
        }
        serde_json::from_slice(&text).map_err(|error| os(unread(&error)))
    }
}

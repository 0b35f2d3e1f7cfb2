//! Listeners that the program before has left: known again by where they are, so that a reload keeps them.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use serde::{Deserialize, Serialize};

use super::inherit::adopt;
use super::resolve::{Want, Without6};
use super::unix::SocketFile;
use super::{ListenOptions, Listener};
use crate::Result;

/// What there is to say of a listener that is left to the next program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Left {
    pool: String,
    endpoint: String,
    options: ListenOptions,
    address: String,
    adopted: bool,
    name: Option<String>,
    file: Option<SocketFile>,
    /// Its descriptor.
    pub(crate) number: i32,
}

/// The listeners that nobody has asked for again yet.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    all: RefCell<Vec<Left>>,
    /// There are no descriptors, only their descriptions: what is known is known to be there.
    is_probe: bool,
}

impl Left {
    pub(crate) fn of(listener: &Listener, pool: &str) -> Self {
        Self {
            pool: pool.to_owned(),
            endpoint: listener.endpoint.to_string(),
            options: listener.options.clone(),
            address: listener.address.clone(),
            adopted: listener.adopted,
            name: listener.name.get().cloned(),
            file: listener.file.clone(),
            number: listener.socket.as_raw_fd(),
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whether it is what is asked for. A port that the kernel chose is as good as another of its choice.
    fn is(&self, want: &Want<'_>) -> bool {
        if self.address == want.describe() {
            return true;
        }
        let same = self.endpoint == want.endpoint.to_string();
        same && (want.without6 == Without6::UseV4 || want.is_open_at(&self.address))
    }

    fn open(&self) -> io::Result<OwnedFd> {
        tine_os::fd::copy_of(self.number)
    }

    /// The listener again, with the endpoint and options of `want`.
    fn keep(self, want: &Want<'_>, notes: &mut Vec<String>) -> io::Result<Listener> {
        if !self.adopted && self.options != *want.options {
            notes.push(format!(
                "{} stays as it was bound: its new options need a stop and a start",
                self.address
            ));
        }
        let socket = self.open()?;
        // A foreign command that has it too may have thought otherwise.
        tine_os::fd::set_nonblocking(&socket, true)?;
        let mut listener = Listener::new(socket, want.endpoint, want.options)?;
        listener.adopted = self.adopted;
        listener.set_name(self.name);
        listener.file = self.file;
        Ok(listener)
    }
}

impl Leftovers {
    pub(crate) fn new(all: Vec<Left>, is_probe: bool) -> Self {
        Self { all: RefCell::new(all), is_probe }
    }

    /// Those that are what is asked for, `most` at most; nothing if there is none. In a probe, none of them is open.
    pub(super) fn take(
        &self,
        want: &Want<'_>,
        most: u32,
        notes: &mut Vec<String>,
    ) -> io::Result<Option<Vec<Listener>>> {
        let mut all = self.all.borrow_mut();
        let mut kept = Vec::new();
        let mut address: Option<String> = None;
        for number in 0..most {
            let fits = |left: &Left| match &address {
                Some(address) => left.address == *address && !left.adopted,
                None => left.is(want),
            };
            let Some(index) = all.iter().position(fits) else { break };
            let left = all.remove(index);
            address = Some(left.address.clone());
            if !self.is_probe {
                let shard = (most > 1 && !left.adopted).then_some(number);
                kept.push(left.keep(want, notes)?.sharded(shard));
            }
        }
        Ok(address.map(|_| kept))
    }

    /// Those of a pool that were passed in once, and are not passed in again: they stay.
    pub(super) fn passed_in(&self, pool: &str, there: &[String]) -> Result<Vec<Listener>> {
        let mut all = self.all.borrow_mut();
        let (kept, rest) = std::mem::take(&mut *all).into_iter().partition::<Vec<_>, _>(|left| {
            left.adopted && left.pool == pool && !there.contains(&left.address)
        });
        *all = rest;
        let open = |left: Left| {
            let failed = |error| crate::Error::os(format!("cannot keep {}", left.address), error);
            let listener = adopt(left.open().map_err(failed)?)?;
            listener.set_name(left.name);
            Ok(listener)
        };
        if self.is_probe { Ok(Vec::new()) } else { kept.into_iter().map(open).collect() }
    }

    /// Those that nobody has asked for. Nobody new comes in; what waits in their queues is for the workers that
    /// still have them.
    pub(crate) fn give_up(&self, log: &crate::Log) {
        for left in self.all.take() {
            let refuse = || match left.adopted {
                true => Ok(()),
                false
                    if left.file.is_none()
                        && left.address.parse::<std::net::SocketAddr>().is_ok() =>
                {
                    tine_os::socket::refuse_new_connections(left.open()?)
                }
                false => left.file.as_ref().map_or(Ok(()), SocketFile::remove),
            };
            crate::log::info!(log, "no longer listening on {}", left.address);
            if let Err(error) = refuse() {
                crate::log::warning!(log, "{}: {error}", left.address);
            }
        }
    }
}

//! Sockets that whoever started this process has left for it, in whichever words: systemd's, Server::Starter's or
//! Einhorn's (rows S23, T16).
//!
//! The words are removed with the sockets, so that nothing this process starts takes them for its own.

use std::os::fd::{OwnedFd, RawFd};

use tine_os::process;

use super::environment::{
    EINHORN, LISTEN_FDNAMES, LISTEN_FDS, LISTEN_FDS_START, LISTEN_PID, SERVER_STARTER_PORT,
};
use crate::{Error, Result};

/// A socket, and what it is called.
type Socket = (OwnedFd, Option<String>);
/// The number of one, and what it is called.
type Told = (RawFd, Option<String>);

/// More sockets than anybody passes in; a number beyond that is a slip.
const MOST: u32 = 4096;

/// All of them.
///
/// # Errors
/// A configuration error if there are none, or they are another process's.
pub(crate) fn sockets_passed_in() -> Result<Vec<Socket>> {
    let (told, variable) = if is_set(LISTEN_FDS) {
        (by_systemd()?, LISTEN_FDS)
    } else if is_set(SERVER_STARTER_PORT) {
        (by_server_starter(&text(SERVER_STARTER_PORT)?)?, SERVER_STARTER_PORT)
    } else if is_set(EINHORN_FD_COUNT) {
        (by_einhorn()?, EINHORN_FD_COUNT)
    } else {
        let all = format!("{LISTEN_FDS} (systemd), {SERVER_STARTER_PORT} and {EINHORN_FD_COUNT}");
        return Err(Error::config(format!("no sockets were passed in: none of {all} is set")));
    };
    if told.is_empty() {
        return Err(Error::config(format!("no sockets were passed in: {variable} names none")));
    }
    forget()?;
    told.into_iter().map(|told| adopt(told, variable)).collect()
}

const EINHORN_FD_COUNT: &str = "EINHORN_FD_COUNT";
const EINHORN_MASTER_PID: &str = "EINHORN_MASTER_PID";

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some()
}

fn text(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| {
        Error::config(format!("no sockets were passed in: {name} is not set, or is no text"))
    })
}

fn number(name: &str) -> Result<u32> {
    let value = text(name)?;
    // What a variable says is repeated nowhere.
    value.parse().map_err(|_| Error::config(format!("{name} is no number")))
}

fn by_systemd() -> Result<Vec<Told>> {
    let (pid, count) = (number(LISTEN_PID)?, number(LISTEN_FDS)?);
    if pid != process::pid().get() {
        let text = format!("the sockets that were passed in are process {pid}'s (LISTEN_PID)");
        return Err(Error::config(text));
    }
    let names = std::env::var(LISTEN_FDNAMES).unwrap_or_default();
    let mut names = names.split(':').map(|name| (!name.is_empty()).then(|| name.to_owned()));
    let numbers = LISTEN_FDS_START..LISTEN_FDS_START + count.min(MOST).cast_signed();
    Ok(numbers.map(|number| (number, names.next().flatten())).collect())
}

/// `NAME=NUMBER;…`. A name twice at one number is one socket: what the original makes of a number that was chosen
/// and taken (row S6).
fn by_server_starter(text: &str) -> Result<Vec<Told>> {
    let mut told: Vec<Told> = Vec::new();
    for (index, part) in text.split(';').enumerate().filter(|(_, part)| !part.is_empty()) {
        let pair = part.rsplit_once('=');
        let pair = pair.and_then(|(name, number)| Some((name, number.parse::<RawFd>().ok()?)));
        let Some((name, number @ 0..)) = pair else {
            let text = format!("{SERVER_STARTER_PORT}: part {} is no NAME=NUMBER", index + 1);
            return Err(Error::config(text));
        };
        if !told.iter().any(|(other, _)| *other == number) {
            told.push((number, Some(name.to_owned())));
        }
    }
    Ok(told)
}

fn by_einhorn() -> Result<Vec<Told>> {
    let count = number(EINHORN_FD_COUNT)?;
    // Variables stay when a process that was meant starts another one.
    let master = number(EINHORN_MASTER_PID)?;
    if process::parent().map(process::Pid::get) != Some(master) {
        let text =
            format!("the sockets are for a child of process {master} ({EINHORN_MASTER_PID})");
        return Err(Error::config(text));
    }
    let one = |index: u32| {
        let name = format!("{EINHORN}FD_{index}");
        let number = number(&name)?;
        RawFd::try_from(number).map(|number| (number, None)).map_err(|_| {
            Error::config(format!("{name}={number}: it is the number of a descriptor"))
        })
    };
    (0..count.min(MOST)).map(one).collect()
}

fn adopt((number, name): Told, variable: &str) -> Result<Socket> {
    let socket = tine_os::fd::adopt(number).map_err(|error| {
        Error::config(format!("descriptor {number}, which {variable} counts: {error}"))
    })?;
    Ok((socket, name))
}

fn forget() -> Result<()> {
    let fixed = [LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES, SERVER_STARTER_PORT].map(str::to_owned);
    let einhorn = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let einhorn = einhorn.filter(|name| name.starts_with(EINHORN)).collect::<Vec<_>>();
    for name in fixed.into_iter().chain(einhorn) {
        tine_os::exec::remove_variable(&name)
            .map_err(|error| Error::os(format!("cannot remove {name}"), error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_starters_variable_is_names_and_numbers() {
        let told = |text: &str| by_server_starter(text).map_err(|error| error.to_string());
        let named = |number, name: &str| (number, Some(name.to_owned()));
        let all = vec![named(4, "18095"), named(6, "[::1]:18093"), named(9, "/tmp/a=b.sock")];
        assert_eq!(told("18095=4;[::1]:18093=6;/tmp/a=b.sock=9"), Ok(all));
        assert_eq!(told("18090=9;/tmp/a.sock=9"), Ok(vec![named(9, "18090")]));
        assert_eq!(told(""), Ok(vec![]));
        for nonsense in ["80", "80=", "80=x", "80=-1"] {
            assert!(told(nonsense).expect_err(nonsense).contains("NAME=NUMBER"));
        }
    }
}

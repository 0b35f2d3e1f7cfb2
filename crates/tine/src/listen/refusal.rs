//! The kernel's refusals in words: what, why, and what to do about it; for a taken address, by whom.
//!
//! Only read once something has failed, so it may take its time with /proc.

use super::Kind;
use super::resolve::Want;
use crate::Error;
use std::fs::{self, FileType};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process;

/// Why one socket could not be had.
#[derive(Debug)]
pub(super) struct Refused {
    /// What to tell people.
    words: String,
    /// What the kernel said.
    pub(super) error: io::Error,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::bind(refused.words, refused.error)
    }
}

/// An Internet address could not be bound.
pub(super) fn inet(want: &Want<'_>, address: SocketAddr, error: io::Error) -> Refused {
    let reason = match error.kind() {
        ErrorKind::PermissionDenied if address.port() != 0 && address.port() < 1024 => format!(
            "{error} (ports below 1024 need CAP_NET_BIND_SERVICE; start as root, have the socket passed in, or take \
             a port from 1024 on)"
        ),
        ErrorKind::AddrInUse => in_use(holder(want.kind, address)),
        ErrorKind::AddrNotAvailable => {
            format!("{error} (this machine does not have it; free_bind listens before it comes)")
        }
        ErrorKind::InvalidInput if is_of_some_link(address) => {
            format!("{error} (which link it is of must be said: [{}%eth0]:port)", address.ip())
        }
        _ => error.to_string(),
    };
    refused(want, address, &reason, error)
}

fn is_of_some_link(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(six) if six.ip().is_unicast_link_local() && six.scope_id() == 0)
}

fn refused(want: &Want<'_>, address: SocketAddr, reason: &str, error: io::Error) -> Refused {
    let place = want.kind.describe(&tine_os::socket::Address::Ip(address));
    let asked = want.endpoint.to_string();
    let asked = if asked == place { String::new() } else { format!(" (asked for as {asked})") };
    Refused { words: format!("cannot listen on {place}{asked}: {reason}"), error }
}

/// A Unix socket could not be bound, for a reason that is already in words.
pub(super) fn unix(want: &Want<'_>, reason: &str, error: io::Error) -> Refused {
    Refused { words: format!("cannot listen on {}: {reason}", want.describe()), error }
}

/// The reason a name or path was refused.
pub(super) fn unix_bind(path: Option<&Path>, error: &io::Error) -> String {
    let directory = path.and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty());
    match (error.kind(), directory) {
        (ErrorKind::NotFound, Some(directory)) => {
            format!("{error} (is there a directory {}? It is not made here)", directory.display())
        }
        (ErrorKind::PermissionDenied, Some(directory)) => {
            format!(
                "{error} (the directory {} must be writable for this user)",
                directory.display()
            )
        }
        (ErrorKind::AddrInUse, _) => in_use(None),
        _ => error.to_string(),
    }
}

/// The reason a socket file did not get its owner or mode.
pub(super) fn permissions(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            format!("owner and mode cannot be set: {error} (another owner needs CAP_CHOWN)")
        }
        _ => format!("owner, mode or queue cannot be set: {error}"),
    }
}

/// The reason something that is not a socket stays where it is.
pub(super) fn not_a_socket(found: FileType) -> String {
    let what = if found.is_dir() {
        "a directory"
    } else if found.is_symlink() {
        "a symbolic link"
    } else if found.is_file() {
        "a regular file"
    } else if found.is_fifo() {
        "a named pipe"
    } else {
        "not a socket"
    };
    format!(
        "what is there is {what}, and only a stale socket is replaced: move it away or choose another path"
    )
}

/// The reason another server's socket stays where it is.
pub(super) fn live_socket(path: &Path) -> String {
    in_use(has_socket(path))
}

/// The process that has a socket file, if it can be seen from here.
pub(super) fn has_socket(path: &Path) -> Option<u32> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    unix_inode(&table, path).and_then(process_with)
}

/// A note that somebody has an address now, for whoever wants it later.
pub(super) fn is_taken(address: &str, holder: Option<u32>) -> String {
    match holder {
        Some(pid) => format!("{address} is in use now, by {}", process_named(pid)),
        None => format!("{address} is in use now"),
    }
}

/// An address that two listeners of one service would take.
pub(super) fn twice(want: &Want<'_>, address: SocketAddr) -> Refused {
    let reason = in_use(Some(process::id()));
    refused(want, address, &reason, ErrorKind::AddrInUse.into())
}

/// The reason a socket stays that we may not even connect to.
pub(super) fn cannot_tell(error: &io::Error) -> String {
    format!(
        "there is a socket, and whether a server has it cannot be told: {error} (remove it if none does)"
    )
}

fn in_use(holder: Option<u32>) -> String {
    let reason = "address already in use";
    match holder {
        Some(pid) if pid == process::id() => {
            format!(
                "{reason}, by another listener of this server: take one of the two out, or change its port"
            )
        }
        Some(pid) => {
            format!("{reason}, by {}: stop it, or choose another address", process_named(pid))
        }
        None => format!("{reason}: stop the process that has it, or choose another address"),
    }
}

fn process_named(pid: u32) -> String {
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("process {pid} ({})", crate::log::escaped(command.trim()))
}

/// The process that has a socket in the way of `address`, if it can be seen from here.
pub(super) fn holder(kind: Kind, address: SocketAddr) -> Option<u32> {
    let name = if kind == Kind::Udp { "udp" } else { "tcp" };
    [format!("/proc/net/{name}"), format!("/proc/net/{name}6")].into_iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        inet_inode(&table, kind, address).and_then(process_with)
    })
}

/// Finds the inode of a socket bound in the way of `address` in one of the kernel's tables (proc_pid_net(5)).
fn inet_inode(table: &str, kind: Kind, address: SocketAddr) -> Option<u64> {
    const LISTENING: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let there = socket_address(fields.get(1)?)?;
        let (ip, same_port) = (there.ip(), there.port() == address.port());
        let overlaps = ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
        let listens = kind == Kind::Udp || *fields.get(3)? == LISTENING;
        if same_port && overlaps && listens { fields.get(9)?.parse().ok() } else { None }
    })
}

/// An address and a port in such a table.
pub(crate) fn socket_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    Some((hexadecimal_ip(ip)?, u16::from_str_radix(port, 16).ok()?).into())
}

/// An address as the kernel prints it: words of 32 bits in the machine's own byte order.
fn hexadecimal_ip(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for at in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        _ => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
    }
}

fn unix_inode(table: &str, path: &Path) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(6);
        let inode = fields.next()?.parse().ok()?;
        (Path::new(fields.next()?) == path).then_some(inode)
    })
}

/// The first process found with a descriptor of this socket; other users' are visible to root alone.
fn process_with(inode: u64) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let mut descriptors = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        let has = descriptors.any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())
        });
        has.then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_are_found_in_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 0100007F:9999 01 0:0 0:0 0 0 0 11 1 0 100\n\
            1: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 22 1 0 100\n\
            2: 00000000:0050 00000000:0000 0A 0:0 0:0 0 0 0 33 1 0 100\n";
        let find = |address: &str| inet_inode(table, Kind::Tcp, address.parse().unwrap());
        if cfg!(target_endian = "little") {
            assert_eq!(find("127.0.0.1:8080"), Some(22));
            assert_eq!(find("127.0.0.2:8080"), None);
            assert_eq!(find("0.0.0.0:8080"), Some(22));
            assert_eq!(find("10.0.0.1:80"), Some(33));
        }
        assert_eq!(find("127.0.0.1:81"), None);
    }
}

//! Whether a connection was accepted, and by which processes: by the inode that its socket has from then on, and by what
//! `/proc` says of the descriptors of a family (proc_pid_fd(5)).

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::time::Duration;

use tine_os::diag::unix_peer;
use tine_os::family::descendants;
use tine_os::poll::readable;
use tine_os::process::Pid;

use crate::endpoint::{Endpoint, Host, Inet, Port, UnixName};

/// A client of a listener.
pub(super) enum Client {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What has become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It waits in the queue.
    No,
    /// A process of the family has it.
    ByFamily,
    /// It is gone, or another process has it.
    ByOthers,
}

impl Client {
    /// Connects to a listener of this address; `None` if that takes no connections.
    pub(super) fn connect(address: &str, patience: Duration) -> io::Result<Option<Self>> {
        Ok(match address.parse::<Endpoint>() {
            // As listeners are described, these are addresses and numbers.
            Ok(Endpoint::Tcp(Inet { host, port: Port::Number(port), .. })) => {
                let to = match host {
                    Host::Ip(ip) => SocketAddr::from((reachable(ip), port)),
                    Host::Link { ip, zone } => {
                        let scope = zone.parse().map_err(io::Error::other)?;
                        SocketAddrV6::new(ip, port, 0, scope).into()
                    }
                    Host::Any | Host::Name(_) => return Ok(None),
                };
                Some(Self::Tcp(TcpStream::connect_timeout(&to, patience)?))
            }
            Ok(Endpoint::Unix { name: UnixName::Path(path), .. }) => {
                Some(Self::Unix(UnixStream::connect(path)?))
            }
            Ok(Endpoint::Unix { name: UnixName::Abstract(name), .. }) => {
                Some(Self::Unix(UnixStream::connect_addr(&UnixAddr::from_abstract_name(name)?)?))
            }
            _ => None,
        })
    }

    /// What has become of it; the family are the processes below `root`.
    pub(super) fn is_taken(&self, root: Pid) -> io::Result<Taken> {
        let inode = match self {
            Self::Unix(stream) => Some(u64::from(unix_peer(stream)?)),
            Self::Tcp(stream) => {
                let (server, client) = (stream.peer_addr()?, stream.local_addr()?);
                let table = if server.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
                let find = |table| {
                    let text = fs::read_to_string(table)?;
                    io::Result::Ok(inode_of(&text, server, client))
                };
                match find(table)? {
                    // Of a client of version 4 at a socket for both.
                    None if server.is_ipv4() => find("/proc/net/tcp6")?,
                    found => found,
                }
            }
        };
        Ok(match inode {
            // A process that has accepted it, and has ended, leaves as little behind; but its end is there to read.
            Some(0) if !readable(self, Some(Duration::ZERO))? => Taken::No,
            Some(inode)
                if inode > 0 && descendants(root)?.into_iter().any(|pid| has(pid, inode)) =>
            {
                Taken::ByFamily
            }
            _ => Taken::ByOthers,
        })
    }

    pub(super) fn set_timeout(&self, patience: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))
            }
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a listener of this address can be reached from this machine.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // Where it takes IPv4, too, there may be no IPv6 address at all.
        IpAddr::V6(ip) if ip.is_unspecified() => match tine_os::socket::ipv6_available() {
            true => std::net::Ipv6Addr::LOCALHOST.into(),
            false => Ipv4Addr::LOCALHOST.into(),
        },
        ip => ip,
    }
}

/// The inode of the server's end in one of the kernel's tables (proc_pid_net(5)); 0 until it is accepted.
fn inode_of(table: &str, server: SocketAddr, client: SocketAddr) -> Option<u64> {
    let is = |text: &str, wanted: SocketAddr| {
        crate::listen::socket_address(text).is_some_and(|found| {
            (found.ip().to_canonical(), found.port()) == (wanted.ip().to_canonical(), wanted.port())
        })
    };
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let found = is(fields.get(1)?, server) && is(fields.get(2)?, client);
        if found { fields.get(9)?.parse().ok() } else { None }
    })
}

/// The events of an epoll that are reported for connections: `EPOLLIN` (epoll_ctl(2)).
const READABLE: u32 = 1;

/// Whether a process below `root` has the listener of this inode in an epoll, by which it learns of connections.
pub(super) fn is_watched(root: Pid, listener: u64) -> bool {
    let watches = |pid: Pid| {
        let Ok(infos) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return false };
        let info = |entry: fs::DirEntry| fs::read_to_string(entry.path()).unwrap_or_default();
        infos.flatten().map(info).any(|text| text.lines().any(|line| watches(line, listener)))
    };
    descendants(root).is_ok_and(|family| family.into_iter().any(watches))
}

/// Whether a line of an epoll's in proc_pid_fdinfo(5) is of this inode: `tfd: 5 events: 19 data: … ino:1f …`.
fn watches(line: &str, inode: u64) -> bool {
    let hexadecimal = |name: &str| {
        let (_, rest) = line.split_once(name)?;
        u64::from_str_radix(rest.split_whitespace().next()?, 16).ok()
    };
    let readable = hexadecimal(" events:").is_some_and(|it| it & u64::from(READABLE) != 0);
    line.starts_with("tfd:") && readable && hexadecimal(" ino:") == Some(inode)
}

fn has(pid: Pid, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let is = |path| fs::read_link(path).is_ok_and(|link| link.as_os_str() == wanted.as_str());
    descriptors.flatten().any(|entry| is(entry.path()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(9);

    /// A client, before and after the connection is accepted by this very process, in the eyes of another family.
    fn watched(address: &str, accept: impl FnOnce() -> Box<dyn std::any::Any>) {
        let client = Client::connect(address, PATIENCE).expect("it listens").expect("a stream");
        let childless = tine_os::process::pid();
        assert_eq!(client.is_taken(childless).expect("it can be told"), Taken::No, "{address}");
        let taken = accept();
        let told = client.is_taken(childless).expect("it can be told");
        assert_eq!(told, Taken::ByOthers, "{address}");
        let parent = tine_os::process::parent().expect("it has one");
        assert_eq!(client.is_taken(parent).expect("it can be told"), Taken::ByFamily, "{address}");
        drop(taken);
        let told = client.is_taken(parent).expect("it can be told");
        assert_eq!(told, Taken::ByOthers, "{address}: closed at once");
    }

    #[test]
    fn it_is_told_whether_a_connection_was_accepted_and_by_which_family() {
        for host in ["127.0.0.1", "0.0.0.0", "[::1]", "[::]"] {
            let listener = TcpListener::bind(format!("{host}:0")).expect("a port");
            let address = listener.local_addr().expect("an address").to_string();
            watched(&address, || Box::new(listener.accept().expect("a client")));
        }
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let address = format!("unix:{}", path.display());
        watched(&address, || Box::new(listener.accept().expect("a client")));
        let name = UnixAddr::from_abstract_name(format!("tine-{}", std::process::id()));
        let listener = UnixListener::bind_addr(&name.expect("a name")).expect("a socket");
        let address = format!("unix:@tine-{}", std::process::id());
        watched(&address, || Box::new(listener.accept().expect("a client")));
    }

    #[test]
    fn it_is_told_which_family_waits_for_connections_in_an_epoll() {
        use std::os::unix::fs::MetadataExt as _;

        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let copy = listener.as_fd().try_clone_to_owned().expect("a copy");
        let inode = fs::File::from(copy).metadata().expect("it is open").ino();
        let parent = tine_os::process::parent().expect("it has one");
        assert!(!is_watched(parent, inode));
        let epoll = tine_os::poll::Epoll::new().expect("an epoll");
        epoll.add(&listener, 0, tine_os::poll::Interest::READ).expect("it is added");
        assert!(is_watched(parent, inode));
        assert!(!is_watched(parent, inode + 1) && !is_watched(tine_os::process::pid(), inode));
    }

    #[test]
    fn datagrams_are_no_connections() {
        for address in ["udp:127.0.0.1:9", "unixdgram:/no"] {
            assert!(Client::connect(address, PATIENCE).expect("nothing to do").is_none());
        }
    }
}

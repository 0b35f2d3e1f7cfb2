//! Sockets that come already bound: asked what they are, and refused if they cannot be listened on.

use super::{Kind, ListenOptions, Listener};
use crate::endpoint::{Endpoint, Inet};
use crate::{Error, Result};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use tine_os::fd;
use tine_os::socket::{self, Address, Identity, Traffic};

/// Takes a socket over. It becomes close-on-exec, and non-blocking, which whoever passed it in sees too.
pub(super) fn adopt(socket: OwnedFd) -> Result<Listener> {
    let number = socket.as_raw_fd();
    let refused = |error: io::Error| {
        Error::bind(
            format!("cannot listen on descriptor {number}, which was passed in: {error}"),
            error,
        )
    };
    let identity = socket::identify(&socket).map_err(refused)?;
    let endpoint = endpoint(&identity).map_err(|reason| {
        Error::config(format!(
            "cannot listen on descriptor {number}, which was passed in: {reason}"
        ))
    })?;
    fd::set_close_on_exec(&socket, true).map_err(refused)?;
    fd::set_nonblocking(&socket, true).map_err(refused)?;
    let mut listener =
        Listener::new(socket, &endpoint, &ListenOptions::default()).map_err(refused)?;
    listener.adopted = true;
    Ok(listener)
}

impl Listener {
    /// What stands for the listener of a connection that came already accepted.
    ///
    /// # Errors
    /// A configuration error if it is none: datagrams, or a socket without an address.
    pub(crate) fn of_connection(connection: &OwnedFd, identity: &Identity) -> Result<Self> {
        let listening = Identity { listening: true, ..identity.clone() };
        let endpoint = match endpoint(&listening) {
            Ok(endpoint) if identity.traffic == Traffic::Stream => endpoint,
            Ok(_) => return Err(Error::config("standard input carries datagrams, no connection")),
            Err(reason) => {
                return Err(Error::config(format!("standard input is no connection: {reason}")));
            }
        };
        let os = |error| Error::os("cannot take the connection over", error);
        let copy = fd::duplicate(connection).map_err(os)?;
        Self::new(copy, &endpoint, &ListenOptions::default()).map_err(os)
    }

    /// Takes over a socket that the supervisor of this process has bound, if it is the one that was told of.
    pub(crate) fn received(
        socket: OwnedFd,
        asked: Option<&(Endpoint, ListenOptions)>,
        address: &str,
        adopted: bool,
    ) -> Result<Self> {
        let found = match asked {
            _ if adopted => adopt(socket)?,
            Some((endpoint, options)) => Self::new(socket, endpoint, options).map_err(|error| {
                Error::os(format!("cannot take the listener {address} over"), error)
            })?,
            None => {
                let text =
                    format!("main does not listen on {address} this time: it must not differ");
                return Err(Error::config(text));
            }
        };
        if found.address != address {
            let other = &found.address;
            return Err(Error::config(format!("the listener {address} came as {other}")));
        }
        Ok(found)
    }
}

fn endpoint(identity: &Identity) -> std::result::Result<Endpoint, String> {
    let endpoint = match (identity.traffic, &identity.address) {
        (_, Address::Unnamed) => return Err("it is bound to no address".into()),
        (Traffic::Stream, Address::Ip(ip)) => Endpoint::Tcp(Inet::from(*ip)),
        (Traffic::Datagram, Address::Ip(ip)) => Endpoint::Udp(Inet::from(*ip)),
        (Traffic::Stream, Address::Unix(name)) => Endpoint::Unix { name: name.clone(), tls: false },
        (Traffic::Datagram, Address::Unix(name)) => Endpoint::UnixDatagram(name.clone()),
        (Traffic::Other, _) => return Err("it carries neither connections nor datagrams".into()),
    };
    if identity.traffic == Traffic::Stream && !identity.listening {
        let address = Kind::of(&endpoint).describe(&identity.address);
        return Err(format!(
            "{address} does not listen; whoever passed it in must call listen, or it is a connection"
        ));
    }
    Ok(endpoint)
}

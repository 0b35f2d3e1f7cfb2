//! One connection on standard input: how inetd starts a server (row N44).

use std::io;
use std::os::fd::OwnedFd;

use tine_os::daemon::{Standard, is_same_file, null, redirect};
use tine_os::fd::duplicate;
use tine_os::socket::{Identity, identify};

/// Takes over the socket that inetd, or systemd with `StandardInput=socket`, has put in place of standard
/// input and says what it is: a stream socket is one connection (`nowait`), or, if it listens,
/// all of them (`wait`).
///
/// Its standard streams become `/dev/null`, so that nothing that is printed reaches the client; standard
/// error only if it is the client, too. Call it once, before anything reads standard input.
///
/// # Errors
/// `ENOTSOCK` if standard input is no socket: a terminal, a file or a pipe; `EMFILE`.
pub fn inetd_connection() -> io::Result<(OwnedFd, Identity)> {
    // A copy: number 0 is the standard library's, and closing it would give it to the next file opened.
    let socket = duplicate(io::stdin())?;
    let identity = identify(&socket)?;
    let null = null()?;
    if is_same_file(io::stderr(), &socket)? {
        redirect(Standard::Error, &null)?;
    }
    redirect(Standard::Output, &null)?;
    redirect(Standard::Input, &null)?;
    Ok((socket, identity))
}

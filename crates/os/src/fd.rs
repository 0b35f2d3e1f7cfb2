//! Descriptors: flags, copies, message sockets, and closing many of them.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd as _, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Closes these descriptors. For a forked child that will never return to the code that owns these
/// descriptors: there they stay in values whose `Drop` will not run.
///
/// Called anywhere else it would close a number under its owner's feet. Numbers that follow one another go in
/// one close_range(2), so a list in order is the cheapest; none that is not in the list is touched, and nothing
/// is allocated. Negative, repeated and already closed numbers do no harm.
pub fn close_many(fds: impl IntoIterator<Item = i32>) {
    let mut run: Option<(i32, i32)> = None;
    for fd in fds.into_iter().filter(|&fd| fd >= 0) {
        run = match run {
            Some((first, last)) if last.checked_add(1) == Some(fd) => Some((first, fd)),
            before => {
                before.into_iter().for_each(close_run);
                Some((fd, fd))
            }
        };
    }
    run.into_iter().for_each(close_run);
}

/// From the first to the last, both included.
fn close_run((first, last): (i32, i32)) {
    // By number, for musl has no function of this name.
    // SAFETY: takes three integers; that nobody in this process still owns the range is
    // `close_many`'s contract.
    let status = unsafe {
        libc::syscall(libc::SYS_close_range, first.cast_unsigned(), last.cast_unsigned(), 0)
    };
    // Before Linux 5.9, or where a filter forbids it.
    if status != 0 {
        (first..=last).for_each(close_one);
    }
}

fn close_one(fd: i32) {
    // SAFETY: takes an integer; that nobody in this process still owns it is `close_many`'s
    // contract.
    unsafe { libc::close(fd) };
}

/// A second descriptor for the same open file, close-on-exec (`F_DUPFD_CLOEXEC`), never 0, 1 or 2.
///
/// # Errors
/// `EMFILE` (fcntl(2)).
pub fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}

/// Makes a descriptor mean another open file, for everybody in this process who has it (dup3(2)). Close-on-exec.
///
/// # Errors
/// `EINTR`, `EIO`: what was open there could not be closed well.
pub fn replace(fd: impl AsFd, by: impl AsFd) -> io::Result<()> {
    let (fd, by) = (fd.as_fd().as_raw_fd(), by.as_fd().as_raw_fd());
    if fd == by {
        return Ok(());
    }
    // SAFETY: two open descriptors, both borrowed; the number stays its owner's.
    match unsafe { libc::dup3(by, fd, libc::O_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Whether the descriptor ends at the next `exec`. A property of the descriptor, so not shared with
/// copies.
///
/// # Errors
/// The kernel's (fcntl(2)); none is to be expected.
pub fn set_close_on_exec(fd: impl AsFd, on: bool) -> io::Result<()> {
    let mut flags = rustix::io::fcntl_getfd(&fd)?;
    flags.set(FdFlags::CLOEXEC, on);
    Ok(rustix::io::fcntl_setfd(&fd, flags)?)
}

/// Whether operations fail with `WouldBlock` instead of blocking. A property of the open file, so
/// shared with every copy, in other processes too.
///
/// # Errors
/// The kernel's (fcntl(2)); none is to be expected.
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(&fd)?;
    flags.set(OFlags::NONBLOCK, on);
    Ok(rustix::fs::fcntl_setfl(&fd, flags)?)
}

/// Takes ownership of a descriptor that this process's parent left open for it and named by number,
/// and makes it close-on-exec.
///
/// Must be called once per number, and only for a number that nothing in this process owns: a
/// second owner would close what has by then become something else.
///
/// # Errors
/// `InvalidInput` for a negative number, `EBADF` if nothing is open there.
pub fn adopt(raw: i32) -> io::Result<OwnedFd> {
    if raw < 0 {
        let text = format!("{raw} is not a descriptor number");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // SAFETY: asks about an integer, and answers EBADF if it is not a descriptor.
    if unsafe { libc::fcntl(raw, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open (just asked), and that this process has no other owner of it is the
    // caller's promise.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    set_close_on_exec(&fd, true)?;
    Ok(fd)
}

/// A second descriptor, close-on-exec, of what is open at a number that somebody else of this process owns, or nobody.
///
/// # Errors
/// `EBADF` if nothing is open there, `EMFILE` (fcntl(2)).
pub fn copy_of(raw: i32) -> io::Result<OwnedFd> {
    // SAFETY: integers; answers EBADF if it is not a descriptor.
    let copy = unsafe { libc::fcntl(raw, libc::F_DUPFD_CLOEXEC, 3) };
    if copy == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: new, so nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Whether the next `exec` leaves these numbers open, whoever owns them.
///
/// # Errors
/// `EBADF` if nothing is open at one of them (fcntl(2)).
pub fn pass_on(numbers: &[i32], on: bool) -> io::Result<()> {
    for &number in numbers {
        let flags = if on { 0 } else { libc::FD_CLOEXEC };
        // SAFETY: integers; a number that is not open is refused.
        if unsafe { libc::fcntl(number, libc::F_SETFD, flags) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Two connected ends that carry whole messages both ways, in order (`AF_UNIX`, `SOCK_SEQPACKET`);
/// close-on-exec and non-blocking.
///
/// # Errors
/// `EMFILE` or `ENFILE` (socketpair(2)).
pub fn message_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok(pair)
}

/// Sends one message, whole or not at all, without waiting and without `SIGPIPE`.
///
/// # Errors
/// `InvalidInput` for an empty message (it would read as the end), `WouldBlock` if the peer has too
/// much to read already, `BrokenPipe` or `ConnectionReset` if it is gone, `EMSGSIZE` beyond the
/// socket's buffer.
pub fn send_message(fd: impl AsFd, message: &[u8]) -> io::Result<()> {
    if message.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty message"));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    // A socket that keeps message boundaries takes all of one (unix(7)), so the count says nothing.
    rustix::net::send(fd, message, flags)?;
    Ok(())
}

/// Receives one message into `buf`, without waiting: `None` if there is none, an empty slice if the
/// peer is gone.
///
/// # Errors
/// `InvalidData` if the message did not fit; it is lost then.
pub fn receive_message(fd: impl AsFd, buf: &mut [u8]) -> io::Result<Option<&[u8]>> {
    // With MSG_TRUNC the second number is the length the message had, however short the buffer was.
    let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    let mut answer = rustix::net::recv(&fd, &mut *buf, flags);
    if matches!(answer, Err(Errno::CONNRESET)) {
        // The peer left without reading everything. The kernel says so once, and first: what the peer had
        // sent before is still there (unix_release_sock, net/unix/af_unix.c).
        answer = rustix::net::recv(&fd, &mut *buf, flags);
    }
    match answer {
        Ok((taken, length)) if taken < length => {
            let text = format!("a message of {length} bytes in a buffer of {taken}");
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
        Ok((taken, _)) => Ok(Some(&buf[..taken])),
        Err(Errno::CONNRESET) => Ok(Some(&[])),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How many bytes have arrived and not been read (`FIONREAD`). On a datagram or message socket: the
/// length of the next one (udp(7)), or of all of them (unix(7)).
///
/// # Errors
/// `EINVAL` for a listening socket (tcp(7)), `ENOTTY` for what cannot tell.
pub fn bytes_unread(fd: impl AsFd) -> io::Result<usize> {
    let bytes = rustix::io::ioctl_fionread(fd)?;
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// How many bytes were written and are not with the peer yet: on TCP those it has not acknowledged
/// (`SIOCOUTQ`, tcp(7)); on a Unix socket those it has not read (unix(7)).
///
/// # Errors
/// `EINVAL` for a listening socket, `ENOTTY` for what cannot tell.
pub fn bytes_unsent(fd: impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for the time of the borrow, and SIOCOUTQ (= TIOCOUTQ) stores one int
    // at the address, which is that of one.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    match result {
        0 => Ok(usize::try_from(bytes).unwrap_or(0)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many descriptors this process has open.
///
/// # Errors
/// When `/proc` is not there.
pub fn open_count() -> io::Result<usize> {
    const OPEN_FILES: &str = "/proc/self/fd";
    // Since Linux 6.2 the directory's size is the count; before that it is zero.
    match usize::try_from(rustix::fs::stat(OPEN_FILES)?.st_size) {
        Ok(count) if count > 0 => Ok(count),
        // Less the descriptor that reads the directory.
        _ => Ok(std::fs::read_dir(OPEN_FILES)?.count().saturating_sub(1)),
    }
}

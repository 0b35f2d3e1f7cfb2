//! What an older kernel, or a sandbox, lacks.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd as _;

use crate::process;

/// Whether the kernel has what [`crate::process`] needs: pidfd_open(2), pidfd_send_signal(2) and waitid(2) with `P_PIDFD`, of
/// Linux 5.3, 5.1 and 5.4.
///
/// # Errors
/// The name of the first call that is missing, and what the kernel said: `ENOSYS` or `EINVAL` from one that is older, mostly
/// `EPERM` from a filter that does not know the call.
pub fn pidfds() -> Result<(), (&'static str, io::Error)> {
    let own = process::pidfd(process::pid()).map_err(|error| ("pidfd_open", error))?;
    // SAFETY: integers and null; signal 0 is sent to nobody.
    let status = unsafe {
        let info = std::ptr::null::<libc::siginfo_t>();
        libc::syscall(libc::SYS_pidfd_send_signal, own.as_raw_fd(), 0, info, 0)
    };
    if status != 0 {
        return Err(("pidfd_send_signal", io::Error::last_os_error()));
    }
    match process::reap(&own) {
        // It is no child.
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(()),
        Err(error) => Err(("waitid with P_PIDFD", error)),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_of_this_test_has_it() {
        super::pidfds().unwrap();
    }
}

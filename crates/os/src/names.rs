//! Names of addresses and addresses of names, as the machine is set up to find them.
//!
//! These ask the C library, hence whatever `/etc/nsswitch.conf` names: files, a daemon, DNS. They block,
//! without DNS for as long as `/etc/resolv.conf` says (10 s and more; resolv.conf(5), `timeout` and
//! `attempts`), and cannot be interrupted. Ask on a thread that has nothing else to do.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};
use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs as _};
use std::ptr;

/// Room for the longest name there can be, in bytes: 253 and the zero (RFC 1035, 2.3.4), and then some for
/// what files may say.
const LONGEST: usize = 1025;

/// The name an address has, without a look at where that name leads: whoever holds the address chose it.
/// `None` if it has none.
///
/// # Errors
/// The resolver's, with its text (getnameinfo(3)): it may be out of reach, or have no memory.
pub fn name_of(address: IpAddr) -> io::Result<Option<String>> {
    let mut name = [0_u8; LONGEST];
    let code = match address {
        IpAddr::V4(address) => ask(&inet(address), &mut name),
        IpAddr::V6(address) => ask(&inet6(address), &mut name),
    };
    match code {
        0 => Ok(CStr::from_bytes_until_nul(&name)
            .ok()
            .map(|name| name.to_string_lossy().into_owned())),
        libc::EAI_NONAME | libc::EAI_NODATA => Ok(None),
        libc::EAI_SYSTEM => Err(io::Error::last_os_error()),
        libc::EAI_MEMORY => Err(io::ErrorKind::OutOfMemory.into()),
        code => Err(io::Error::other(text_of(code))),
    }
}

/// Every address a name has, in the order the resolver likes them. The text of an address is the name of
/// that address.
///
/// # Errors
/// The resolver's (getaddrinfo(3)); it calls a name without addresses an error, too.
pub fn addresses_of(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

fn inet(address: Ipv4Addr) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
        sin_zero: [0; 8],
    }
}

fn inet6(address: Ipv6Addr) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: address.octets() },
        sin6_scope_id: 0,
    }
}

/// What a name can be asked for.
trait SocketAddress {}
impl SocketAddress for libc::sockaddr_in {}
impl SocketAddress for libc::sockaddr_in6 {}

/// getnameinfo(3), for a name and nothing but a name.
fn ask<A: SocketAddress>(address: &A, name: &mut [u8; LONGEST]) -> libc::c_int {
    // SAFETY: a whole socket address of the length that is given, room for as many bytes as are given,
    // and no wish for a service.
    unsafe {
        libc::getnameinfo(
            ptr::from_ref(address).cast(),
            size_of::<A>() as libc::socklen_t,
            name.as_mut_ptr().cast::<c_char>(),
            LONGEST as libc::socklen_t,
            ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    }
}

fn text_of(code: libc::c_int) -> String {
    // SAFETY: any number will do.
    let text = unsafe { libc::gai_strerror(code) };
    // SAFETY: a C string that is never changed or freed, whatever the number was (gai_strerror(3)).
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_itself_has_a_name_or_none() {
        for address in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            match name_of(address) {
                Ok(Some(name)) => assert!(!name.is_empty() && name.parse::<IpAddr>().is_err()),
                Ok(None) => {}
                // A machine without files and without DNS.
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }

    #[test]
    fn the_text_of_an_address_leads_to_it() {
        for text in ["192.0.2.7", "2001:db8::7"] {
            assert_eq!(addresses_of(text).unwrap(), [text.parse::<IpAddr>().unwrap()]);
        }
    }

    #[test]
    fn localhost_is_here() {
        assert!(addresses_of("localhost").unwrap().iter().all(IpAddr::is_loopback));
    }

    #[test]
    fn what_is_no_name_is_an_error() {
        assert!(addresses_of("").is_err());
        assert!(addresses_of("a\0b").is_err());
    }

    #[test]
    fn every_code_has_a_text() {
        assert!(!text_of(libc::EAI_AGAIN).is_empty());
        assert!(!text_of(i32::MAX).is_empty());
    }
}

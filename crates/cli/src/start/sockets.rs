//! Where a superdaemon listens, as it is typed: Server::Starter's forms, and Tine's.

use std::net::{IpAddr, Ipv6Addr, ToSocketAddrs as _};

use tine::listen::ListenOptions;

/// A listener to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    /// As [`tine::endpoint::Endpoint`] reads it.
    pub(super) address: String,
    /// What `SERVER_STARTER_PORT` calls it; `None`: where it is bound.
    pub(super) name: Option<String>,
    /// The number that was chosen for it.
    pub(super) number: Option<i32>,
    /// Mode of its file, if it has one.
    pub(super) mode: Option<u32>,
}

impl Socket {
    pub(super) fn options(&self, backlog: Option<u32>) -> ListenOptions {
        let plain = ListenOptions::default();
        ListenOptions {
            backlog: backlog.unwrap_or(plain.backlog),
            unix_mode: self.mode,
            // What a program has not asked for it does not get (rows S5, S24).
            nodelay: false,
            keepalive: false,
            ..plain
        }
    }

    /// Server::Starter's `--port`: `8080`, `host:8080`, `[::1]:8080`, `u53`, `host:u53`, and `=N` after any of them.
    ///
    /// # Errors
    /// What is wrong with it, in the original's words.
    pub(super) fn of_port(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid ``port'' value:{text}");
        let (rest, number) = split_number(text.trim());
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (Some(host.trim()), port.trim()),
            None => (None, rest.trim()),
        };
        let (is_udp, digits) = match port.strip_prefix('u') {
            Some(digits) => (true, digits),
            None => (false, port),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        let port: u16 = digits.parse().map_err(|_| invalid())?;
        let (ip, name) = match host {
            None => ("0.0.0.0".to_owned(), digits.to_owned()),
            Some(host) => {
                let bare = host.trim_matches(['[', ']']).trim();
                let name = if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() };
                (address_of(bare)?, format!("{name}:{digits}"))
            }
        };
        let kind = if is_udp { "udp:" } else { "" };
        let address = format!("{kind}{ip}:{port}");
        Ok(Self { address, name: Some(name), number, mode: None })
    }

    /// Server::Starter's `--path`.
    pub(super) fn of_path(path: &str) -> Self {
        let address = format!("unix:{path}");
        Self { address, name: Some(path.to_owned()), number: None, mode: Some(0o777) }
    }

    /// Tine's `--listen`: an address, and `=N` after it. `mode`: of its file, if it has one.
    pub(super) fn of_address(text: &str, mode: u32) -> Self {
        let (address, number) = split_number(text);
        Self { address: address.to_owned(), name: None, number, mode: Some(mode) }
    }
}

/// What stands before a `=N` at the end, and the number.
fn split_number(text: &str) -> (&str, Option<i32>) {
    match text.rsplit_once('=') {
        Some((rest, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_or((text, None), |number| (rest.trim_end(), Some(number)))
        }
        _ => (text, None),
    }
}

/// The address of a host: the first of version 4 that a name has; of version 6 no names.
fn address_of(host: &str) -> Result<String, String> {
    let failed = |why: &str| format!("failed to resolve host:{host}:{why}");
    if host.contains(':') {
        let (bare, zone) = host.split_once('%').map_or((host, None), |(ip, zone)| (ip, Some(zone)));
        let ip: Ipv6Addr = bare.parse().map_err(|_| failed("it is no IPv6 address"))?;
        return Ok(zone.map_or_else(|| format!("[{ip}]"), |zone| format!("[{ip}%{zone}]")));
    }
    if host.is_empty() {
        return Err(failed("it is empty"));
    }
    let found = (host, 0).to_socket_addrs().map_err(|error| failed(&error.to_string()))?;
    let first = found.map(|address| address.ip()).find(IpAddr::is_ipv4);
    first.map(|ip| ip.to_string()).ok_or_else(|| failed("it has no IPv4 address"))
}

/// The numbers of all of them: those that were chosen, and for the others the lowest that are left.
///
/// # Errors
/// Which number was chosen twice.
pub(super) fn numbers(sockets: &[Socket]) -> Result<Vec<i32>, String> {
    let chosen: Vec<i32> = sockets.iter().filter_map(|socket| socket.number).collect();
    let twice = |number: &&i32| chosen.iter().filter(|other| other == number).count() > 1;
    if let Some(number) = chosen.iter().find(twice) {
        return Err(format!("file descriptor {number} is chosen for two sockets"));
    }
    let mut free = (3..).filter(|number| !chosen.contains(number));
    let number = |socket: &Socket| socket.number.or_else(|| free.next());
    Ok(sockets.iter().filter_map(number).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_its_forms_and_is_called_as_it_is_typed() {
        for (typed, address, name, number) in [
            ("8080", "0.0.0.0:8080", "8080", None),
            (" 8080 ", "0.0.0.0:8080", "8080", None),
            ("127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:8080", None),
            ("localhost:8080", "127.0.0.1:8080", "localhost:8080", None),
            ("[::1]:8080", "[::1]:8080", "[::1]:8080", None),
            ("::1:8080", "[::1]:8080", "[::1]:8080", None),
            ("[::]:80", "[::]:80", "[::]:80", None),
            ("[fe80::1%eth0]:80", "[fe80::1%eth0]:80", "[fe80::1%eth0]:80", None),
            ("u443", "udp:0.0.0.0:443", "443", None),
            ("127.0.0.1:u443", "udp:127.0.0.1:443", "127.0.0.1:443", None),
            ("8080=0", "0.0.0.0:8080", "8080", Some(0)),
            ("127.0.0.1:8080=9", "127.0.0.1:8080", "127.0.0.1:8080", Some(9)),
        ] {
            let socket = Socket::of_port(typed).expect(typed);
            let wanted = (address, Some(name.to_owned()), number);
            assert_eq!((socket.address.as_str(), socket.name, socket.number), wanted, "{typed}");
        }
        for (typed, said) in [
            ("", "invalid ``port'' value:"),
            ("http", "invalid ``port'' value:http"),
            ("80=x", "invalid ``port'' value:80=x"),
            ("70000", "invalid"),
            (":80", "failed to resolve host:"),
            ("[::g]:80", "failed to resolve host:::g"),
        ] {
            let text = Socket::of_port(typed).expect_err(typed);
            assert!(text.starts_with(said), "{typed}: {text}");
        }
    }

    #[test]
    fn numbers_that_were_chosen_are_nobody_elses() {
        let sockets = |typed: &[&str]| -> Vec<Socket> {
            typed.iter().map(|typed| Socket::of_port(typed).expect("a port")).collect()
        };
        assert_eq!(numbers(&sockets(&["1", "2", "3=3", "4"])), Ok(vec![4, 5, 3, 6]));
        assert_eq!(numbers(&sockets(&["1=0"])), Ok(vec![0]));
        assert!(numbers(&sockets(&["1=7", "2=7"])).expect_err("refused").contains('7'));
    }

    #[test]
    fn an_address_may_have_a_number_after_it() {
        let socket = Socket::of_address("127.0.0.1:80=4", 0o600);
        assert_eq!((socket.address.as_str(), socket.number), ("127.0.0.1:80", Some(4)));
        let socket = Socket::of_address("unix:/a=b", 0o600);
        assert_eq!((socket.address.as_str(), socket.mode), ("unix:/a=b", Some(0o600)));
    }
}

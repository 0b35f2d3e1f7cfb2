//! Binding where there is no IPv6, no privilege, or no luck.

use super::*;
use std::cell::RefCell;

const EADDRNOTAVAIL: i32 = 99;
const EAFNOSUPPORT: i32 = 97;
const EINVAL: i32 = 22;
const EACCES: i32 = 13;
const EADDRINUSE: i32 = 98;

fn asked(texts: &[&str]) -> Vec<(Endpoint, ListenOptions)> {
    let all = texts.iter().flat_map(|text| Endpoint::parse_all(text).unwrap());
    all.map(|endpoint| (endpoint, ListenOptions::default())).collect()
}

/// The addresses bound on a machine that answers `number` to every IPv6 address, and the notes.
fn without_ipv6(text: &str, number: i32) -> Result<(Vec<String>, Vec<String>)> {
    let open: Open<'_> = &|kind, address, v6only, options| match address.ip() {
        IpAddr::V6(_) => Err(io::Error::from_raw_os_error(number)),
        IpAddr::V4(_) => open(kind, address, v6only, options),
    };
    let (listeners, notes) =
        bind_all_with(&asked(&[text]), Vec::new(), (1, &Leftovers::default(), ""), open)?;
    Ok((listeners.iter().map(|listener| listener.address().to_owned()).collect(), notes))
}

#[test]
fn all_addresses_are_those_of_ipv4_where_there_is_no_ipv6() {
    for number in [EAFNOSUPPORT, EADDRNOTAVAIL, EINVAL] {
        for text in ["*:0", "udp:*:0"] {
            let (addresses, notes) = without_ipv6(text, number).unwrap();
            assert!(addresses[0].contains("0.0.0.0:"), "{addresses:?}");
            assert!(notes[0].contains("IPv4 alone"), "{notes:?}");
        }
    }
}

#[test]
fn another_refusal_is_not_taken_for_missing_ipv6() {
    assert!(without_ipv6("*:0", EACCES).unwrap_err().is_bind());
}

#[test]
fn ipv6_that_was_asked_for_is_not_replaced() {
    for text in ["*:0/IPv6", "[::1]:0", "*:0/IPv4/IPv6"] {
        let error = without_ipv6(text, EAFNOSUPPORT).unwrap_err();
        assert!(error.is_bind() && error.to_string().contains("::"), "{error}");
    }
}

#[test]
fn a_low_port_without_the_privilege_is_explained() {
    let open: Open<'_> = &|_, _, _, _| Err(io::Error::from_raw_os_error(EACCES));
    let error =
        bind_all_with(&asked(&["127.0.0.1:80"]), Vec::new(), (1, &Leftovers::default(), ""), open)
            .unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("cannot listen on 127.0.0.1:80: Permission denied"), "{text}");
    assert!(text.contains("CAP_NET_BIND_SERVICE"), "{text}");
}

#[test]
fn another_port_is_chosen_if_the_first_is_taken_in_the_other_version_of_ip() {
    let refusals = RefCell::new(2);
    let open: Open<'_> = &|kind, address, v6only, options| {
        if address.port() != 0 && *refusals.borrow() > 0 {
            *refusals.borrow_mut() -= 1;
            return Err(io::Error::from_raw_os_error(EADDRINUSE));
        }
        open(kind, address, v6only, options)
    };
    let (listeners, _) =
        bind_all_with(&asked(&["*:0/IPv4/IPv6"]), Vec::new(), (1, &Leftovers::default(), ""), open)
            .unwrap();
    assert_eq!((listeners.len(), *refusals.borrow()), (2, 0));
}

//! From what was asked for to the sockets it takes: names and services looked up, duplicates dropped.

use super::{Kind, ListenOptions};
use crate::endpoint::{Endpoint, Family, Host, Inet, Port, UnixName};
use crate::{Error, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::{fs, io};
use tine_os::socket::{Address, interface_index};

const SERVICES: &str = "/etc/services";

/// What to do where the machine has no IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Without6 {
    /// IPv6 was asked for: it is an error.
    Fail,
    /// Another address of the same endpoint does.
    Skip,
    /// Bind 0.0.0.0 instead.
    UseV4,
}

/// Where one socket goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Inet { address: SocketAddr, v6only: bool },
    Unix(UnixName),
}

/// One socket to be made.
#[derive(Clone, Debug)]
pub(super) struct Want<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) options: &'a ListenOptions,
    pub(super) kind: Kind,
    pub(super) place: Place,
    pub(super) without6: Without6,
    /// If the kernel is to choose the port: take the one it chose for the want before.
    pub(super) follows: bool,
}

impl Want<'_> {
    /// The place as reports have it.
    pub(super) fn describe(&self) -> String {
        self.kind.describe(&self.address())
    }

    fn address(&self) -> Address {
        match &self.place {
            Place::Inet { address, .. } => Address::Ip(*address),
            Place::Unix(name) => Address::Unix(name.clone()),
        }
    }

    /// Whether the port is the kernel's choice, and this address differs in nothing else.
    pub(super) fn is_open_at(&self, address: &str) -> bool {
        let Place::Inet { address: wanted, .. } = self.place else { return false };
        let there = address.strip_prefix("udp:").unwrap_or(address).parse::<SocketAddr>();
        // But for the port, so that zones are compared, too.
        let at = |mut address: SocketAddr| {
            address.set_port(0);
            address
        };
        self.port_is_open() && there.is_ok_and(|there| at(there) == at(wanted))
    }

    fn port_is_open(&self) -> bool {
        matches!(self.place, Place::Inet { address, .. } if address.port() == 0)
    }

    /// True for `[::]` if it takes IPv4 as well, with this kind and port.
    fn takes_ipv4_of(&self, kind: Kind, port: u16) -> bool {
        let Place::Inet { address, v6only: false } = self.place else { return false };
        self.kind == kind
            && address.port() == port
            && address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    }
}

/// Lists the sockets that all endpoints together take.
pub(super) fn wants(endpoints: &[(Endpoint, ListenOptions)]) -> Result<Vec<Want<'_>>> {
    let mut all = Vec::new();
    let mut before = None;
    for (endpoint, options) in endpoints {
        let first = all.len();
        all.extend(expand(endpoint, options)?);
        if let Some(want) = all.get_mut(first) {
            want.follows = before.is_some_and(|before| are_one_address(before, endpoint));
        }
        before = Some(endpoint);
    }
    Ok(all)
}

/// `host:0/IPv6` and then `host:0/IPv4`: one address in two versions, as it is read from `host:0/IPv4/IPv6`.
fn are_one_address(six: &Endpoint, four: &Endpoint) -> bool {
    match (six, four) {
        (Endpoint::Tcp(six), Endpoint::Tcp(four)) | (Endpoint::Udp(six), Endpoint::Udp(four)) => {
            six.family == Family::V6 && *four == Inet { family: Family::V4, ..six.clone() }
        }
        _ => false,
    }
}

fn expand<'a>(endpoint: &'a Endpoint, options: &'a ListenOptions) -> Result<Vec<Want<'a>>> {
    let kind = Kind::of(endpoint);
    let want =
        |place, without6, follows| Want { endpoint, options, kind, place, without6, follows };
    let inet = match endpoint {
        Endpoint::Tcp(inet) | Endpoint::Udp(inet) => inet,
        Endpoint::Unix { name, .. } | Endpoint::UnixDatagram(name) => {
            return Ok(vec![want(Place::Unix(name.clone()), Without6::Fail, false)]);
        }
    };
    let port = port_number(endpoint, inet)?;
    let v6only = options.v6only.unwrap_or(true);
    let place = |ip: IpAddr, v6only| Place::Inet { address: (ip, port).into(), v6only };
    let (four, six) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    Ok(match (&inet.host, inet.family) {
        (Host::Ip(ip), _) => vec![want(place(*ip, v6only), Without6::Fail, false)],
        (Host::Link { ip, zone }, _) => {
            let address = SocketAddrV6::new(*ip, port, 0, interface(endpoint, zone)?).into();
            vec![want(Place::Inet { address, v6only }, Without6::Fail, false)]
        }
        (Host::Any, Family::V4) => vec![want(place(four, true), Without6::Fail, false)],
        (Host::Any, Family::V6) => vec![want(place(six, v6only), Without6::Fail, false)],
        (Host::Any, Family::Any) if options.v6only == Some(true) => {
            vec![
                want(place(six, true), Without6::Skip, false),
                want(place(four, true), Without6::Fail, true),
            ]
        }
        (Host::Any, Family::Any) => vec![want(place(six, false), Without6::UseV4, false)],
        (Host::Name(name), family) => {
            let addresses = look_up(endpoint, name, family)?;
            let without6 =
                if addresses.iter().any(IpAddr::is_ipv4) { Without6::Skip } else { Without6::Fail };
            let wants = addresses.into_iter().enumerate();
            wants.map(|(index, ip)| want(place(ip, v6only), without6, index > 0)).collect()
        }
    })
}

/// Every address a name has in the versions asked for, in the order the resolver likes them.
fn look_up(endpoint: &Endpoint, name: &str, family: Family) -> Result<Vec<IpAddr>> {
    let found = (name, 0).to_socket_addrs().map_err(|error| {
        Error::bind(
            format!("cannot listen on {endpoint}: no address found for \"{name}\": {error}"),
            error,
        )
    })?;
    let mut addresses = Vec::new();
    for ip in found.map(|address| address.ip()) {
        let wanted = match family {
            Family::Any => true,
            Family::V4 => ip.is_ipv4(),
            Family::V6 => ip.is_ipv6(),
        };
        if wanted && !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    if addresses.is_empty() {
        let text =
            format!("cannot listen on {endpoint}: \"{name}\" has no address of this version of IP");
        return Err(Error::bind(text, io::ErrorKind::AddrNotAvailable.into()));
    }
    Ok(addresses)
}

/// The index of an interface that is called by its name or its index.
fn interface(endpoint: &Endpoint, zone: &str) -> Result<u32> {
    if let Ok(index) = zone.parse() {
        return Ok(index);
    }
    interface_index(zone).map_err(|error| {
        Error::bind(format!("cannot listen on {endpoint}: interface \"{zone}\": {error}"), error)
    })
}

fn port_number(endpoint: &Endpoint, inet: &Inet) -> Result<u16> {
    let name = match &inet.port {
        Port::Number(number) => return Ok(*number),
        Port::Service(name) => name,
    };
    let protocol = if matches!(endpoint, Endpoint::Udp(_)) { "udp" } else { "tcp" };
    let table = fs::read_to_string(SERVICES).map_err(|error| {
        let text = format!(
            "cannot listen on {endpoint}: the port \"{name}\" is a name, and {SERVICES}, which has their numbers, \
             cannot be read ({error}): write the number"
        );
        Error::config(text)
    })?;
    service(&table, name, protocol).ok_or_else(|| {
        let hint = if inet.host == Host::Any { format!("; if it is a host, write {name}:PORT") } else { String::new() };
        Error::config(format!(
            "cannot listen on {endpoint}: {SERVICES} has no {protocol} port called \"{name}\": write the number{hint}"
        ))
    })
}

/// Finds a port by its name or one of its aliases in a table as services(5) describes it.
fn service(table: &str, name: &str, protocol: &str) -> Option<u16> {
    table.lines().find_map(|line| {
        let mut words = line.split('#').next().unwrap_or("").split_whitespace();
        let official = words.next()?;
        let (port, its_protocol) = words.next()?.split_once('/')?;
        let named = official == name || words.any(|alias| alias == name);
        if named && its_protocol == protocol { port.parse().ok() } else { None }
    })
}

/// Drops what is wanted twice, or is there already, with a note for each. Wanting one address both with and
/// without TLS is an error.
pub(super) fn distinct<'a>(
    wants: Vec<Want<'a>>,
    there: &[String],
) -> Result<(Vec<Want<'a>>, Vec<String>)> {
    let mut kept: Vec<Want<'_>> = Vec::with_capacity(wants.len());
    let mut notes = Vec::new();
    let dual: Vec<Want<'_>> =
        wants.iter().filter(|want| want.without6 == Without6::UseV4).cloned().collect();
    for want in wants {
        if want.port_is_open() {
            kept.push(want);
            continue;
        }
        let text = want.describe();
        let earlier = kept
            .iter()
            .find(|earlier| earlier.kind == want.kind && earlier.address() == want.address());
        let covering = match want.place {
            Place::Inet { address, .. } if address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) => {
                dual.iter().find(|dual| dual.takes_ipv4_of(want.kind, address.port()))
            }
            _ => None,
        };
        if let Some(same) =
            earlier.or(covering).filter(|same| same.endpoint.tls() != want.endpoint.tls())
        {
            let (one, other) = (same.endpoint, want.endpoint);
            return Err(Error::config(format!(
                "{text} cannot be both with and without TLS: {one} and {other}"
            )));
        }
        if there.contains(&text) {
            notes.push(format!("{text} was passed in already bound and is not bound again"));
        } else if earlier.is_some() {
            notes.push(format!("{text} is listed more than once: bound once"));
        } else if let Some(dual) = covering {
            notes.push(format!(
                "{text} is not bound on its own: {} takes IPv4 too",
                dual.describe()
            ));
        } else {
            kept.push(want);
        }
    }
    Ok((kept, notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "# comment\nsmtp\t25/tcp\tmail # the post\nhttp 80/tcp www\nntp 123/udp\nbroken\n";

    #[test]
    fn services_are_found_by_name_and_alias_in_their_protocol() {
        assert_eq!(service(TABLE, "smtp", "tcp"), Some(25));
        assert_eq!(service(TABLE, "mail", "tcp"), Some(25));
        assert_eq!(service(TABLE, "www", "tcp"), Some(80));
        assert_eq!(service(TABLE, "ntp", "udp"), Some(123));
        assert_eq!(service(TABLE, "ntp", "tcp"), None);
        assert_eq!(service(TABLE, "the", "tcp"), None);
        assert_eq!(service(TABLE, "broken", "tcp"), None);
    }

    fn kept(texts: &[&str], there: &[&str]) -> Result<(Vec<String>, Vec<String>)> {
        let list: Vec<_> = texts
            .iter()
            .flat_map(|text| Endpoint::parse_all(text).unwrap())
            .map(|endpoint| (endpoint, ListenOptions::default()))
            .collect();
        let there: Vec<String> = there.iter().map(ToString::to_string).collect();
        let (kept, notes) = distinct(wants(&list)?, &there)?;
        Ok((kept.iter().map(Want::describe).collect(), notes))
    }

    #[test]
    fn an_address_listed_twice_is_kept_once_with_a_note() {
        let (kept, notes) =
            kept(&["127.0.0.1:80", "80/IPv4", "127.0.0.1:http", "udp:127.0.0.1:80"], &[]).unwrap();
        assert_eq!(kept, ["127.0.0.1:80", "0.0.0.0:80", "udp:127.0.0.1:80"]);
        assert_eq!(notes, ["127.0.0.1:80 is listed more than once: bound once"]);
    }

    #[test]
    fn port_0_may_be_listed_any_number_of_times() {
        let (kept, notes) = kept(&["127.0.0.1:0", "127.0.0.1:0"], &[]).unwrap();
        assert_eq!((kept.len(), notes.len()), (2, 0));
    }

    #[test]
    fn all_of_ipv4_is_not_bound_beside_a_dual_stack_socket_whichever_comes_first() {
        for order in [["*:80", "0.0.0.0:80"], ["0.0.0.0:80", "*:80"]] {
            let (kept, notes) = kept(&order, &[]).unwrap();
            assert_eq!(kept, ["[::]:80"]);
            assert_eq!(notes, ["0.0.0.0:80 is not bound on its own: [::]:80 takes IPv4 too"]);
        }
        assert_eq!(kept(&["[::]:80", "0.0.0.0:80"], &[]).unwrap().0, ["[::]:80", "0.0.0.0:80"]);
    }

    #[test]
    fn what_was_passed_in_is_not_bound_again() {
        let (kept, notes) = kept(&["127.0.0.1:80", "unix:/run/s"], &["unix:/run/s"]).unwrap();
        assert_eq!(kept, ["127.0.0.1:80"]);
        assert_eq!(notes, ["unix:/run/s was passed in already bound and is not bound again"]);
    }

    #[test]
    fn one_address_cannot_be_with_and_without_tls() {
        let error = kept(&["127.0.0.1:443", "127.0.0.1:443/ssl"], &[]).unwrap_err();
        assert!(error.is_config());
    }

    #[test]
    fn an_unknown_service_is_refused_by_name() {
        let error = kept(&["no-such-service"], &[]).unwrap_err().to_string();
        assert!(
            error.contains("/etc/services") && error.contains("no-such-service:PORT"),
            "{error}"
        );
    }

    #[test]
    fn v6only_splits_the_host_of_all_addresses_in_two() {
        let options = ListenOptions { v6only: Some(true), ..ListenOptions::default() };
        let list = [("*:0".parse().unwrap(), options)];
        let wants = wants(&list).unwrap();
        let places: Vec<_> = wants.iter().map(|want| (want.describe(), want.follows)).collect();
        assert_eq!(places, [("[::]:0".into(), false), ("0.0.0.0:0".into(), true)]);
    }
}

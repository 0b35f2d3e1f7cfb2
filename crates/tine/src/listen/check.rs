//! Whether everything could be bound, asked without taking anything: no client, no file, no port is lost by it, and a
//! service that is there already is no obstacle.

use super::bind::{ipv4_alone, is_skipped, skipped, uses_ipv4, validate};
use super::refusal::{self, Refused};
use super::resolve::{Place, Want, distinct, wants};
use super::{Kind, ListenOptions, unix};
use crate::Result;
use crate::endpoint::Endpoint;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tine_os::socket::try_address;

/// The listeners of one service, checked pool by pool.
#[derive(Debug, Default)]
pub(crate) struct Check {
    claims: Vec<Claim>,
    /// For people: what would be left out or made do with, and who has what now.
    pub(crate) notes: Vec<String>,
}

/// An Internet address that one of them would have.
#[derive(Clone, Copy, Debug)]
struct Claim {
    kind: Kind,
    address: SocketAddr,
    v6only: bool,
    reuse_port: bool,
}

impl Check {
    /// Looks everything up that a pool would listen on, as a start does, and asks the kernel about each address.
    ///
    /// # Errors
    /// Those of a start, but for what somebody else has now: that is a note, for it may be the very service that is to
    /// be reloaded or started anew. Two listeners of one service that want the same Internet address are an error.
    pub(crate) fn pool(&mut self, endpoints: &[(Endpoint, ListenOptions)]) -> Result<()> {
        validate(endpoints)?;
        let (wants, notes) = distinct(wants(endpoints)?, &[])?;
        self.notes.extend(notes);
        for group in wants.chunk_by(|_, next| next.follows) {
            let mut left_out = Vec::new();
            for want in group {
                match self.one(want) {
                    Err(refused) if is_skipped(want, &refused.error) => {
                        self.notes.push(skipped(want, &refused.error));
                        left_out.push(refused);
                    }
                    checked => checked?,
                }
            }
            if left_out.len() == group.len()
                && let Some(refused) = left_out.pop()
            {
                return Err(refused.into());
            }
        }
        Ok(())
    }

    fn one(&mut self, want: &Want<'_>) -> std::result::Result<(), Refused> {
        let (mut address, v6only) = match &want.place {
            Place::Inet { address, v6only } => (*address, *v6only),
            Place::Unix(name) => {
                self.notes.extend(unix::check(want, name)?);
                return Ok(());
            }
        };
        let free_bind = want.options.free_bind;
        let mut asked = try_address(address, v6only, free_bind);
        if let Err(error) = &asked
            && uses_ipv4(want, error)
        {
            address.set_ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            self.notes.push(ipv4_alone(want, error));
            asked = try_address(address, true, free_bind);
        }
        self.claim(want, address, v6only)?;
        let taken = matches!(&asked, Err(error) if error.kind() == ErrorKind::AddrInUse);
        if !taken {
            asked.map_err(|error| refusal::inet(want, address, error))?;
        }
        // It is a TCP socket that was asked with: what it says of a port is nothing to datagrams.
        let is_udp = want.kind == Kind::Udp && address.port() != 0;
        let holder = (taken || is_udp).then(|| refusal::holder(want.kind, address)).flatten();
        if holder.is_some() || (taken && want.kind == Kind::Tcp) {
            self.notes.push(refusal::is_taken(&want.describe(), holder));
        }
        Ok(())
    }

    fn claim(
        &mut self,
        want: &Want<'_>,
        address: SocketAddr,
        v6only: bool,
    ) -> std::result::Result<(), Refused> {
        let (kind, reuse_port) = (want.kind, want.options.reuse_port);
        let claim = Claim { kind, address, v6only, reuse_port };
        if self.claims.iter().any(|other| other.excludes(&claim)) {
            return Err(refusal::twice(want, address));
        }
        self.claims.push(claim);
        Ok(())
    }
}

impl Claim {
    /// Whether the kernel would let only one of the two be bound.
    fn excludes(&self, other: &Self) -> bool {
        let (one, two) = (self.address.ip(), other.address.ip());
        let link = |claim: &Self| match claim.address {
            SocketAddr::V6(six) => six.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        let same = one == two && link(self) == link(other);
        let dual = |claim: &Self| {
            claim.address.is_ipv6() && claim.address.ip().is_unspecified() && !claim.v6only
        };
        let meet = match one.is_ipv4() == two.is_ipv4() {
            true => same || one.is_unspecified() || two.is_unspecified(),
            false => dual(self) || dual(other),
        };
        let port = self.address.port();
        let share = self.reuse_port && other.reuse_port;
        self.kind == other.kind && port == other.address.port() && port != 0 && meet && !share
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn checked(addresses: &[&str]) -> Result<Vec<String>> {
        let parsed = addresses.iter().flat_map(|it| Endpoint::parse_all(it).expect("an address"));
        let all: Vec<_> = parsed.map(|it| (it, ListenOptions::default())).collect();
        let mut check = Check::default();
        check.pool(&all).map(|()| check.notes)
    }

    #[test]
    fn an_address_that_is_in_use_is_a_note_and_goes_on_serving() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("it is bound").to_string();
        let notes = checked(&[&address]).expect("it could be bound later");
        let own = format!("{address} is in use now, by process {}", std::process::id());
        assert!(notes.len() == 1 && notes[0].starts_with(&own), "{notes:?}");
        std::net::TcpStream::connect(&address).expect("it serves");
        assert!(checked(&[&format!("udp:{address}")]).expect("another thing").is_empty());
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("it is bound").to_string();
        let notes = checked(&[&format!("udp:{address}")]).expect("it could be bound later");
        assert!(notes.len() == 1 && notes[0].contains("is in use now, by process"), "{notes:?}");
    }

    #[test]
    fn an_address_that_is_free_is_free_afterwards() {
        let found = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let address = found.expect("a port").to_string();
        assert!(checked(&[&address]).expect("it is free").is_empty());
        TcpListener::bind(&address).expect("nobody has it");
    }

    #[test]
    fn addresses_that_this_machine_does_not_have_are_refused() {
        let error = checked(&["192.0.2.1:0"]).expect_err("it is nobody's (RFC 5737)");
        assert!(error.is_bind() && error.to_string().contains("192.0.2.1"), "{error}");
        let error = checked(&["udp:192.0.2.1:99"]).expect_err("it is nobody's");
        assert!(error.is_bind(), "{error}");
    }

    #[test]
    fn two_listeners_that_could_not_be_bound_side_by_side_are_refused() {
        for pair in [["0.0.0.0:41999", "127.0.0.1:41999"], ["*:41999", "127.0.0.1:41999"]] {
            let error = checked(&pair).expect_err("one is in the way of the other");
            assert!(error.is_bind() && error.to_string().contains("another listener"), "{error}");
        }
        for pair in [["127.0.0.1:0", "127.0.0.1:0"], ["udp:127.0.0.1:41999", "127.0.0.1:41999"]] {
            checked(&pair).expect("both can be had");
        }
    }

    #[test]
    fn a_path_is_looked_at_and_nothing_is_made() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| format!("unix:{}", directory.path().join(name).display());
        assert!(checked(&[&at("s")]).expect("it can be made").is_empty());
        assert_eq!(std::fs::read_dir(directory.path()).expect("it is there").count(), 0);
        let error = checked(&[&at("none/s")]).expect_err("there is no such directory");
        assert!(error.is_bind() && error.to_string().contains("is there a directory"), "{error}");
        std::fs::write(directory.path().join("file"), "").expect("a file");
        assert!(
            checked(&[&at("file")]).expect_err("it stays").to_string().contains("regular file")
        );
        let path = directory.path().join("live");
        let live = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        assert!(checked(&[&at("live")]).expect("a note")[0].contains("in use now"));
        drop(live);
        assert!(checked(&[&at("live")]).expect("a note")[0].contains("stale"));
        assert!(path.exists(), "it was only looked at");
    }
}

//! Whose word about a client is taken.

use std::net::IpAddr;
use std::rc::Rc;

use tine::access::Networks;

/// The proxies that may say on whose behalf they ask. Nobody by default.
///
/// An entry is an address, a network (`10.0.0.0/8`), a range (`10.0.0.5-10.0.0.20`), or `unix`: whoever may
/// connect to a Unix socket. The networks your proxies are in, and no more: whoever is in them can call
/// himself what he likes.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    networks: Option<Rc<Networks>>,
    unix: bool,
}

impl Trust {
    /// Trusts these.
    ///
    /// # Errors
    /// A configuration error that names the entry, and says what to write instead.
    pub fn new<E: AsRef<str>>(entries: impl IntoIterator<Item = E>) -> tine::Result<Self> {
        let mut unix = false;
        let mut networks = Vec::new();
        for entry in entries {
            match entry.as_ref().trim() {
                "unix" => unix = true,
                other => networks.push(other.to_owned()),
            }
        }
        let some = !networks.is_empty();
        let networks = Networks::new("trust", &networks)?;
        Ok(Self { networks: some.then(|| Rc::new(networks)), unix })
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.unix && self.networks.is_none()
    }

    /// Whether this peer is; `None` is one at a Unix socket.
    #[must_use]
    pub fn holds(&self, peer: Option<IpAddr>) -> bool {
        match (peer, &self.networks) {
            (None, _) => self.unix,
            (Some(peer), Some(networks)) => networks.hold(peer),
            (Some(_), None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_the_unix_socket_are_trusted_and_nobody_else() {
        let ip = |text: &str| Some(text.parse().unwrap());
        let nobody = Trust::default();
        assert!(nobody.is_empty() && !nobody.holds(None) && !nobody.holds(ip("127.0.0.1")));
        let trust = Trust::new(["10.0.0.0/8", "2001:db8::7"]).unwrap();
        assert!(trust.holds(ip("10.1.2.3")) && trust.holds(ip("2001:db8::7")));
        assert!(trust.holds(ip("::ffff:10.1.2.3")), "an IPv4 client is one");
        assert!(!trust.holds(ip("11.0.0.0")) && !trust.holds(None) && !trust.is_empty());
        let trust = Trust::new(["unix"]).unwrap();
        assert!(trust.holds(None) && !trust.holds(ip("127.0.0.1")) && !trust.is_empty());
    }

    #[test]
    fn names_are_refused_for_they_are_whoever_answers_for_them() {
        for entry in ["proxy.example.org", ".example.org", "~ 10", "10.0.0.0/33"] {
            let error = Trust::new([entry]).unwrap_err();
            assert!(error.is_config() && error.to_string().contains(entry), "{error}");
        }
    }
}

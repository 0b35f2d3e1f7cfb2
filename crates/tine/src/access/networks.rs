//! Addresses alone: for what is decided without a name.

use std::net::IpAddr;

use super::entry::{Entry, parse};
use super::list::ALL;
use super::ranges::Ranges;
use crate::{Error, Result};

/// A set of addresses and networks of both families, asked in logarithmic time. Entries are written as in
/// access rules, less names and patterns.
#[derive(Debug)]
pub struct Networks(Ranges);

impl Networks {
    /// The set of these entries; `what` is what they are called where they are written.
    ///
    /// # Errors
    /// A configuration error that names the entry, and says what to write instead.
    pub fn new<E: AsRef<str>>(what: &str, entries: &[E]) -> Result<Self> {
        let mut ranges = Vec::new();
        for (rule, text) in entries.iter().enumerate() {
            let text = text.as_ref();
            let wrong = |wrong| Err(Error::config(format!("{what} {text:?}: {wrong}")));
            match parse(text) {
                Ok(Entry::Range(first, last)) => ranges.push((first, last, rule)),
                Ok(Entry::All) => ranges.extend(ALL.map(|(first, last)| (first, last, rule))),
                Ok(Entry::Host(_) | Entry::Domain(_) | Entry::Pattern(_)) => {
                    return wrong("write an address or a network (10.0.0.0/8)".to_owned());
                }
                Err(error) => return wrong(error),
            }
        }
        Ok(Self(Ranges::new(ranges)))
    }

    /// Whether this address is among them. An IPv4 address is one, however it is written.
    #[must_use]
    pub fn hold(&self, address: IpAddr) -> bool {
        self.0.find(address.to_canonical()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_held_and_names_are_refused() {
        let networks = Networks::new("trust", &["10.0.0.0/8", "2001:db8::/32"]).unwrap();
        for (address, held) in [
            ("10.255.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("2001:db8::1", true),
            ("11.0.0.1", false),
            ("2001:db9::1", false),
        ] {
            assert_eq!(networks.hold(address.parse().unwrap()), held, "{address}");
        }
        assert!(Networks::new("trust", &["all"]).unwrap().hold("::1".parse().unwrap()));
        let error = Networks::new("trust", &["example.org"]).unwrap_err().to_string();
        assert_eq!(error, "trust \"example.org\": write an address or a network (10.0.0.0/8)");
    }
}

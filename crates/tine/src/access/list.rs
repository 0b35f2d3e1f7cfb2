//! One list of rules, sorted by how they are asked.

use super::entry::{Entry, parse};
use super::names::{Names, without_root};
use super::ranges::Ranges;
use crate::{Error, Result};
use regex::bytes::Regex;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest text of an address, in bytes (`INET6_ADDRSTRLEN`, without its zero).
const ADDRESS_BYTES: usize = 45;
/// Everybody, family by family.
pub(super) const ALL: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::BROADCAST)),
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::from_bits(u128::MAX))),
];

/// The rules of one list; numbers are indices into `texts`.
#[derive(Debug)]
pub(super) struct List {
    texts: Vec<Box<str>>,
    ranges: Ranges,
    hosts: Names,
    domains: Names,
    patterns: Vec<(Regex, usize)>,
}

impl List {
    /// # Errors
    /// A configuration error that names the list and the entry, and says what to write instead.
    pub(super) fn new(list: &str, entries: &[String]) -> Result<Self> {
        let (mut ranges, mut hosts, mut domains, mut patterns) = (vec![], vec![], vec![], vec![]);
        for (rule, text) in entries.iter().enumerate() {
            let entry = parse(text)
                .map_err(|what| Error::config(format!("access: {list} {text:?}: {what}")))?;
            match entry {
                Entry::Range(first, last) => ranges.push((first, last, rule)),
                Entry::All => ranges.extend(ALL.map(|(first, last)| (first, last, rule))),
                Entry::Host(name) => hosts.push((name, rule)),
                Entry::Domain(name) => domains.push((name, rule)),
                Entry::Pattern(regex) => patterns.push((regex, rule)),
            }
        }
        Ok(Self {
            texts: entries.iter().map(|text| text.trim().into()).collect(),
            ranges: Ranges::new(ranges),
            hosts: Names::new(hosts.into_iter()),
            domains: Names::new(domains.into_iter()),
            patterns,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Whether a name can make a difference.
    pub(super) fn asks_names(&self) -> bool {
        self.any_name_rule().is_some() || !self.patterns.is_empty()
    }

    /// A rule that is about nothing but names: without them it can never match.
    pub(super) fn any_name_rule(&self) -> Option<&str> {
        let rule = self.hosts.any().or_else(|| self.domains.any())?;
        Some(&self.texts[rule])
    }

    /// The text of a rule that matches: name before address, patterns before networks.
    pub(super) fn find(&self, address: IpAddr, name: Option<&str>) -> Option<&str> {
        let by_name = name.and_then(|name| self.by_name(without_root(name)));
        let rule = by_name.or_else(|| self.by_address(address))?;
        Some(&self.texts[rule])
    }

    fn by_name(&self, name: &str) -> Option<usize> {
        let listed = self.hosts.find(name).or_else(|| self.domains.find_domain(name));
        listed.or_else(|| self.by_pattern(name.as_bytes()))
    }

    fn by_address(&self, address: IpAddr) -> Option<usize> {
        // Its text is not needed where nobody looks at it.
        let matched = (!self.patterns.is_empty())
            .then(|| self.by_pattern(AddressText::of(address).as_bytes()))
            .flatten();
        matched.or_else(|| self.ranges.find(address))
    }

    fn by_pattern(&self, text: &[u8]) -> Option<usize> {
        self.patterns.iter().find(|(regex, _)| regex.is_match(text)).map(|(_, rule)| *rule)
    }
}

/// The text of an address, on the stack.
struct AddressText {
    bytes: [u8; ADDRESS_BYTES],
    length: usize,
}

impl AddressText {
    fn of(address: IpAddr) -> Self {
        let mut text = Self { bytes: [0; ADDRESS_BYTES], length: 0 };
        // Every address fits.
        let _ = write!(text, "{address}");
        text
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Write for AddressText {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.length..self.length + part.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(part.as_bytes());
        self.length += part.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_every_address_fits() {
        for address in [ALL[0].0, ALL[0].1, ALL[1].0, ALL[1].1] {
            assert_eq!(AddressText::of(address).as_bytes(), address.to_string().as_bytes());
        }
        let longest: IpAddr = "::255.255.255.255".parse().unwrap();
        assert_eq!(AddressText::of(longest).as_bytes(), longest.to_string().as_bytes());
    }

    #[test]
    fn a_refusal_names_the_list_and_the_entry() {
        let error =
            List::new("deny", &["10.0.0.0/8".to_owned(), "10.0.0.0/99".to_owned()]).unwrap_err();
        assert!(error.is_config());
        let text = error.to_string();
        assert!(text.starts_with(r#"access: deny "10.0.0.0/99": "#), "{text}");
    }
}

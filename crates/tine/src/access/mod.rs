//! Who may come in: rules about addresses and names, for raw connections and for what is above them.
//!
//! | entry | matches |
//! |---|---|
//! | `10.0.0.5`, `2001:db8::7` | one address |
//! | `10.0.0.0/8`, `2001:db8::/32` | a network; bits behind the prefix mean nothing |
//! | `10.0.0.5-10.0.0.20` | a range, both ends included |
//! | `all` | everybody |
//! | `www.example.org` | the host of that name |
//! | `.example.org` | the domain, and every name below it |
//! | `~ ^host[0-9]+\.example\.org$` | a whole name, or the whole text of an address, by a regular expression |
//!
//! Lists mix all of them, and both versions of IP. Names are compared without regard to case, patterns too.
//! An IPv4 client of an IPv6 socket is the IPv4 address it is, in rules as in clients; so `::/0` is every
//! IPv6 client and no other. What makes no sense is refused when the rules are made, not when a client
//! comes.
//!
//! The first of these that applies decides:
//!
//! 1. a client of a Unix socket comes in: the file's mode is its rule;
//! 2. with [`Lookups::Double`], a client whose name does not lead back to its address stays out;
//! 3. an entry of `deny` matches: it stays out (the name is looked at first, then the address);
//! 4. an entry of `allow` matches: it comes in;
//! 5. the `default`, if there is one;
//! 6. it comes in if `allow` is empty, and stays out otherwise.
//!
//! This is the order of Perl's Net::Server, with these differences:
//!
//! | | Net::Server | here |
//! |---|---|---|
//! | only `deny` rules, and none matches | stays out: nobody ever comes in | comes in |
//! | `a\|b` as a pattern | begins with `a`, or ends with `b` | is `a`, or is `b` |
//! | `FOO.example` against the pattern `foo\.example` | no match: a way around a rule | a match |
//! | a rule that makes no sense | kills the worker of each client | refused at the start |
//! | a lookup | blocks, for each client, without end | asynchronous, kept, shared, with a deadline, and only where a rule needs it |
//! | the double lookup's modes `debug`, `detail`, `autofail` | log, or deny everybody | the [`Verdict`]'s text says what was found |
//!
//! [`Rules`] are pure. A [`Gate`] has rules and a [`Resolver`], and is what a worker asks.

mod cache;
mod config;
mod entry;
mod list;
mod lookup;
mod name;
mod names;
mod networks;
mod ranges;
mod resolve;
mod rules;
#[cfg(test)]
mod tests;

pub use config::{AccessConfig, Decision, Lookups, ResolverConfig};
pub use lookup::Lookup;
pub use name::{Failure, Name};
pub use networks::Networks;
pub use resolve::{Resolver, Source};
pub use rules::{Peer, Reason, Rules, Verdict};

use std::net::IpAddr;

/// Rules, and the lookups they need. Making it starts nothing, so it can be made before a fork and asked
/// after.
#[derive(Debug)]
pub struct Gate {
    rules: Rules,
    resolver: Resolver,
}

impl Gate {
    /// Several gates of a process share a resolver: give each a clone.
    #[must_use]
    pub fn new(rules: Rules, resolver: Resolver) -> Self {
        Self { rules, resolver }
    }

    /// Its rules.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// May this client come in? Blocks for a lookup where one is needed, at most for the resolver's timeout:
    /// for workers that serve one client at a time. `None` is a client of a Unix socket.
    pub fn check(&self, address: Option<IpAddr>) -> Verdict<'_> {
        match self.ask(address) {
            Ok(verdict) => verdict,
            Err(lookup) => self.decide(address, &lookup.wait()),
        }
    }

    /// The same without blocking, in any runtime.
    pub async fn check_async(&self, address: Option<IpAddr>) -> Verdict<'_> {
        match self.ask(address) {
            Ok(verdict) => verdict,
            Err(lookup) => self.decide(address, &lookup.await),
        }
    }

    /// What the address settles, or the lookup that is needed.
    pub(crate) fn ask(&self, address: Option<IpAddr>) -> Result<Verdict<'_>, Lookup> {
        match (self.rules.decide_by_address(address), address) {
            (Some(verdict), _) => Ok(verdict),
            (None, None) => Ok(self.rules.decide(&Peer::default())),
            (None, Some(address)) => Err(self.resolver.look_up(address, self.rules.lookups())),
        }
    }

    /// The verdict on a client whose name was looked up.
    pub(crate) fn decide(&self, address: Option<IpAddr>, name: &Name) -> Verdict<'_> {
        self.rules.decide(&Peer { address, name: Some(name) })
    }
}

//! What the rules say about one client: pure, without waiting and without allocating.

use super::config::{AccessConfig, Decision, Lookups};
use super::list::List;
use super::name::Name;
use crate::{Error, Result};
use std::fmt;
use std::net::IpAddr;

/// Rules ready to be asked; see the module for their order.
#[derive(Debug)]
pub struct Rules {
    deny: List,
    allow: List,
    default: Option<Decision>,
    lookups: Lookups,
    names_for_all: bool,
}

/// A client, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer<'a> {
    /// Its address; `None` for a client of a Unix socket.
    pub address: Option<IpAddr>,
    /// What a lookup brought, if there was one.
    pub name: Option<&'a Name>,
}

/// What the rules say about a client. Its text is a line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a client that is not allowed must not be served"]
pub struct Verdict<'r> {
    /// Whether it may come in.
    pub allowed: bool,
    /// Why.
    pub reason: Reason<'r>,
    /// What a lookup brought, if there was one.
    pub name: Option<Name>,
}

/// Why a client may or may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason<'r> {
    /// It came by a Unix socket: the file's mode decides about those.
    Unix,
    /// There are no rules.
    NoRules,
    /// Its name is not proven, and with [`Lookups::Double`] it must be.
    Unverified,
    /// This entry matches, one of `deny` if it may not come in.
    Rule(&'r str),
    /// No entry matches, and there is a default.
    Default,
    /// No entry matches, and none is of `allow`.
    NotDenied,
    /// No entry matches, and some are of `allow`.
    NotAllowed,
}

impl Rules {
    /// Makes rules of what is written. Nothing is looked up.
    ///
    /// # Errors
    /// A configuration error that names an entry that makes no sense, or can never match because names are
    /// not looked up.
    pub fn new(config: &AccessConfig) -> Result<Self> {
        let deny = List::new("deny", &config.deny)?;
        let allow = List::new("allow", &config.allow)?;
        if config.lookups == Lookups::Off {
            let rule = deny.any_name_rule().map(|rule| ("deny", rule));
            if let Some((list, rule)) = rule.or(allow.any_name_rule().map(|rule| ("allow", rule))) {
                return Err(Error::config(format!(
                    "access: {list} {rule:?}: this is a name, and lookups are off; set lookups to \
                     \"double\" (or to \"reverse\", which takes a client's word for it), or write addresses"
                )));
            }
        }
        let AccessConfig { default, lookups, names_for_all, .. } = *config;
        if names_for_all && lookups == Lookups::Off {
            let text = "access: names_for_all, and lookups are off; set lookups to \"double\" or \"reverse\"";
            return Err(Error::config(text));
        }
        Ok(Self { deny, allow, default, lookups, names_for_all })
    }

    /// What is looked up.
    #[must_use]
    pub fn lookups(&self) -> Lookups {
        self.lookups
    }

    /// Whether a client's name can make a difference: otherwise nothing need be looked up.
    #[must_use]
    pub fn needs_name(&self) -> bool {
        match self.lookups {
            Lookups::Off => false,
            Lookups::Reverse => {
                self.names_for_all || self.deny.asks_names() || self.allow.asks_names()
            }
            Lookups::Double => true,
        }
    }

    /// What they say about a client. One that is not named counts as one without a name, also if the
    /// lookup failed; with [`Lookups::Double`] that keeps it out.
    pub fn decide<'r>(&'r self, peer: &Peer<'_>) -> Verdict<'r> {
        let (allowed, reason) = self.judge(peer);
        Verdict { allowed, reason, name: peer.name.cloned() }
    }

    /// What they say about a client whatever its name is, if its address alone settles it: then nothing
    /// need be looked up. Above all a flood from a denied network causes no lookups.
    #[must_use]
    pub fn decide_by_address(&self, address: Option<IpAddr>) -> Option<Verdict<'_>> {
        let nameless = Peer { address, name: None };
        let Some(address) = address.map(|address| address.to_canonical()) else {
            return Some(self.decide(&nameless));
        };
        if !self.needs_name() {
            return Some(self.decide(&nameless));
        }
        if let Some(rule) = self.deny.find(address, None) {
            return Some(Verdict { allowed: false, reason: Reason::Rule(rule), name: None });
        }
        if self.names_for_all || self.lookups == Lookups::Double || self.deny.asks_names() {
            return None;
        }
        let rule = self.allow.find(address, None)?;
        Some(Verdict { allowed: true, reason: Reason::Rule(rule), name: None })
    }

    fn judge<'r>(&'r self, peer: &Peer<'_>) -> (bool, Reason<'r>) {
        let Some(address) = peer.address.map(|address| address.to_canonical()) else {
            return (true, Reason::Unix);
        };
        if self.lookups == Lookups::Double && !matches!(peer.name, Some(Name::Verified(_))) {
            return (false, Reason::Unverified);
        }
        let name = match self.lookups {
            Lookups::Off => None,
            Lookups::Reverse | Lookups::Double => peer.name.and_then(Name::as_str),
        };
        if let Some(rule) = self.deny.find(address, name) {
            return (false, Reason::Rule(rule));
        }
        if let Some(rule) = self.allow.find(address, name) {
            return (true, Reason::Rule(rule));
        }
        match (self.default, self.allow.is_empty()) {
            (Some(decision), _) => (decision == Decision::Allow, Reason::Default),
            (None, true) if self.deny.is_empty() => (true, Reason::NoRules),
            (None, true) => (true, Reason::NotDenied),
            (None, false) => (false, Reason::NotAllowed),
        }
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.allowed { "allowed: " } else { "denied: " })?;
        match (self.reason, &self.name) {
            (Reason::Unix, _) => f.write_str("it came by a Unix socket"),
            (Reason::NoRules, _) => f.write_str("there are no rules"),
            (Reason::Unverified, Some(name)) => return write!(f, "{name}"),
            (Reason::Unverified, None) => f.write_str("its name was not looked up"),
            (Reason::Rule(rule), _) => write!(f, "the rule {rule:?}"),
            (Reason::Default, _) => f.write_str("the default, for no rule matches"),
            (Reason::NotDenied, _) => f.write_str("no rule denies it"),
            (Reason::NotAllowed, _) => f.write_str("no rule allows it"),
        }?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

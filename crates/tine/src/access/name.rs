//! What is known of a client's name.

use std::fmt;
use std::sync::Arc;

/// What a lookup brought. Cheap to clone. Its text is for the log; every name in it is a host name's
/// letters, whatever the client's own server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// What the client's address is called by whoever holds it.
    Claimed(Arc<str>),
    /// The same, and the name leads back to the address.
    Verified(Arc<str>),
    /// The name does not lead back to the address.
    Mismatch(Arc<str>),
    /// The address has no name, or none that a host could have.
    Missing,
    /// It could not be found out.
    Failed(Failure),
}

/// Why a lookup failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No answer in time.
    TimedOut,
    /// Too many lookups wait already.
    Busy,
    /// What the resolver says.
    Resolver(Arc<str>),
}

impl Name {
    /// The name that rules are compared with.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Claimed(name) | Self::Verified(name) => Some(name),
            Self::Mismatch(_) | Self::Missing | Self::Failed(_) => None,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claimed(name) => write!(f, "it calls itself {name}"),
            Self::Verified(name) => write!(f, "it is {name}"),
            Self::Mismatch(name) => {
                write!(f, "it calls itself {name}, which does not lead back to it")
            }
            Self::Missing => f.write_str("its address has no name"),
            Self::Failed(Failure::TimedOut) => f.write_str("its name was not found out in time"),
            Self::Failed(Failure::Busy) => f.write_str("too many lookups wait already"),
            Self::Failed(Failure::Resolver(what)) => {
                write!(f, "its name was not found out: {what}")
            }
        }
    }
}

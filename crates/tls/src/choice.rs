//! Which of several certificates a client is shown: that of the host it asks for (SNI, RFC 6066), with a key
//! it can use.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificate::Certificate;
use crate::error::{Error, Result};

/// See the module.
pub(crate) struct Choice {
    /// In the order in which they were given: the first is for whoever asks for no host, or an unknown one.
    all: Vec<Arc<CertifiedKey>>,
    /// By name, `*.` included, in that order.
    named: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl fmt::Debug for Choice {
    /// How many there are: this is part of what rustls shows of a configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choice").field("certificates", &self.all.len()).finish_non_exhaustive()
    }
}

impl Choice {
    pub(crate) fn new(certificates: Vec<Certificate>) -> Result<Self> {
        if certificates.is_empty() {
            return Err(Error::new("TLS needs a certificate, and there is none"));
        }
        let mut named: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        for (index, certificate) in certificates.iter().enumerate() {
            if index > 0 && certificate.names.is_empty() {
                return Err(Error::new(format!(
                    "the certificate {} names no host in its subjectAltName, so nobody can ask for it: make \
                     it the first, or leave it out",
                    certificate.origin
                )));
            }
            for name in &certificate.names {
                named.entry(name.clone()).or_default().push(certificate.key.clone());
            }
        }
        let all = certificates.into_iter().map(|certificate| certificate.key).collect();
        Ok(Self { all, named })
    }

    /// Those for a host, given in small letters.
    fn of(&self, host: &str) -> &[Arc<CertifiedKey>] {
        let exact = self.named.get(host);
        // The star stands for one label (RFC 6125, 6.4.3).
        let starred = || self.named.get(&format!("*.{}", host.split_once('.')?.1));
        exact.or_else(starred).map_or(&self.all, |certificates| certificates)
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let of_host = match hello.server_name() {
            Some(host) if host.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                self.of(&host.to_ascii_lowercase())
            }
            Some(host) => self.of(host),
            None => &self.all,
        };
        // With two for a host (ECDSA, and RSA for old clients) the first that a client can use.
        let usable =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        of_host.iter().find(usable).or_else(|| of_host.first()).cloned()
    }
}

//! One certificate with its chain and its key: read, understood, and checked against each other. No error has a byte of
//! either file.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use crate::chain::{self, Link};
use crate::der::Values;
use crate::error::{Error, Origin, Result};
use crate::key::{key_of, why_not};
use crate::pem::{self, Label, Wrong};

/// The largest file that is read, in bytes: a chain of many large certificates has a tenth of it.
const FILE_BYTES: u64 = 1 << 20;

/// See the module.
#[derive(Clone)]
pub(crate) struct Certificate {
    pub(crate) key: Arc<CertifiedKey>,
    /// The hosts it is for, in small letters; `*.` stands for one label.
    pub(crate) names: Vec<String>,
    pub(crate) origin: Origin,
}

impl fmt::Debug for Certificate {
    /// Where it is from. rustls would write the certificates out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Certificate {
    pub(crate) fn from_files(
        certificate: &Path,
        key: &Path,
        provider: &CryptoProvider,
    ) -> Result<Self> {
        let chain = read(certificate, "certificate")?;
        let secret = read(key, "key")?;
        let origins = (Origin::file(certificate), Origin::file(key));
        Self::new(&chain, &secret, origins, provider)
    }

    /// From PEM: the chain, the server's own certificate first; and the key.
    pub(crate) fn new(
        chain: &[u8],
        key: &[u8],
        (certificate_at, key_at): (Origin, Origin),
        provider: &CryptoProvider,
    ) -> Result<Self> {
        let chain = chain_of(chain, &certificate_at, provider)?;
        let key = key_of(key, &key_at)?;
        let names = names_of(&chain[0], &certificate_at)?;
        let certified = CertifiedKey::from_der(chain, key.clone_key(), provider);
        let certified = certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Error::new(format!(
                "the key {key_at} does not belong to the certificate {certificate_at}: the first one there must \
                 be the server's own, and the key its own"
            )),
            _ => Error::new(format!("the key {key_at} cannot be used: {}", why_not(&key))),
        })?;
        Ok(Self { key: Arc::new(certified), names, origin: certificate_at })
    }
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES + 1).read_to_end(&mut bytes));
    let read = read.and_then(|count| match count as u64 {
        0..=FILE_BYTES => Ok(()),
        _ => Err(io::Error::other("it has more than a MiB")),
    });
    read.map(|()| bytes).map_err(|error| {
        Error::because(format!("cannot read the {what} {}", path.display()), error)
    })
}

/// The certificates of a file, in the order in which they are sent: one at least.
fn chain_of(
    text: &[u8],
    origin: &Origin,
    provider: &CryptoProvider,
) -> Result<Vec<CertificateDer<'static>>> {
    let wrong = |Wrong { line, what }| {
        Error::new(format!("the certificate {origin} cannot be used: line {line}: {what}"))
    };
    let mut links = Vec::new();
    for section in pem::sections(text).map_err(wrong)? {
        let mut der = section.der;
        match section.label {
            Label::Certificate => {}
            // What is trusted stands behind it, and is not for clients.
            Label::TrustedCertificate => {
                der.truncate(Values(&der).any().map_or(0, |certificate| certificate.whole.len()));
            }
            Label::Unknown => {
                let what = "a section of this kind is not known in a file of certificates";
                return Err(wrong(Wrong { line: section.line, what }));
            }
            _ => continue,
        }
        links.push(Link { line: section.line, der: der.into() });
    }
    if links.is_empty() {
        return Err(Error::new(format!(
            "there is no certificate in {origin}: it must be PEM, which begins with \
             -----BEGIN CERTIFICATE-----"
        )));
    }
    chain::in_order(links, &provider.signature_verification_algorithms).map_err(wrong)
}

fn names_of(certificate: &CertificateDer<'_>, origin: &Origin) -> Result<Vec<String>> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|error| {
        Error::new(match error {
            webpki::Error::UnsupportedCertVersion => format!(
                "the certificate {origin} is of version 1, which clients do not accept any more: make one of \
                 version 3, with the host in subjectAltName"
            ),
            webpki::Error::UnsupportedCriticalExtension => format!(
                "the certificate {origin} cannot be used: it has a critical extension that is not known"
            ),
            _ => format!("the certificate {origin} cannot be used: it is damaged"),
        })
    })?;
    Ok(parsed.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

//! One certificate with its chain and its key: read, understood, and checked against each other.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use crate::error::{Error, Origin, Result};

/// The largest file that is read, in bytes: a chain of many large certificates has a tenth of it.
const FILE_BYTES: u64 = 1 << 20;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) key: Arc<CertifiedKey>,
    /// The hosts it is for, in small letters; `*.` stands for one label.
    pub(crate) names: Vec<String>,
    pub(crate) origin: Origin,
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
        let chain = chain_of(chain, &certificate_at)?;
        let key = key_of(key, &key_at)?;
        let names = names_of(&chain[0], &certificate_at)?;
        let certified = CertifiedKey::from_der(chain, key, provider);
        let certified = certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Error::new(format!(
                "the key {key_at} does not belong to the certificate {certificate_at}: the first one there must \
                 be the server's own, and the key its own"
            )),
            error => Error::because(format!("the key {key_at} cannot be used"), error),
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

fn chain_of(text: &[u8], origin: &Origin) -> Result<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_slice_iter(text).collect::<std::result::Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if chain.is_empty() => Err(Error::new(format!(
            "there is no certificate in {origin}: it must be PEM, which begins with \
             -----BEGIN CERTIFICATE-----"
        ))),
        Ok(chain) => Ok(chain),
        Err(error) => {
            Err(Error::because(format!("the certificate {origin} cannot be read"), error))
        }
    }
}

fn key_of(text: &[u8], origin: &Origin) -> Result<PrivateKeyDer<'static>> {
    let encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"];
    if encrypted.iter().any(|mark| text.windows(mark.len()).any(|part| part == *mark)) {
        return Err(Error::new(format!(
            "the key {origin} is encrypted, and nobody is here to ask for its password: write it \
             without (openssl pkey -in FILE -out FILE)"
        )));
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => Error::new(format!(
            "there is no key in {origin}: it must be PEM, which begins with \
             -----BEGIN PRIVATE KEY-----, RSA PRIVATE KEY or EC PRIVATE KEY"
        )),
        error => Error::because(format!("the key {origin} cannot be read"), error),
    })
}

fn names_of(certificate: &CertificateDer<'_>, origin: &Origin) -> Result<Vec<String>> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|error| match error {
        webpki::Error::UnsupportedCertVersion => Error::new(format!(
            "the certificate {origin} is of version 1, which nobody accepts any more: make one of \
             version 3, with the host in subjectAltName"
        )),
        error => Error::because(format!("the certificate {origin} cannot be used"), error),
    })?;
    Ok(parsed.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

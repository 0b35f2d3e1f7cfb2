//! A private key: found in its file, and what to say of one that cannot be used. No error has a byte of it.

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

use crate::der::{CONTEXT_0, INTEGER, OBJECT, OCTET_STRING, SEQUENCE, Values};
use crate::error::{Error, Origin, Result};
use crate::pem::{self, Label, Wrong};

/// The sizes of RSA keys that are taken, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The first key of a file.
pub(crate) fn key_of(text: &[u8], origin: &Origin) -> Result<PrivateKeyDer<'static>> {
    let sections = pem::sections(text).map_err(|Wrong { line, what }| {
        Error::new(format!("the key {origin} cannot be read: line {line}: {what}"))
    })?;
    let mut other = None;
    for section in sections {
        match section.label {
            // OpenSSL looks at the key more than at its label.
            Label::Pkcs1 | Label::Sec1 if is_pkcs8(&section.der) => {
                return Ok(PrivatePkcs8KeyDer::from(section.der).into());
            }
            Label::Pkcs8 => return Ok(PrivatePkcs8KeyDer::from(section.der).into()),
            Label::Pkcs1 => return Ok(PrivatePkcs1KeyDer::from(section.der).into()),
            Label::Sec1 => return Ok(PrivateSec1KeyDer::from(section.der).into()),
            Label::EncryptedKey => {
                return Err(Error::new(format!(
                    "the key {origin} is encrypted, and a server cannot ask for its password: \
                     write it without (openssl pkey -in FILE -out FILE)"
                )));
            }
            Label::OtherKey(label) => other = other.or(Some((section.line, label))),
            Label::Certificate | Label::TrustedCertificate | Label::Other | Label::Unknown => {}
        }
    }
    Err(Error::new(match other {
        Some((line, label)) => format!(
            "the key {origin} cannot be used: line {line}: a key in the form {label} is not one for TLS: \
             make an ECDSA or RSA key"
        ),
        None => format!(
            "there is no key in {origin}: it must be PEM, which begins with \
             -----BEGIN PRIVATE KEY-----, RSA PRIVATE KEY or EC PRIVATE KEY"
        ),
    }))
}

/// RFC 5958: what is no key of PKCS #1 or SEC 1 has what kind it is behind its version.
fn is_pkcs8(der: &[u8]) -> bool {
    let kind = Values(der).take(SEQUENCE).and_then(|key| {
        let mut fields = key.values();
        fields.take(INTEGER)?;
        fields.take(SEQUENCE)
    });
    kind.is_some()
}

/// Why a key cannot be used.
pub(crate) fn why_not(key: &PrivateKeyDer<'_>) -> String {
    let kind = match key {
        PrivateKeyDer::Pkcs8(key) => of_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => of_sec1(key.secret_sec1_der()),
        _ => None,
    };
    kind.unwrap_or_else(|| "it is damaged".to_owned())
}

/// RFC 5958: a version, what kind it is, and the key.
fn of_pkcs8(der: &[u8]) -> Option<String> {
    let mut fields = Values(der).take(SEQUENCE)?.values();
    fields.take(INTEGER)?;
    let mut kind = fields.take(SEQUENCE)?.values();
    let object = kind.take(OBJECT)?.content;
    match object {
        objects::RSA => rsa(fields.take(OCTET_STRING)?.content),
        objects::RSA_PSS => Some(
            "it is an RSA-PSS key, which cannot be used here: make an ordinary RSA key, with which clients are \
             answered in PSS all the same, or an ECDSA key"
                .to_owned(),
        ),
        objects::EC => Some(match kind.take(OBJECT) {
            Some(curve) => on_curve(curve.content),
            None => OWN_CURVE.to_owned(),
        }),
        objects::ED448 => Some("it is an Ed448 key: use Ed25519, ECDSA or RSA".to_owned()),
        objects::DSA => Some("it is a DSA key, which TLS has no use for".to_owned()),
        objects::X25519 | objects::X448 => {
            Some("it is a key for key agreement, which cannot sign: make an ECDSA or RSA key".to_owned())
        }
        objects::ED25519 => None,
        _ => Some("it is of a kind that is not known: use ECDSA on P-256 or RSA".to_owned()),
    }
}

/// RFC 5915: a version, the key, and its curve.
fn of_sec1(der: &[u8]) -> Option<String> {
    let mut fields = Values(der).take(SEQUENCE)?.values();
    fields.take(INTEGER)?;
    fields.take(OCTET_STRING)?;
    let mut curve = fields.take_if(CONTEXT_0)?.values();
    Some(curve.take(OBJECT).map_or(OWN_CURVE.to_owned(), |curve| on_curve(curve.content)))
}

const OWN_CURVE: &str =
    "its curve is written out instead of named: make a key on the named curve P-256";

fn on_curve(object: &[u8]) -> String {
    let name = match object {
        objects::P256 | objects::P384 | objects::P521 => return "it is damaged".to_owned(),
        objects::SECP256K1 => "the curve secp256k1",
        objects::P224 => "the curve P-224",
        objects::P192 => "the curve P-192",
        _ => "a curve",
    };
    format!("it is on {name}, which TLS clients do not know: make a key on P-256 or P-384")
}

/// RFC 8017, A.1.2: a version, and the modulus.
fn rsa(der: &[u8]) -> Option<String> {
    let mut fields = Values(der).take(SEQUENCE)?.values();
    fields.take(INTEGER)?;
    let modulus = fields.take(INTEGER)?.content;
    let modulus = &modulus[modulus.iter().take_while(|byte| **byte == 0).count()..];
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = (modulus.len() * 8).saturating_sub(unused);
    let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
    (!RSA_BITS.contains(&bits)).then(|| {
        format!("it is an RSA key of {bits} bits, and {least} to {most} are taken: make a new one")
    })
}

/// Object identifiers, as DER has them.
mod objects {
    /// 1.2.840.113549.1.1.1
    pub(super) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    /// 1.2.840.113549.1.1.10
    pub(super) const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
    /// 1.2.840.10040.4.1
    pub(super) const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1];
    /// 1.2.840.10045.2.1
    pub(super) const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    /// 1.3.101.110 and on
    pub(super) const X25519: &[u8] = &[0x2b, 0x65, 0x6e];
    pub(super) const X448: &[u8] = &[0x2b, 0x65, 0x6f];
    pub(super) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    pub(super) const ED448: &[u8] = &[0x2b, 0x65, 0x71];
    /// 1.2.840.10045.3.1.1 and 7
    pub(super) const P192: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 1];
    pub(super) const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    /// 1.3.132.0.10, 33, 34, 35
    pub(super) const SECP256K1: &[u8] = &[0x2b, 0x81, 4, 0, 10];
    pub(super) const P224: &[u8] = &[0x2b, 0x81, 4, 0, 33];
    pub(super) const P384: &[u8] = &[0x2b, 0x81, 4, 0, 34];
    pub(super) const P521: &[u8] = &[0x2b, 0x81, 4, 0, 35];
}

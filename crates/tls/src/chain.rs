//! A chain of certificates: put in the order that clients expect, and refused if they could not use it.
//!
//! RFC 8446, 4.4.2: the server's own comes first, and each one that follows should certify the one before it. Clients
//! bear more (a root, cross-signed certificates, extra ones), and servers send it. So what signs something that is sent
//! is sent, however it was ordered. A certificate that signs nothing is harmless beside a chain that is complete up to
//! its root; else it stands where the issuer should be, and clients that do not know that one refuse the server.

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor};
use webpki::anchor_from_trusted_cert;

use crate::der::{BIT_STRING, CONTEXT_0, INTEGER, SEQUENCE, Value, Values};
use crate::pem::Wrong;

/// Certificates of a chain, at most: as many as OpenSSL follows.
const CHAIN_MAX: usize = 100;

/// A certificate of a file: where it begins there, and itself.
pub(crate) struct Link {
    pub(crate) line: usize,
    pub(crate) der: CertificateDer<'static>,
}

/// The chain as it is to be sent: the first one, then each one that signs one before it, in the order of the file; then
/// what is harmless. One that stands there twice is sent once.
pub(crate) fn in_order(
    links: Vec<Link>,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    if let Some(Link { line, .. }) = links.get(CHAIN_MAX) {
        let what = "there are more than 100 certificates, which is a bundle and no chain";
        return Err(Wrong { line: *line, what });
    }
    let mut rest = Vec::new();
    for link in &links {
        let parsed = Parsed::new(&link.der);
        let what = "this is no X.509 certificate, or a damaged one";
        let parsed = parsed.ok_or(Wrong { line: link.line, what })?;
        if !rest.iter().any(|(other, _): &(&Link, Parsed<'_>)| other.der == link.der) {
            rest.push((link, parsed));
        }
    }
    let mut sent: Vec<(&Link, Parsed<'_>)> = rest.drain(..1.min(rest.len())).collect();
    let signs = |issuer: &Parsed<'_>, sent: &[(&Link, Parsed<'_>)]| {
        sent.iter().any(|(_, certificate)| issuer.signs(certificate, algorithms))
    };
    while let Some(next) = rest.iter().position(|(_, issuer)| signs(issuer, &sent)) {
        sent.push(rest.remove(next));
    }
    let is_complete = sent.iter().any(|(_, root)| root.signs(root, algorithms));
    match rest.first() {
        Some((link, _)) if !is_complete => Err(Wrong {
            line: link.line,
            what: "this certificate signs none before it: the server's own must be followed by that of its issuer, and \
                   so on",
        }),
        _ => Ok(sent.into_iter().chain(rest).map(|(link, _)| link.der.clone()).collect()),
    }
}

/// What matters of a certificate here.
struct Parsed<'a> {
    issuer: &'a [u8],
    signed: &'a [u8],
    /// The content of its identifier.
    algorithm: &'a [u8],
    signature: &'a [u8],
    /// Its own name and key.
    own: TrustAnchor<'a>,
}

impl<'a> Parsed<'a> {
    fn new(der: &'a CertificateDer<'_>) -> Option<Self> {
        let own = anchor_from_trusted_cert(der).ok()?;
        let mut outer = Values(der).take(SEQUENCE)?.values();
        let signed = outer.take(SEQUENCE)?;
        let algorithm = outer.take(SEQUENCE)?.content;
        let signature = outer.take(BIT_STRING)?.bits()?;
        let mut fields = signed.values();
        let _version = fields.take_if(CONTEXT_0);
        let _serial = fields.take(INTEGER)?;
        let _algorithm = fields.take(SEQUENCE)?;
        let issuer = fields.take(SEQUENCE)?.content;
        Some(Self { issuer, signed: signed.whole, algorithm, signature, own })
    }

    /// Whether the key of this one has signed the other one. Where the algorithm is not known here (SHA-1, say) its
    /// name has to do.
    fn signs(&self, other: &Self, algorithms: &WebPkiSupportedAlgorithms) -> bool {
        let its = |it: &&&'static dyn SignatureVerificationAlgorithm| {
            it.signature_alg_id().as_ref() == other.algorithm
        };
        if !algorithms.all.iter().any(|it| its(&it)) {
            return *self.own.subject == *other.issuer;
        }
        let Some((id, key)) = self.key() else { return false };
        algorithms.all.iter().filter(its).any(|it| {
            it.public_key_alg_id().as_ref() == id
                && it.verify_signature(key, other.signed, other.signature).is_ok()
        })
    }

    /// The content of its key's identifier, and the key.
    fn key(&self) -> Option<(&[u8], &[u8])> {
        let mut fields = Values(&self.own.subject_public_key_info);
        let id = fields.take(SEQUENCE).map(|value: Value<'_>| value.content)?;
        Some((id, fields.take(BIT_STRING)?.bits()?))
    }
}

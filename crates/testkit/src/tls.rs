//! Certificates made for a test, and a client that speaks TLS.
//!
//! ```no_run
//! let identity = testkit::tls::Identity::new(&["localhost"]);
//! let (certificate, key) = identity.write(std::path::Path::new("/tmp"), "localhost");
//! let client = testkit::tls::Connector::trusting(&[&identity]).offering(&["h2", "http/1.1"]);
//! let mut client = client.connect("127.0.0.1:8443", "localhost");
//! assert_eq!(client.get("/").status, 200);
//! ```

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256,
    SignatureAlgorithm,
};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore,
    SupportedProtocolVersion, version,
};

use crate::Client;

/// A certificate, signed by itself, and its key.
#[derive(Debug)]
pub struct Identity {
    der: CertificateDer<'static>,
    /// PEM.
    pub certificate: String,
    /// PEM, PKCS#8.
    pub key: String,
}

impl Identity {
    /// For these hosts, with an ECDSA key.
    pub fn new(names: &[&str]) -> Self {
        Self::with(names, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// The same with an RSA key.
    pub fn rsa(names: &[&str]) -> Self {
        Self::with(names, &PKCS_RSA_SHA256)
    }

    fn with(names: &[&str], algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let parameters = CertificateParams::new(names).expect("names");
        Self::of(&parameters.self_signed(&key).expect("a certificate"), &key)
    }

    fn of(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        Self {
            der: certificate.der().clone(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Writes both into a directory: `NAME.pem` and `NAME.key`.
    pub fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let at = |ending| directory.join(format!("{name}.{ending}"));
        let (certificate, key) = (at("pem"), at("key"));
        std::fs::write(&certificate, &self.certificate).expect("a file");
        std::fs::write(&key, &self.key).expect("a file");
        (certificate, key)
    }
}

/// What signs the certificates of others.
#[derive(Debug)]
pub struct Authority {
    /// Its own certificate, and its key.
    pub own: Identity,
    parameters: CertificateParams,
}

impl Authority {
    /// One that has signed itself.
    pub fn root(name: &str) -> Self {
        let (parameters, key) = (Self::parameters(name), KeyPair::generate().expect("a key"));
        let certificate = parameters.self_signed(&key).expect("a certificate");
        Self { own: Identity::of(&certificate, &key), parameters }
    }

    /// One that this one has signed.
    pub fn authority(&self, name: &str) -> Self {
        let (parameters, key) = (Self::parameters(name), KeyPair::generate().expect("a key"));
        Self { own: self.sign(&parameters, &key), parameters }
    }

    /// Another certificate for the same name and key, signed by this one.
    pub fn cross_sign(&self, other: &Self) -> Identity {
        self.sign(&other.parameters, &other.key())
    }

    /// A server's.
    pub fn server(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut parameters = CertificateParams::new(names.clone()).expect("names");
        parameters.distinguished_name.push(DnType::CommonName, names.concat());
        self.sign(&parameters, &KeyPair::generate().expect("a key"))
    }

    fn parameters(name: &str) -> CertificateParams {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters
    }

    fn key(&self) -> KeyPair {
        KeyPair::from_pem(&self.own.key).expect("its key")
    }

    fn sign(&self, parameters: &CertificateParams, key: &KeyPair) -> Identity {
        let issuer = Issuer::from_params(&self.parameters, self.key());
        Identity::of(&parameters.signed_by(key, &issuer).expect("a certificate"), key)
    }
}

/// Makes clients that speak TLS, and remembers the sessions that servers let it resume.
#[derive(Debug, Clone)]
pub struct Connector {
    config: ClientConfig,
}

impl Connector {
    /// One that accepts these certificates.
    pub fn trusting(identities: &[&Identity]) -> Self {
        Self::with(identities, &[&version::TLS13, &version::TLS12])
    }

    /// The same with TLS 1.2 alone.
    pub fn of_tls12(identities: &[&Identity]) -> Self {
        Self::with(identities, &[&version::TLS12])
    }

    /// The same without ECDSA, as old clients are: in signatures and, before TLS 1.3, in ciphers.
    pub fn of_rsa(identities: &[&Identity], tls13: bool) -> Self {
        let version = if tls13 { &version::TLS13 } else { &version::TLS12 };
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|suite| !format!("{suite:?}").contains("_ECDSA_"));
        let all = provider.signature_verification_algorithms.mapping;
        let rsa =
            all.iter().filter(|(scheme, _)| format!("{scheme:?}").starts_with("RSA")).copied();
        // It asks for as long as the program lives.
        provider.signature_verification_algorithms.mapping = rsa.collect::<Vec<_>>().leak();
        Self::of(identities, provider, &[version])
    }

    fn with(identities: &[&Identity], versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self::of(identities, aws_lc_rs::default_provider(), versions)
    }

    fn of(
        identities: &[&Identity],
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for identity in identities {
            roots.add(identity.der.clone()).expect("a certificate");
        }
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { config }
    }

    /// Offers these protocols (ALPN).
    pub fn offering(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols =
            protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Forgets all sessions.
    pub fn forgetting(mut self) -> Self {
        self.config.resumption = Resumption::in_memory_sessions(32);
        self
    }

    /// Connects, asks for this host, and shakes hands. `addr` is as in [`Client::connect`].
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn connect(&self, addr: &str, host: &str) -> Client {
        let client = self.try_connect(addr, host);
        client.unwrap_or_else(|error| panic!("TLS to {addr} as {host}: {error}"))
    }

    /// [`connect`](Self::connect), its failure as an error.
    pub fn try_connect(&self, addr: &str, host: &str) -> io::Result<Client> {
        self.over(Client::try_connect(addr)?, host)
    }

    /// The same on a connection that is there already.
    pub fn over(&self, mut client: Client, host: &str) -> io::Result<Client> {
        client.encrypt(self.begin(host));
        client.shake_hands()?;
        Ok(client)
    }

    /// A client's part of a session, whose handshake has not begun.
    pub fn begin(&self, host: &str) -> Tls {
        let host = ServerName::try_from(host.to_owned()).expect("a host");
        let session = ClientConnection::new(Arc::new(self.config.clone()), host);
        let mut session = session.expect("a client");
        session.set_buffer_limit(None);
        Tls { session, ended: false }
    }
}

/// A client's part of a session.
#[derive(Debug)]
pub struct Tls {
    session: ClientConnection,
    ended: bool,
}

impl Tls {
    /// Whether it resumes an earlier session.
    pub fn resumed(&self) -> bool {
        self.session.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The protocol that was agreed upon (ALPN).
    pub fn alpn(&self) -> Option<String> {
        self.session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
    }

    /// Whether it is TLS 1.3.
    pub fn is_tls13(&self) -> bool {
        self.session.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// Whether the server has shown this certificate.
    pub fn shown(&self, identity: &Identity) -> bool {
        let shown = self.session.peer_certificates().and_then(<[_]>::first);
        shown == Some(&identity.der)
    }

    /// How many certificates the server has shown.
    pub fn chain(&self) -> usize {
        self.session.peer_certificates().map_or(0, <[_]>::len)
    }

    /// Whether the server has said that nothing more comes (close_notify).
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The client's first flight, as it goes over the wire.
    pub fn hello(&mut self) -> Vec<u8> {
        self.take()
    }

    /// What is to be sent next; `None` once the handshake is done and nothing is.
    pub(crate) fn handshake(&mut self) -> Option<Vec<u8>> {
        let wanted = self.session.is_handshaking() || self.session.wants_write();
        wanted.then(|| self.take())
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    pub(crate) fn seal(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.session.writer().write_all(bytes)?;
        Ok(self.take())
    }

    pub(crate) fn farewell(&mut self) -> Vec<u8> {
        self.session.send_close_notify();
        self.take()
    }

    /// Decrypts what came.
    pub(crate) fn open(&mut self, mut encrypted: &[u8], clear: &mut Vec<u8>) -> io::Result<()> {
        while !encrypted.is_empty() {
            self.session.read_tls(&mut encrypted)?;
            let state = self.session.process_new_packets();
            let state = state.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
            self.ended |= state.peer_has_closed();
            let mut came = vec![0; state.plaintext_bytes_to_read()];
            self.session.reader().read_exact(&mut came)?;
            clear.extend(came);
        }
        Ok(())
    }

    fn take(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut out).expect("there is room");
        }
        out
    }
}

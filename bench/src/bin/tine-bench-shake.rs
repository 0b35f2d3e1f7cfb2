//! The load of handshakes: connects, shakes hands, asks once, reads the answer to its end, and begins anew.
//!
//! wrk resumes the sessions it has, and checks certificates: of a full handshake it does more than the server. This
//! client brings the same key share again and again and believes every certificate, so that it is cheaper than
//! any server; nobody else should do so.
//!
//! `tine-bench-shake ADDRESS CLIENTS SECONDS full|resumed PATH`
#![forbid(unsafe_code)]

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{ActiveKeyExchange, SharedSecret, SupportedKxGroup, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, NamedGroup,
    PeerMisbehaved, SignatureScheme, Stream, version,
};

/// How long one connection may take, before the run is a failure.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let said = Order::read(&words).ok_or_else(|| {
        "usage: tine-bench-shake ADDRESS CLIENTS SECONDS full|resumed PATH".to_owned()
    });
    match said.and_then(|order| order.run()) {
        Ok(text) => match writeln!(io::stdout(), "{text}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(why) => {
            // The exit code says it too.
            let _ = writeln!(io::stderr(), "{why}");
            ExitCode::from(2)
        }
    }
}

/// What is to be done.
#[derive(Clone)]
struct Order {
    address: String,
    clients: usize,
    time: Duration,
    resumes: bool,
    request: String,
}

impl Order {
    fn read(words: &[String]) -> Option<Self> {
        let [address, clients, seconds, kind, path] = words else { return None };
        Some(Self {
            address: address.clone(),
            clients: clients.parse().ok()?,
            time: Duration::from_secs(seconds.parse().ok()?),
            resumes: match kind.as_str() {
                "full" => false,
                "resumed" => true,
                _ => return None,
            },
            request: format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        })
    }

    /// Runs all clients; what came of it in words.
    fn run(self) -> Result<String, String> {
        let share = Share::new()?;
        let begun = Instant::now();
        let clients: Vec<_> = (0..self.clients)
            .map(|_| {
                let order = self.clone();
                thread::spawn(move || order.client(share, begun))
            })
            .collect();
        let mut times = Vec::new();
        for client in clients {
            times.extend(client.join().map_err(|_| "a client panicked".to_owned())??);
        }
        if times.is_empty() {
            return Err("nobody was served".to_owned());
        }
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
        Ok(format!(
            "handshakes: {} rate: {:.1} p50: {} p99: {}",
            times.len(),
            times.len() as f64 / begun.elapsed().as_secs_f64(),
            at(50),
            at(99)
        ))
    }

    /// One client: how long each of its connections took, from before the connect to the end of the answer.
    fn client(&self, share: &'static Share, begun: Instant) -> Result<Vec<Duration>, String> {
        let config = Arc::new(config(share, self.resumes).map_err(|error| error.to_string())?);
        if self.resumes {
            // The first one cannot resume anything, and does not count.
            self.once(&config, HandshakeKind::Full)?;
        }
        let wanted = if self.resumes { HandshakeKind::Resumed } else { HandshakeKind::Full };
        let mut times = Vec::new();
        while begun.elapsed() < self.time {
            let from = Instant::now();
            self.once(&config, wanted)?;
            times.push(from.elapsed());
        }
        Ok(times)
    }

    fn once(&self, config: &Arc<ClientConfig>, wanted: HandshakeKind) -> Result<(), String> {
        let mut answer = Vec::new();
        let done = self.ask(config, &mut answer);
        let kind = done.map_err(|error| format!("{}: {error}", self.address))?;
        if kind != Some(wanted) {
            return Err(format!("{}: {kind:?} instead of {wanted:?}", self.address));
        }
        if !answer.starts_with(b"HTTP/1.1 200") {
            return Err(format!("{}: not a good answer", self.address));
        }
        Ok(())
    }

    fn ask(
        &self,
        config: &Arc<ClientConfig>,
        answer: &mut Vec<u8>,
    ) -> io::Result<Option<HandshakeKind>> {
        let mut socket = TcpStream::connect(&self.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let host = ServerName::try_from("localhost").expect("a name");
        let mut tls = ClientConnection::new(config.clone(), host).map_err(io::Error::other)?;
        let mut stream = Stream::new(&mut tls, &mut socket);
        stream.write_all(self.request.as_bytes())?;
        stream.read_to_end(answer)?;
        Ok(tls.handshake_kind())
    }
}

/// TLS 1.3 with X25519, which all servers have; with tickets or without.
fn config(share: &'static Share, resumes: bool) -> Result<ClientConfig, Error> {
    let mut crypto = provider::default_provider();
    crypto.kx_groups = vec![share];
    let config = ClientConfig::builder_with_provider(Arc::new(crypto))
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous));
    let mut config = config.with_no_client_auth();
    config.resumption = match resumes {
        true => Resumption::in_memory_sessions(1),
        false => Resumption::disabled(),
    };
    Ok(config)
}

/// A key share that is made once.
#[derive(Clone, Debug)]
struct Share {
    key: Arc<PrivateKey>,
    public: Vec<u8>,
}

impl Share {
    /// It lives as long as the program.
    fn new() -> Result<&'static Self, String> {
        let failed = |_| "no key".to_owned();
        let key = PrivateKey::generate(&X25519).map_err(failed)?;
        let public = key.compute_public_key().map_err(failed)?.as_ref().to_vec();
        Ok(Box::leak(Box::new(Self { key: Arc::new(key), public })))
    }
}

impl SupportedKxGroup for Share {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(self.clone()))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for Share {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let wrong = Error::from(PeerMisbehaved::InvalidKeyShare);
        let peer = UnparsedPublicKey::new(&X25519, peer);
        agree(&self.key, peer, wrong, |secret| Ok(SharedSecret::from(secret)))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// Believes everything: certificates are not what is measured.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        use SignatureScheme::{ECDSA_NISTP256_SHA256, RSA_PSS_SHA256};
        vec![ECDSA_NISTP256_SHA256, RSA_PSS_SHA256]
    }
}

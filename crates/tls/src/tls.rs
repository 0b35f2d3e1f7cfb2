//! What is asked for: certificates, and how long a session may be resumed.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use tine::{BoxError, Prefork, Region, Service, Worker};

use crate::acceptor::Acceptor;
use crate::certificate::Certificate;
use crate::choice::Choice;
use crate::error::{Error, Origin, Result};
use crate::session::Session;
use crate::ticket_keys::{self, NAME, VERSION, WORDS};
use crate::ticketer::Ticketer;

/// How long a session may be resumed, unless told.
const LIFE: Duration = Duration::from_secs(12 * 3600);
/// The shortest life that makes sense: keys change every half of it.
const LIFE_LEAST: Duration = Duration::from_secs(1);

/// Certificates with their keys, read and checked; cheap to clone.
///
/// Make it before the service runs: the files are read with the rights of whoever starts it, errors end the start
/// or, at a reload, leave the old certificates where they are, and workers of another user need no right to
/// read a key.
///
/// ```no_run
/// use std::{io, process::ExitCode};
/// use tine::Prefork;
/// use tine_tls::Tls;
///
/// fn main() -> ExitCode {
///     let tls = match Tls::from_files([("cert.pem", "key.pem")]) {
///         Ok(tls) => tls,
///         Err(error) => {
///             eprintln!("{error}");
///             return ExitCode::from(2);
///         }
///     };
///     let server = Prefork::new().listen("127.0.0.1:7007").listen("127.0.0.1:7443/tls");
///     tls.share_tickets(server).run(move |worker| {
///         tls.serve(worker, |mut session| io::Write::write_all(&mut session, b"hello\n"))
///     })
/// }
/// ```
#[derive(Clone)]
pub struct Tls {
    provider: Arc<CryptoProvider>,
    choice: Arc<Choice>,
    life: Duration,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("life", &self.life).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads pairs of a certificate's file and its key's, both PEM. The certificate's has the whole chain, the
    /// server's own first; the key is PKCS#8, PKCS#1 or SEC1, not encrypted. Every certificate of the file is sent, in the
    /// order in which each signs one before it.
    ///
    /// A client is shown the certificate for the host it asks for (SNI), by the names in `subjectAltName`;
    /// the first pair is for whoever asks for none, or for one that is unknown. Two for one host, of
    /// different kinds (ECDSA, RSA), are tried in their order.
    ///
    /// # Errors
    /// The first file that cannot be read, is no certificate or key, or does not belong to the other; a certificate
    /// of a chain that cannot be used, with its line. No text has a byte of a file.
    pub fn from_files<P: AsRef<Path>>(pairs: impl IntoIterator<Item = (P, P)>) -> Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let read = |(certificate, key): (P, P)| {
            Certificate::from_files(certificate.as_ref(), key.as_ref(), &provider)
        };
        let certificates = pairs.into_iter().map(read).collect::<Result<_>>()?;
        Self::of(certificates, provider)
    }

    /// The same with the texts themselves: for programs that carry them, or get them elsewhere.
    ///
    /// # Errors
    /// As [`Tls::from_files`]; a pair is named by its number.
    pub fn from_pem<B: AsRef<[u8]>>(pairs: impl IntoIterator<Item = (B, B)>) -> Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let read = |(index, (certificate, key)): (usize, (B, B))| {
            let origin = || Origin::Memory(index + 1);
            let origins = (origin(), origin());
            Certificate::new(certificate.as_ref(), key.as_ref(), origins, &provider)
        };
        let certificates = pairs.into_iter().enumerate().map(read).collect::<Result<_>>()?;
        Self::of(certificates, provider)
    }

    fn of(certificates: Vec<Certificate>, provider: Arc<CryptoProvider>) -> Result<Self> {
        Ok(Self { provider, choice: Arc::new(Choice::new(certificates)?), life: LIFE })
    }

    /// How long a session may be resumed with a ticket, at least; the keys of tickets change every half of it.
    /// Default 12 h: who takes a worker over can decrypt what was resumed with the keys it has, three of them.
    ///
    /// # Errors
    /// Less than a second.
    pub fn ticket_life(self, life: Duration) -> Result<Self> {
        match life >= LIFE_LEAST {
            true => Ok(Self { life, ..self }),
            false => Err(Error::new(format!("tickets for {life:?}: at least {LIFE_LEAST:?}"))),
        }
    }

    fn period(&self) -> Duration {
        self.life / 2
    }

    /// Has all workers of the service share the keys of session tickets: a session can be resumed in another worker, in
    /// a replacement, and after a reload. They lie in memory alone, and the supervisor changes them. Without
    /// this, each worker has its own.
    pub fn share_tickets(&self, server: Prefork) -> Prefork {
        let period = self.period();
        server.tended_region(NAME, VERSION, WORDS, move |region| {
            ticket_keys::rotate(region, period, tine::now())
        })
    }

    /// The same for a service of several pools.
    pub fn share_tickets_of(&self, service: Service) -> Service {
        let period = self.period();
        service.tended_region(NAME, VERSION, WORDS, move |region| {
            ticket_keys::rotate(region, period, tine::now())
        })
    }

    /// What shakes hands in this worker. `protocols` are what is offered (ALPN, RFC 7301), the preferred
    /// one first; with any, clients that offer others alone are refused.
    ///
    /// # Errors
    /// None is to be expected: the system has no random bytes.
    pub fn acceptor(&self, worker: &Worker, protocols: &[&str]) -> Result<Acceptor> {
        Ok(Acceptor::new(Arc::new(self.config(worker.region(NAME), protocols)?)))
    }

    /// `tickets`: where the keys of tickets are, if all workers share them.
    fn config(&self, tickets: Option<&Region>, protocols: &[&str]) -> Result<ServerConfig> {
        let failed = |error| Error::because("cannot set TLS up", error);
        let config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(failed)?;
        let mut config = config.with_no_client_auth().with_cert_resolver(self.choice.clone());
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        // What one worker remembers is no use to the others.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = match tickets {
            Some(region) => Arc::new(Ticketer::new(region, self.period())),
            None => own_ticketer().map_err(failed)?,
        };
        Ok(config)
    }

    /// Serves sessions one after the other: [`Worker::serve`], with TLS on the listeners that are marked for it
    /// and none on the others. A handshake that fails is a line in the log at the level debug, and no more.
    ///
    /// # Errors
    /// As [`Worker::serve`].
    pub fn serve<H>(&self, worker: Worker, mut handler: H) -> std::result::Result<(), BoxError>
    where
        H: FnMut(Session) -> io::Result<()>,
    {
        let (acceptor, log) = (self.acceptor(&worker, &[])?, worker.log().clone());
        worker.serve(move |conn| match acceptor.accept(conn) {
            Ok(session) => handler(session),
            Err(error) => {
                log.line(tine::Level::Debug, format_args!("a TLS handshake failed: {error}"));
                Ok(())
            }
        })
    }
}

fn own_ticketer() -> std::result::Result<Arc<dyn ProducesTickets>, rustls::Error> {
    aws_lc_rs::Ticketer::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::secret::Secrets;
    use testkit::tls::Identity;

    #[test]
    fn what_is_shown_for_debugging_has_no_byte_of_a_key_a_certificate_or_a_ticket_key() {
        for identity in [Identity::new(&["localhost"]), Identity::rsa(&["localhost"])] {
            let tls = Tls::from_pem([(&identity.certificate, &identity.key)]).expect("a pair");
            let region = Region::create(NAME, VERSION, WORDS).expect("a region");
            ticket_keys::rotate(&region, LIFE, tine::now());
            let mut secrets = Secrets::default();
            secrets.add_pem(&identity.certificate);
            secrets.add_pem(&identity.key);
            let words = region.words().iter().skip(1);
            let words =
                words.flat_map(|it| it.load(std::sync::atomic::Ordering::Relaxed).to_le_bytes());
            secrets.add_bytes(&words.collect::<Vec<u8>>());
            let acceptor =
                Acceptor::new(Arc::new(tls.config(Some(&region), &["h2"]).expect("TLS")));
            let certificate = Certificate::new(
                identity.certificate.as_bytes(),
                identity.key.as_bytes(),
                (Origin::Memory(1), Origin::Memory(1)),
                &tls.provider,
            );
            let shown =
                format!("{tls:?} {acceptor:#?} {:?} {certificate:?} {region:?}", tls.choice);
            assert!(shown.contains("certificates: 1"), "{shown}");
            secrets.assert_none_in(&shown, "what is shown");
        }
    }
}

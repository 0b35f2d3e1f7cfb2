//! What `tine serve` is told of TLS, read and checked against where it listens.

use std::path::PathBuf;
use std::rc::Rc;

use tine::Worker;
use tine::endpoint::Endpoint;
use tine::listen::Listener;
use tine_http::Tls;

use super::flags::Serve;
use crate::failure::Failure;

/// Where HTTPS is unless told.
const HTTPS: u16 = 443;

/// See the module.
pub(crate) struct Secure {
    pub(crate) certificates: Option<Tls>,
    /// Clients without TLS are sent to HTTPS.
    pub(crate) redirect: Option<Redirect>,
}

/// Which port clients without TLS are sent to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Redirect {
    Port(u16),
    /// That of the first listener with TLS; known once it is bound.
    Listener,
}

impl Redirect {
    /// The port, in a worker.
    pub(crate) fn port(self, worker: &Worker) -> u16 {
        let port = |listener: &Rc<Listener>| match listener.endpoint() {
            Endpoint::Tcp(_) if listener.tls() => {
                listener.address().rsplit_once(':')?.1.parse().ok()
            }
            _ => None,
        };
        match self {
            Self::Port(port) => port,
            Self::Listener => worker.listeners().iter().find_map(port).unwrap_or(HTTPS),
        }
    }
}

/// Reads the certificates, those of sites after those of the flags: before anything is bound, and with all rights.
pub(crate) fn read(typed: &Serve, sites: &[(PathBuf, PathBuf)]) -> Result<Secure, Failure> {
    let listens = Listens::of(typed)?;
    let (certificates, keys) = (&typed.tls.cert, &typed.tls.key);
    if certificates.len() != keys.len() {
        let (one, other) = (certificates.len(), keys.len());
        return wrong(format!(
            "{one} --cert and {other} --key: each has the other, in the same order"
        ));
    }
    if certificates.is_empty() && sites.is_empty() {
        for (flag, typed) in [
            ("--https-redirect", typed.tls.https_redirect.is_some()),
            ("--ticket-life", typed.tls.ticket_life.is_some()),
        ] {
            if typed {
                return wrong(format!("{flag} needs a --cert and its --key"));
            }
        }
        return match listens.marked {
            Some(address) => wrong(format!("--listen {address}: TLS needs a --cert and its --key")),
            None => Ok(Secure { certificates: None, redirect: None }),
        };
    }
    if listens.marked.is_none() && !typed.inherited {
        let what = if certificates.is_empty() { "the certificate of a site" } else { "--cert" };
        return wrong(format!("{what}: no --listen is for TLS: write --listen HOST:PORT/tls"));
    }
    if typed.tls.https_redirect.is_some() && !listens.plain && !typed.inherited {
        let text =
            "--https-redirect: every --listen is for TLS: add one without, such as --listen 80";
        return wrong(text.to_owned());
    }
    let own = certificates.iter().zip(keys);
    let sites = sites.iter().map(|(certificate, key)| (certificate, key));
    let mut tls = Tls::from_files(own.chain(sites))?;
    if let Some(life) = typed.tls.ticket_life {
        tls = tls.ticket_life(life).map_err(|error| at("--ticket-life", &error))?;
    }
    let redirect =
        typed.tls.https_redirect.map(|port| port.map_or(Redirect::Listener, Redirect::Port));
    Ok(Secure { certificates: Some(tls), redirect })
}

/// Where it is to listen, as far as it matters here.
struct Listens {
    /// The first address that is for TLS, as it was typed.
    marked: Option<String>,
    /// One is not for TLS.
    plain: bool,
}

impl Listens {
    fn of(typed: &Serve) -> Result<Self, Failure> {
        let mut found = Self { marked: None, plain: false };
        if typed.inherited {
            return Ok(found);
        }
        for address in &typed.listen {
            for endpoint in Endpoint::parse_all(address)? {
                if !endpoint.tls() {
                    found.plain = true;
                    continue;
                }
                found.marked.get_or_insert_with(|| address.clone());
            }
        }
        Ok(found)
    }
}

fn wrong<T>(text: String) -> Result<T, Failure> {
    Err(Failure::Reason(2, text))
}

fn at(flag: &str, error: &tine_tls::Error) -> Failure {
    Failure::Reason(2, format!("{flag}: {error}"))
}

//! By what a foreign program shows that it is ready to serve.

use std::fmt;
use std::os::fd::RawFd;
use std::str::FromStr;
use std::time::Duration;

use crate::{Error, Result};

/// When a command counts as ready to serve (row S22). Whichever it is, the pool's `boot_timeout` bounds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// When it has lived so long since its exec; zero: as soon as it is executed. Default 1 s, as in
    /// Server::Starter (its `--interval`).
    Lived(Duration),
    /// When it says `READY=1` to the socket that `NOTIFY_SOCKET` names (sd_notify(3)); whoever of its user, of the
    /// supervisor's, or root says it.
    Notify,
    /// When it writes anything to a descriptor: this number, or the lowest that is left. `EINHORN_SOCK_FD` has it.
    /// The end of the descriptor says nothing.
    Ack(Option<RawFd>),
    /// When something answers.
    Answers(Probe),
}

/// What is asked whether a command is ready, and how.
///
/// | text | asked |
/// |---|---|
/// | `tcp` | whether it takes a connection |
/// | `http:/PATH` | whether it answers `GET /PATH` with 200 to 399 |
/// | `tcp:HOST:PORT` | whether this address takes connections |
/// | `http://HOST:PORT/PATH` | whether it answers so |
///
/// The first two are asked on the command's listeners, where it counts which process has accepted the connection, for the
/// generation before has them, too; the first at once, each further one 3 s later. And on one more listener, on
/// 127.0.0.1, which no other process has, for commands that serve all listeners they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// `HOST:PORT`; `None`: a socket of its own.
    pub(crate) address: Option<String>,
    /// With its first `/`; `None`: a connection is enough.
    pub(crate) path: Option<String>,
}

impl FromStr for Probe {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let forms = "tcp, tcp:HOST:PORT, http:/PATH or http://HOST:PORT/PATH";
            Error::config(format!("probe {text:?}: it is {forms}"))
        };
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let address = |text: &str| match text.rsplit_once(':') {
            Some((host, port))
                if !host.is_empty() && port.parse::<u16>().is_ok_and(|it| it > 0) =>
            {
                Ok(Some(text.to_owned()))
            }
            _ => Err(wrong()),
        };
        if !plain(text) {
            return Err(wrong());
        }
        if text == "tcp" {
            return Ok(Self { address: None, path: None });
        }
        if let Some(rest) = text.strip_prefix("tcp:") {
            let rest = rest.strip_prefix("//").unwrap_or(rest);
            return Ok(Self { address: address(rest)?, path: None });
        }
        match text.strip_prefix("http:").ok_or_else(wrong)? {
            rest if rest.starts_with("//") => {
                let rest = &rest[2..];
                let path = rest.find('/').unwrap_or(rest.len());
                let (host, path) = rest.split_at(path);
                let path = if path.is_empty() { "/" } else { path };
                Ok(Self { address: address(host)?, path: Some(path.to_owned()) })
            }
            path if path.starts_with('/') => {
                Ok(Self { address: None, path: Some(path.to_owned()) })
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, &self.path) {
            (None, None) => f.write_str("tcp"),
            (Some(address), None) => write!(f, "tcp:{address}"),
            (None, Some(path)) => write!(f, "http:{path}"),
            (Some(address), Some(path)) => write!(f, "http://{address}{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_a_connection_or_a_request_somewhere() {
        for text in ["tcp", "tcp:127.0.0.1:80", "tcp:[::1]:80", "http:/up", "http://a.b:81/up?x"] {
            assert_eq!(text.parse::<Probe>().expect(text).to_string(), text);
        }
        let whole = "http://localhost:81".parse::<Probe>().expect("it is one");
        assert_eq!(whole.to_string(), "http://localhost:81/");
        for text in
            ["", "udp", "tcp:", "tcp:80", "tcp:a:b", "tcp:a:0", "http:", "http://", "http:up"]
        {
            let error = text.parse::<Probe>().expect_err(text);
            assert!(error.is_config() && error.to_string().contains("HOST:PORT"), "{error}");
        }
        assert!("http:/a b".parse::<Probe>().is_err(), "no room for a second header");
    }
}

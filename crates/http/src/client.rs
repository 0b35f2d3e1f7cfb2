//! Who asks: decided once for each request, for handlers, the scoreboard and the access log alike.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tine_tls::Agreed;

use crate::id::{ConnectionId, RequestId};
use crate::text::Text;

/// Who asks, in the extensions of every request.
///
/// ```
/// use axum::{Extension, Router, routing::get};
/// use tine_http::Client;
///
/// async fn whoami(Extension(client): Extension<Client>) -> String {
///     match client.address() {
///         Some(address) => format!("{address}, request {}", client.id()),
///         None => "somebody on this machine".to_owned(),
///     }
/// }
/// # let _: Router = Router::new().route("/", get(whoami));
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) address: Option<IpAddr>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) https: bool,
    pub(crate) tls: Option<Arc<Agreed>>,
    pub(crate) id: RequestId,
}

impl Client {
    /// Its address: what a trusted proxy says of it, or else the peer's own. `None` for a client of a Unix
    /// socket of whom nothing more is known.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Who holds the other end of the connection: a proxy, where there is one. `None` over Unix sockets.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Whether the client speaks HTTPS: with us, or, if a trusted proxy asks for it and says so, with that.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// What was agreed upon with the peer, if the connection is one of TLS: the protocol, the cipher, the host it has
    /// asked for.
    #[must_use]
    pub fn tls(&self) -> Option<&Agreed> {
        self.tls.as_deref()
    }

    /// As the scoreboard shows it: with its port, if it is the peer.
    pub(crate) fn show(&self) -> Text {
        let mut text = Text::default();
        match (self.address, self.peer) {
            (Some(address), Some(peer)) if peer.ip() == address => text.socket_address(peer),
            (Some(address), _) => text.address(address),
            (None, _) => {}
        }
        text
    }

    /// What the request is called in logs.
    #[must_use]
    pub fn id(&self) -> RequestId {
        self.id
    }
}

/// A connection, as far as it matters to who asks on it.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) id: ConnectionId,
    /// Who is connected.
    pub(crate) peer: Option<SocketAddr>,
    /// Whose connection it is: the peer's, or that of whom a PROXY header speaks.
    pub(crate) source: Option<SocketAddr>,
    /// Where the client connected to. Known only if it was looked for, or a PROXY header speaks of it.
    pub(crate) local: Option<SocketAddr>,
    /// What the source says of further clients is believed.
    pub(crate) trusted: bool,
    /// What was agreed upon, with TLS.
    pub(crate) tls: Option<Arc<Agreed>>,
}

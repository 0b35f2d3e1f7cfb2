//! What a worker says of its connections and requests: who asks, by which id, and the line in the log.

use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderName, Request, StatusCode};
use tine::{Context, Level, Log, Record, RequestLine, Worker};
use tine_tls::Agreed;
use tokio::io::AsyncRead;
use tokio::time::sleep;

use crate::access_log::{self, AccessLog, HostWriters, Line, Open, Writer};
use crate::client::{Client, Origin};
use crate::forwarded::{self, Forwarded};
use crate::id::{ConnectionId, Numbers, RequestId};
use crate::limits::{HEAD_LEAST, TICK};
use crate::options::Options;
use crate::proxy::{self, Malformed, Proxied};
use crate::refusal::Unreadable;
use crate::text::Text;
use crate::trouble::Troubles;
use crate::trust::Trust;

/// See the module. One a worker.
#[derive(Debug)]
pub(crate) struct Observer {
    numbers: Numbers,
    writer: Option<Rc<Writer>>,
    /// Those of hosts that have their own.
    hosts: Option<HostWriters>,
    trust: Trust,
    forwarded: Forwarded,
    proxy_protocol: bool,
    health: Option<String>,
    id_header: Option<HeaderName>,
    troubles: Troubles,
    /// What clients do wrong: a flood of it leaves room for the troubles of the service.
    faults: Troubles,
    log: Log,
}

/// The worker's part, kept until its runtime is there.
#[derive(Debug)]
pub(crate) struct Station {
    worker: u64,
    log: Log,
}

impl Station {
    pub(crate) fn of(worker: &Worker) -> Self {
        Self { worker: worker.id(), log: worker.log().clone() }
    }

    pub(crate) fn observer(self, options: &Options, context: &Context) -> Observer {
        let open = |log: &AccessLog| {
            let context = context.clone();
            let record = Some(context.record().clone());
            Writer::new(log, self.log.clone(), record, move || context.is_leaving())
        };
        Observer {
            hosts: options.host_logs.as_ref().map(|logs| HostWriters::new(logs, open)),
            numbers: Numbers::new(self.worker),
            writer: options.access_log.as_ref().map(open),
            trust: options.trust.clone(),
            forwarded: options.forwarded,
            proxy_protocol: options.proxy_protocol,
            health: options.health.clone(),
            id_header: options.id_header.clone(),
            troubles: Troubles::new(self.log.clone(), Level::Error),
            faults: Troubles::new(self.log.clone(), Level::Info),
            log: self.log,
        }
    }
}

impl Arrival {
    /// What its connection is called.
    pub(crate) fn id(&self) -> ConnectionId {
        self.origin.id
    }

    /// What was agreed upon with the peer, with TLS.
    pub(crate) fn agreed(&self) -> Option<&Agreed> {
        self.origin.tls.as_deref()
    }

    /// Its handshake is done.
    pub(crate) fn is_secured(&mut self, agreed: Agreed) {
        self.origin.tls = Some(Arc::new(agreed));
    }
}

/// A connection, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Arrival {
    origin: Origin,
    /// As the scoreboard shows whose it is.
    who: Box<str>,
    _open: Option<Open>,
}

impl Arrival {
    /// Writes a request into the scoreboard; its query may hold secrets and stays out.
    pub(crate) fn stamp<B>(
        &self,
        record: &Record,
        request: &Request<B>,
        client: &Client,
        now: u64,
    ) {
        let uri = request.uri();
        let mut cut;
        let target = match uri.query() {
            None => uri.path(),
            Some(_) => {
                cut = Text::default();
                cut.push(uri.path());
                cut.push("?…");
                cut.as_str()
            }
        };
        let (verb, protocol) = (request.method().as_str(), access_log::protocol(request.version()));
        let line = RequestLine { verb, target, protocol };
        if !self.origin.trusted || client.address == self.origin.source.map(|source| source.ip()) {
            record.request_began(line, &self.who, now);
        } else {
            record.request_began(line, client.show().as_str(), now);
        }
    }
}

impl Observer {
    /// Whether a line says where clients connected to.
    pub(crate) fn asks_local(&self) -> bool {
        let hosts = self.hosts.iter().flat_map(HostWriters::iter);
        self.writer.iter().chain(hosts).any(|writer| writer.asks_local())
    }

    /// A connection begins: says whose it is; `None` if it should have said so and has not. `local` is where
    /// the client connected to, if that [is asked](Self::asks_local).
    pub(crate) async fn arrive<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        context: &Context,
        peer: Option<SocketAddr>,
        local: Option<SocketAddr>,
    ) -> Option<Arrival> {
        let id = self.numbers.next();
        let trusted = !self.trust.is_empty() && self.trust.holds(peer.map(|peer| peer.ip()));
        let mut origin = Origin { id, peer, source: peer, local, trusted, tls: None };
        if self.proxy_protocol && trusted {
            // Rare, and large: a connection that waits for a request should not carry it.
            match Box::pin(proxied(stream, context)).await {
                Ok(Proxied::Own) => {}
                Ok(Proxied::For(from, to)) => {
                    (origin.source, origin.local) = (Some(from), Some(to));
                    origin.trusted = self.trust.holds(Some(from.ip()));
                }
                Err(error) => {
                    // Somebody who looks whether the port is open says no more (a TCP health check).
                    let probe = matches!(error, Malformed::Nothing);
                    let level = if probe { Level::Debug } else { Level::Warn };
                    let who = peer.map_or_else(|| "unix".to_owned(), |peer| peer.ip().to_string());
                    let text = format_args!("{id}: {who} is refused: its PROXY header: {error}");
                    self.log.line(level, text);
                    return None;
                }
            }
        }
        let who = client(&origin, 0).show().as_str().into();
        Some(Arrival { origin, who, _open: self.writer.as_ref().map(Writer::open) })
    }

    /// A request has come, the `number`th of its connection, at this monotonic nanosecond: decides who asks, and
    /// begins its line in the log.
    pub(crate) fn ask<B>(
        &self,
        request: &Request<B>,
        arrival: &Arrival,
        number: u64,
        now: u64,
    ) -> (Client, Option<Line>) {
        let origin = &arrival.origin;
        let mut client = client(origin, number);
        if origin.trusted {
            let proxy = client.address;
            (client.address, client.https) = forwarded::client(
                request.headers(),
                proxy,
                (&self.trust, self.forwarded),
                client.https,
            );
        }
        let begin = |writer| Line::begin(writer, request, &client, origin, now);
        let own = self.hosts.as_ref().and_then(|hosts| hosts.of(request));
        let line = own.or(self.writer.as_ref()).map(begin);
        (client, line)
    }

    /// The header in which answers say what their requests are called, if they are to.
    pub(crate) fn id_header(&self) -> Option<&HeaderName> {
        self.id_header.as_ref()
    }

    /// Says something of a connection, in the log of the service.
    pub(crate) fn log_of(&self, arrival: &Arrival, level: Level, text: &str) {
        self.log.line(level, format_args!("{}: {text}", arrival.origin.id));
    }

    /// Says what went wrong with the `number`th request of a connection, within bounds. `now` is monotonic nanoseconds.
    pub(crate) fn trouble(
        &self,
        arrival: &Arrival,
        number: u64,
        now: u64,
        text: fmt::Arguments<'_>,
    ) {
        let id = RequestId::new(arrival.origin.id, number);
        self.troubles.tell(now, format_args!("{id}: {text}"));
    }

    /// The answer to who asks how the service is; `None` if it is not asked.
    pub(crate) fn health<B>(&self, request: &Request<B>, context: &Context) -> Option<StatusCode> {
        let path = self.health.as_deref()?;
        (request.uri().path() == path).then(|| match context.wants_clients() {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        })
    }

    /// Whose connection it is, for a request that could not be read.
    pub(crate) fn client(&self, arrival: &Arrival, number: u64) -> Client {
        client(&arrival.origin, number)
    }

    /// A request could not be read: a line in the access log.
    pub(crate) fn refused(&self, arrival: &Arrival, client: &Client, unreadable: Unreadable<'_>) {
        if let Some(writer) = &self.writer {
            writer.refused(client, &arrival.origin, unreadable);
        }
    }

    /// Says in the log of the service what a client does wrong, within bounds. `now` is monotonic nanoseconds.
    pub(crate) fn fault(&self, now: u64, text: fmt::Arguments<'_>) {
        self.faults.tell(now, text);
    }
}

/// Reads a PROXY header. In an isolated worker that others wait for it has no more time than a request's.
async fn proxied<S: AsyncRead + Unpin>(
    stream: &mut S,
    context: &Context,
) -> Result<Proxied, Malformed> {
    let others_wait = async {
        sleep(HEAD_LEAST).await;
        while !(context.is_isolated() && context.is_wanted_elsewhere()) {
            sleep(TICK).await;
        }
    };
    tokio::select! {
        biased;
        header = proxy::read(stream) => header,
        () = others_wait => Err(Malformed::Displaced),
    }
}

fn client(origin: &Origin, number: u64) -> Client {
    Client {
        address: origin.source.map(|source| source.ip()),
        peer: origin.peer,
        https: origin.tls.is_some(),
        tls: origin.tls.clone(),
        id: RequestId::new(origin.id, number),
    }
}

//! A worker's door: who comes is shown to the hooks, asked about by the rules, and served or sent away.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use crate::access::{Gate, Name, Verdict};
use crate::conn::{Conn, Packet};
use crate::hooks::Hooked;
use crate::log::{Log, info};
use crate::scoreboard::Activity;

/// See the module.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) gate: Option<Arc<Gate>>,
    pub(crate) hooks: Hooked,
    pub(crate) log: Log,
}

impl Door {
    /// A connection from its beginning to its end. Blocks for a lookup where one is needed.
    pub(crate) fn serve(
        &self,
        mut conn: Conn,
        handler: &mut dyn FnMut(Conn) -> io::Result<()>,
    ) -> io::Result<()> {
        let peer = conn.peer();
        self.hooks.accepted(&conn);
        let client = peer.map(|peer| peer.ip());
        let verdict = self.gate.as_ref().map(|gate| match gate.ask(client) {
            Ok(verdict) => verdict,
            Err(lookup) => {
                conn.record().set(Activity::Resolving);
                let name = lookup.wait();
                conn.record().set(Activity::Reading);
                gate.decide(client, &name)
            }
        });
        let result = match self.admits(&mut conn, client, verdict) {
            true => handler(conn).map(|()| true),
            false => {
                drop(conn);
                Ok(false)
            }
        };
        self.hooks.served(peer, matches!(result, Ok(true)));
        result.map(drop)
    }

    /// The same with a future: the wait for a lookup is the connection's own.
    #[cfg(feature = "tokio")]
    pub(crate) async fn serve_async<F: Future<Output = ()>>(
        &self,
        mut conn: Conn,
        handler: impl FnOnce(Conn) -> F,
    ) {
        let peer = conn.peer();
        self.hooks.accepted(&conn);
        let client = peer.map(|peer| peer.ip());
        let verdict = match &self.gate {
            None => None,
            Some(gate) => Some(match gate.ask(client) {
                Ok(verdict) => verdict,
                Err(lookup) => {
                    conn.record().set(Activity::Resolving);
                    let name = lookup.await;
                    conn.record().set(Activity::Reading);
                    gate.decide(client, &name)
                }
            }),
        };
        let admitted = self.admits(&mut conn, client, verdict);
        if admitted {
            handler(conn).await;
        } else {
            drop(conn);
        }
        self.hooks.served(peer, admitted);
    }

    /// Whether a datagram may come in; no hook is asked.
    pub(crate) fn admit_packet(&self, packet: &mut Packet<'_>) -> bool {
        let client = packet.peer().map(|peer| peer.ip());
        let verdict = self.gate.as_ref().map(|gate| gate.check(client));
        let (allowed, name) = self.judge(client, verdict);
        packet.name = name;
        allowed
    }

    /// Whether a connection may come in; one that may not has been shown to the hook when this returns.
    fn admits(
        &self,
        conn: &mut Conn,
        client: Option<IpAddr>,
        verdict: Option<Verdict<'_>>,
    ) -> bool {
        let (allowed, name) = self.judge(client, verdict);
        conn.name = name;
        let admitted = allowed && self.hooks.admits(conn);
        if !admitted {
            self.hooks.refused(conn);
        }
        admitted
    }

    /// What the rules say. Who is sent away, and by which rule, is logged.
    fn judge(&self, client: Option<IpAddr>, verdict: Option<Verdict<'_>>) -> (bool, Option<Name>) {
        let Some(verdict) = verdict else { return (true, None) };
        if let (false, Some(client)) = (verdict.allowed, client) {
            info!(self.log, "{client} is refused: {verdict}");
        }
        (verdict.allowed, verdict.name)
    }
}

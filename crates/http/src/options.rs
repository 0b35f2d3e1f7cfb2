//! What can be asked of serving, beside the service itself.

use http::HeaderName;

use crate::access_log::{AccessLog, HostLogs};
use crate::forwarded::Forwarded;
use crate::limits::Limits;
use crate::trust::Trust;
use tine_tls::Tls;

/// How to serve. The default is [`Limits::default`], no log, and nobody's word taken.
///
/// ```
/// use tine_http::{Options, Trust};
///
/// # fn main() -> tine::Result<()> {
/// let trust = Trust::new(["10.0.0.0/8"])?;
/// let options = Options { trust, proxy_protocol: true, ..Options::default() };
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What a client may take of a worker.
    pub limits: Limits,
    /// A line a request. Default: none.
    pub access_log: Option<AccessLog>,
    /// Logs of hosts that have their own. Default: none, and every line goes to `access_log`.
    pub host_logs: Option<HostLogs>,
    /// Whose word about clients is taken: in the PROXY protocol, and in requests' headers. Default: nobody's.
    pub trust: Trust,
    /// Which header trusted proxies write. Default: `X-Forwarded-For` and `X-Forwarded-Proto`.
    pub forwarded: Forwarded,
    /// Connections of trusted peers begin with a PROXY header, of version 1 or 2; one that does not is logged
    /// and closed. Others are served as they are. Default: off.
    pub proxy_protocol: bool,
    /// Certificates, for listeners that are marked for TLS (`443/tls`, see [`tine::endpoint`]); the others are
    /// served without. [`Tls::share_tickets`] has all workers resume each other's sessions. Default: none, and no
    /// listener may be marked.
    pub tls: Option<Tls>,
    /// A path that says whether this is a good place to send requests to: 200 while the service serves, 503
    /// from the moment on at which it is to end, which is before its last connections are drained. A worker
    /// that is only replaced says 200 to the end. Default: none.
    pub health: Option<String>,
    /// A header of answers that says the request's id: `x-request-id: C3.17-2`. Default: none.
    pub id_header: Option<HeaderName>,
}

impl From<Limits> for Options {
    fn from(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }
}

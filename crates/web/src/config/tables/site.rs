//! `[[site]]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{GuardTable, HeadersTable, RouteTable, Spot, TlsTable};

/// A site: its names, rules and answers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct SiteTable {
    /// The names of hosts it answers for, the first above all; `*.example.org` is every name beneath.
    pub(crate) names: Option<Spot<Vec<Spot<String>>>>,
    /// Whether it answers requests for hosts that no site has. Without such a site, their answer is 404.
    pub(crate) default: Option<Spot<bool>>,
    /// Whether clients that use another of its names are redirected to the first.
    pub(crate) canonical: Option<Spot<bool>>,
    /// The certificate, `{ cert = "FILE", key = "FILE" }`. A client is shown that of the host it asks for.
    pub(crate) tls: Option<Spot<TlsTable>>,
    /// The directory that `files = true` serves.
    pub(crate) root: Option<Spot<String>>,
    /// The access log: the name of a `[log.NAME]`.
    pub(crate) access_log: Option<Spot<String>>,
    /// Header fields of every answer, beside those of `[defaults]`; `NAME = false` takes one away.
    pub(crate) headers: HeadersTable,
    /// Whether files whose names begin with a dot are served. Default: that of `[defaults]`.
    pub(crate) dotfiles: Option<Spot<bool>>,
    /// Whether a directory without an index file is answered with a list of what is in it. Default: that of `[defaults]`.
    pub(crate) listing: Option<Spot<bool>>,
    /// Rules that a request must pass before anything answers: every one that matches must allow it.
    pub(crate) guards: Vec<GuardTable>,
    /// What answers: the first that matches.
    pub(crate) routes: Vec<RouteTable>,
}

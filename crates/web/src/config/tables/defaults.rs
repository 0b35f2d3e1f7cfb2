//! `[defaults]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{HeadersTable, Spot};

/// What holds for every site that does not say otherwise.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct DefaultsTable {
    /// The access log: the name of a `[log.NAME]`.
    pub(crate) access_log: Option<Spot<String>>,
    /// Header fields of every answer. Those of sites and routes are added by name and win; `NAME = false` takes one away.
    pub(crate) headers: HeadersTable,
    /// Whether files whose names begin with a dot are served. Default: `false`; `/.well-known/` always is.
    pub(crate) dotfiles: Option<Spot<bool>>,
    /// Whether a directory without an index file is answered with a list of what is in it. Default: `false`.
    pub(crate) listing: Option<Spot<bool>>,
}

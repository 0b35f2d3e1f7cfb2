//! `tls` of a site.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Spot;

/// The certificate of a site.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct TlsTable {
    /// The certificate: a PEM file with the whole chain.
    pub(crate) cert: Option<Spot<String>>,
    /// Its key: a PEM file, not encrypted.
    pub(crate) key: Option<Spot<String>>,
}

//! `[log.NAME]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Spot;

/// An access log, by a name that sites refer to.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct LogTable {
    /// The file, `-` for standard output. The signal USR1 opens it anew, after a rotation.
    pub(crate) file: Option<Spot<String>>,
    /// How a line looks: `common`, `combined`, `json`, or a text with the directives of Apache's LogFormat. Default:
    /// `combined`.
    pub(crate) format: Option<Spot<String>>,
}

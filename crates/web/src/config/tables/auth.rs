//! `[auth.NAME]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Spot;

/// Users and passwords, by a name that guards refer to.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct AuthTable {
    /// The file of users and hashed passwords, as `htpasswd` writes it. It is read again when it is replaced.
    pub(crate) file: Option<Spot<String>>,
    /// What the browser shows when it asks for the password. Default: the name of the section.
    pub(crate) realm: Option<Spot<String>>,
}

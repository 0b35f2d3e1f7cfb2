//! One of `guards`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Spot;

/// A guard: which requests it looks at, and what they must fulfil.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct GuardTable {
    /// The paths it looks at, by whole segments: `/news`, `/news/*` for all beneath, `*.php` for a suffix. Default: all.
    pub(crate) path: Option<Spot<String>>,
    /// A regular expression for the path, instead of `path`.
    #[serde(rename = "match")]
    pub(crate) regex: Option<Spot<String>>,
    /// Clients that may come in: addresses, networks (`10.0.0.0/8`), ranges or `all`. Others get 403.
    pub(crate) allow: Option<Spot<Vec<Spot<String>>>>,
    /// Clients that may not; it wins over `allow`.
    pub(crate) deny: Option<Spot<Vec<Spot<String>>>>,
    /// A password is needed: the name of an `[auth.NAME]`.
    pub(crate) auth: Option<Spot<String>>,
    /// The methods that are allowed; GET brings HEAD along. Others get 405.
    pub(crate) methods: Option<Spot<Vec<Spot<String>>>>,
    /// The longest request body, such as `"1M"`; longer ones get 413.
    pub(crate) max_body_size: Option<Spot<String>>,
    /// How many requests, such as `"10/min"` (or `/s`, `/h`); more get 429.
    pub(crate) rate: Option<Spot<String>>,
    /// What `rate` counts by: `client`, the address.
    pub(crate) by: Option<Spot<String>>,
    /// How many requests may come at once before `rate` counts. Default: the number of `rate`.
    pub(crate) burst: Option<Spot<u32>>,
}

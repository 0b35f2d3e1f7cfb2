//! One of `routes`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{HeadersTable, Spot, SwitchOrText};

/// A route: which requests it matches, and exactly one answer (`files`, `redirect` or `status`).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct RouteTable {
    /// The paths it matches, by whole segments: `/news`, `/news/*` for all beneath, `*.php` for a suffix. Default: all.
    pub(crate) path: Option<Spot<String>>,
    /// A regular expression for the path, instead of `path`.
    #[serde(rename = "match")]
    pub(crate) regex: Option<Spot<String>>,
    /// Answer with files: `true` for those of the site's `root`, or a directory, which is then that of `path`: with
    /// `/static/*`, `/static/a` is the file `a` in it.
    pub(crate) files: Option<Spot<SwitchOrText>>,
    /// Answer with a redirect to this address. `{path}` is the path, `{*}` what `*` matched, `{1}` a group of `match`,
    /// `{host}` the host.
    pub(crate) redirect: Option<Spot<String>>,
    /// Answer with this status. With `redirect`, the status of the redirect: 301, 302 (the default), 303, 307 or 308.
    pub(crate) status: Option<Spot<u16>>,
    /// With `files`: what follows if there is no such file: `next` for the next route, or a file such as `/index.html`.
    pub(crate) missing: Option<Spot<String>>,
    /// With `files`: whether a directory without an index file is answered with a list. Default: that of the site.
    pub(crate) listing: Option<Spot<bool>>,
    /// With `files`: whether files whose names begin with a dot are served. Default: that of the site.
    pub(crate) dotfiles: Option<Spot<bool>>,
    /// Header fields of its answers, beside those of the site; `NAME = false` takes one away.
    pub(crate) headers: HeadersTable,
}

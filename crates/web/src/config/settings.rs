//! A configuration as plain data: what the file says, resolved, each value with its place.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::source::{Place, Placed, Sources};

/// What a file says, with all that it includes.
#[derive(Clone, Debug)]
pub struct Config {
    /// The keys of `[server]`, in order.
    pub server: Vec<Setting>,
    /// The sites, in order.
    pub sites: Vec<SiteConfig>,
    /// The access logs, by name.
    pub logs: Vec<LogConfig>,
    /// The files of passwords, by name.
    pub auth: Vec<AuthConfig>,
    /// The files that were read.
    pub sources: Sources,
}

/// A key of `[server]`. What it means is known to the program, whose flags these are.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The key, as it is written.
    pub key: Placed<String>,
    /// Its values as they would be typed: one, or those of a list.
    pub values: Vec<Placed<SettingValue>>,
}

/// A value of `[server]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// `true` or `false`.
    Switch(bool),
    /// A text, or a number as it is written.
    Text(String),
}

/// `[auth.NAME]`.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// The name.
    pub name: Placed<String>,
    /// The file of users and hashed passwords.
    pub file: Placed<PathBuf>,
    /// What the browser shows.
    pub realm: Placed<String>,
}

/// `[log.NAME]`.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The name.
    pub name: Placed<String>,
    /// The file; `-` is standard output.
    pub file: Placed<PathBuf>,
    /// How a line looks, if it is said.
    pub format: Option<Placed<String>>,
}

/// `[[site]]`.
#[derive(Clone, Debug)]
pub struct SiteConfig {
    /// Where it begins.
    pub place: Place,
    /// Its names.
    pub names: Vec<Placed<String>>,
    /// Whether it answers for unknown hosts.
    pub default: Option<Placed<bool>>,
    /// Whether its other names are redirected to the first.
    pub canonical: Option<Placed<bool>>,
    /// Its certificate.
    pub tls: Option<TlsConfig>,
    /// The directory of `files = true`.
    pub root: Option<Placed<PathBuf>>,
    /// The name of its access log.
    pub access_log: Option<Placed<String>>,
    /// Header fields of answers that no route gives: those of the defaults and its own.
    pub headers: Vec<(HeaderName, Placed<HeaderValue>)>,
    /// Rules, every one that matches.
    pub guards: Vec<GuardConfig>,
    /// Answers, the first that matches.
    pub routes: Vec<RouteConfig>,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// The file of the chain.
    pub cert: Placed<PathBuf>,
    /// The file of the key.
    pub key: Placed<PathBuf>,
}

/// Which paths are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathConfig {
    /// By whole segments, `*` the rest.
    Pattern(String),
    /// By a regular expression.
    Regex(String),
}

/// One of `guards`.
#[derive(Clone, Debug)]
pub struct GuardConfig {
    /// Where it begins.
    pub place: Place,
    /// Which paths; all without.
    pub path: Option<Placed<PathConfig>>,
    /// Clients that may come in.
    pub allow: Vec<Placed<String>>,
    /// Clients that may not.
    pub deny: Vec<Placed<String>>,
    /// The name of a file of passwords.
    pub auth: Option<Placed<String>>,
    /// Methods that are allowed; all without.
    pub methods: Vec<Placed<Method>>,
    /// The longest request body, in bytes.
    pub max_body_size: Option<Placed<u64>>,
    /// How many requests a client may send.
    pub rate: Option<Placed<RateConfig>>,
}

/// So many requests in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateConfig {
    /// Requests.
    pub requests: u32,
    /// The time.
    pub per: Duration,
    /// So many may come at once.
    pub burst: u32,
}

/// One of `routes`.
#[derive(Clone, Debug)]
pub struct RouteConfig {
    /// Where it begins.
    pub place: Place,
    /// Which paths; all without.
    pub path: Option<Placed<PathConfig>>,
    /// What it answers.
    pub answer: Placed<Answer>,
    /// Header fields of its answers: those of the defaults, of the site and its own.
    pub headers: Vec<(HeaderName, Placed<HeaderValue>)>,
}

/// What a route answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With files of a directory.
    Files {
        /// The directory.
        root: PathBuf,
        /// The directory is that of the pattern: with `/static/*`, `/static/a` is the file `a` in it.
        strip: bool,
        /// What follows if there is no such file; 404 without.
        missing: Option<Placed<MissingConfig>>,
        /// Whether directories are listed.
        listing: Option<Placed<bool>>,
        /// Whether names that begin with a dot are served.
        dotfiles: Option<Placed<bool>>,
    },
    /// With a redirect to this target.
    Redirect(String, u16),
    /// With a status.
    Status(u16),
}

/// What follows if there is no such file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MissingConfig {
    /// The next route.
    Next,
    /// This file, by its path in the site.
    File(String),
}

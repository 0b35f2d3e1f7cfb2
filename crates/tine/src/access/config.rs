//! What somebody wrote about access: plain values.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// More threads do not make a slow resolver faster.
const THREADS_MAX: usize = 64;
/// A client that waits longer has gone.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Names change.
const TTL_MAX: Duration = Duration::from_secs(86_400);

/// Who may come in, as it is written. The module says what an entry can be and in which order they count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessConfig {
    /// Who may come in, if no `deny` entry matches.
    pub allow: Vec<String>,
    /// Who may not.
    pub deny: Vec<String>,
    /// What becomes of clients that no entry matches. Default: without `allow` entries they come in, with
    /// some they do not.
    pub default: Option<Decision>,
    /// Whether a client's name is looked up. Default: off.
    pub lookups: Lookups,
    /// Whether it is looked up for every client that comes in, also where no rule needs it: for handlers
    /// ([`crate::Conn::peer_name`]). Default: no.
    pub names_for_all: bool,
}

/// In or out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// In.
    Allow,
    /// Out.
    Deny,
}

/// What is looked up about a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lookups {
    /// Nothing: a rule about names is a configuration error, and patterns see addresses alone. The default.
    #[default]
    Off,
    /// The name its address has, where a rule needs one. Whoever holds the address chose that name: to let
    /// in by name use `double`; and to keep out by name keeps out nobody who minds.
    Reverse,
    /// The name, and the addresses that name has: a client whose own address is not among them, or that has
    /// no name, stays out, whatever the rules say (Net::Server's `double_reverse_lookups`).
    Double,
}

/// The bounds of a worker's lookups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResolverConfig {
    /// Lookups at once, each on a thread, 1 to 64. Default 4.
    pub threads: usize,
    /// Lookups that wait for a thread; further ones fail at once. Default 256.
    pub queue: usize,
    /// From the question to the answer, at most 1 min. Default 2 s.
    #[serde(with = "human")]
    pub timeout: Duration,
    /// How long a name is good, at most a day. Default 5 min.
    #[serde(with = "human")]
    pub positive_ttl: Duration,
    /// How long it is good to know that there is none, or that the lookup failed; at most a day. Default
    /// 30 s.
    #[serde(with = "human")]
    pub negative_ttl: Duration,
    /// Answers that are kept. Default 4096.
    pub cache_entries: usize,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        Self {
            threads: 4,
            queue: 256,
            timeout: Duration::from_secs(2),
            positive_ttl: Duration::from_secs(300),
            negative_ttl: Duration::from_secs(30),
            cache_entries: 4096,
        }
    }
}

impl ResolverConfig {
    pub(super) fn validate(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::config(format!("lookups: {what}")));
        if !(1..=THREADS_MAX).contains(&self.threads) {
            return wrong(format!("threads is {}; it may be 1 to {THREADS_MAX}", self.threads));
        }
        if self.queue == 0 {
            return wrong("queue is 0; it is at least 1".to_owned());
        }
        if self.timeout.is_zero() || self.timeout > TIMEOUT_MAX {
            return wrong(format!(
                "timeout is {:?}; it may be up to {TIMEOUT_MAX:?}",
                self.timeout
            ));
        }
        for (name, ttl) in
            [("positive_ttl", self.positive_ttl), ("negative_ttl", self.negative_ttl)]
        {
            if ttl > TTL_MAX {
                return wrong(format!("{name} is {ttl:?}; it may be up to {TTL_MAX:?}"));
            }
        }
        Ok(())
    }
}

/// Durations as people write them: `2s`, `1m 30s`.
mod human {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_names_of_their_fields_and_others_are_refused() {
        let text = r#"{"allow": [".example.org"], "default": "deny", "lookups": "double"}"#;
        let config: AccessConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.allow, [".example.org"]);
        assert_eq!((config.default, config.lookups), (Some(Decision::Deny), Lookups::Double));
        assert_eq!(serde_json::from_str::<AccessConfig>("{}").unwrap(), AccessConfig::default());
        assert!(serde_json::from_str::<AccessConfig>(r#"{"alow": []}"#).is_err());

        let config: ResolverConfig = serde_json::from_str(r#"{"timeout": "500ms"}"#).unwrap();
        assert_eq!(config.timeout, Duration::from_millis(500));
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ResolverConfig>(&text).unwrap(), config);
    }

    #[test]
    fn numbers_out_of_bounds_are_refused_by_name() {
        let default = ResolverConfig::default;
        default().validate().unwrap();
        let day = Duration::from_secs(86_401);
        for (config, key) in [
            (ResolverConfig { threads: 0, ..default() }, "threads"),
            (ResolverConfig { threads: 65, ..default() }, "threads"),
            (ResolverConfig { queue: 0, ..default() }, "queue"),
            (ResolverConfig { timeout: Duration::ZERO, ..default() }, "timeout"),
            (ResolverConfig { timeout: Duration::MAX, ..default() }, "timeout"),
            (ResolverConfig { positive_ttl: day, ..default() }, "positive_ttl"),
            (ResolverConfig { negative_ttl: day, ..default() }, "negative_ttl"),
        ] {
            let error = config.validate().unwrap_err();
            assert!(error.is_config() && error.to_string().contains(key), "{error}");
        }
    }
}

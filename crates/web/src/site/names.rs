//! Names of hosts: as they are configured, and as clients write them.

use std::borrow::Cow;
use std::collections::HashMap;

use super::SiteError;

/// Which site a host belongs to. A lookup is one of a hash table, and one a label where there are wildcards.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: HashMap<String, usize>,
    /// By what stands behind `*.`.
    beneath: HashMap<String, usize>,
}

/// A name as it is compared: in small letters, without a dot at the end.
pub(super) fn plain(name: &str) -> Result<String, SiteError> {
    let plain = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let labels = plain.strip_prefix("*.").unwrap_or(&plain);
    let is_label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(fits)
    };
    let address = labels.starts_with('[') && labels.ends_with(']');
    match () {
        () if !name.is_ascii() => {
            let words = "a name with letters beyond ASCII: write it as DNS has it (xn--…)";
            Err(SiteError(format!("`{name}`: {words}")))
        }
        () if !address && !labels.split('.').all(is_label) => {
            let words = "it is no name of a host: example.org, or *.example.org";
            Err(SiteError(format!("`{name}`: {words}")))
        }
        () => Ok(plain),
    }
}

/// A host as a client writes it: without its port and the dot at its end, in small letters.
pub(super) fn host_of(written: &str) -> Cow<'_, str> {
    let name = match written.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => written,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}

impl Names {
    /// Adds a name of a site, which no other may have.
    pub(super) fn add(&mut self, name: &str, site: usize) -> Result<(), SiteError> {
        let plain = plain(name)?;
        let before = match plain.strip_prefix("*.") {
            Some(rest) => self.beneath.insert(rest.to_owned(), site),
            None => self.exact.insert(plain, site),
        };
        match before {
            Some(other) if other != site => {
                Err(SiteError(format!("`{name}` is the name of two sites")))
            }
            _ => Ok(()),
        }
    }

    /// The site of a host in its plain form; the longest wildcard wins.
    pub(super) fn find(&self, host: &str) -> Option<usize> {
        if let Some(site) = self.exact.get(host) {
            return Some(*site);
        }
        if self.beneath.is_empty() {
            return None;
        }
        let mut rest = host;
        while let Some((_, behind)) = rest.split_once('.') {
            if let Some(site) = self.beneath.get(behind) {
                return Some(*site);
            }
            rest = behind;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_by_name_then_by_the_longest_wildcard() {
        let mut names = Names::default();
        for (site, name) in ["Example.org.", "*.example.org", "*.a.example.org", "x.a.example.org"]
            .iter()
            .enumerate()
        {
            names.add(name, site).expect("a name");
        }
        for (host, site) in [
            ("example.org", Some(0)),
            ("EXAMPLE.org.:8080", Some(0)),
            ("b.example.org", Some(1)),
            ("c.b.example.org", Some(1)),
            ("b.a.example.org", Some(2)),
            ("x.a.example.org", Some(3)),
            ("notexample.org", None),
            ("", None),
        ] {
            assert_eq!(names.find(&host_of(host)), site, "{host}");
        }
        assert!(names.add("EXAMPLE.ORG", 9).is_err());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "a b", "a..b", "*", "a.*.b", "é.example", "a/b", "a:80"] {
            assert!(plain(name).is_err(), "{name}");
        }
        for name in ["localhost", "[::1]", "127.0.0.1", "*.a", "xn--bcher-kva.example", "a_b"] {
            assert!(plain(name).is_ok(), "{name}");
        }
    }
}

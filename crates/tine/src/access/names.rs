//! Host names: what is one, and sets of them that are asked without allocating.

use std::cmp::Ordering;

/// The longest name there can be, in bytes, without the dot at its end (RFC 1035, 2.3.4).
const LONGEST: usize = 253;
/// The longest label, in bytes (RFC 1035, 2.3.4).
const LONGEST_LABEL: usize = 63;

/// Whether this can be the name of a host: labels of letters, digits, hyphens and underscores, the last one
/// with a letter in it (RFC 1123, 2.1). So the text of an IPv4 address, or a part of one, is none: a client
/// that names itself `10.0.0.1` gains nothing by it.
pub(super) fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let last = name.rsplit('.').next().unwrap_or(name);
    name.len() <= LONGEST
        && name.split('.').all(label)
        && last.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// A name without the dot that marks it as complete.
pub(super) fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Names in lower case, in order, each with the number of its rule.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<(Box<str>, usize)>);

impl Names {
    /// Of names written the same the first rule stays.
    pub(super) fn new(names: impl Iterator<Item = (String, usize)>) -> Self {
        let lower = |(name, rule): (String, usize)| (name.to_ascii_lowercase().into(), rule);
        let mut names: Vec<(Box<str>, usize)> = names.map(lower).collect();
        names.sort_unstable();
        names.dedup_by(|next, kept| next.0 == kept.0);
        Self(names)
    }

    /// The rule of any of them.
    pub(super) fn any(&self) -> Option<usize> {
        self.0.first().map(|(_, rule)| *rule)
    }

    /// The rule of this name, in whatever case it is written.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        let found = self.0.binary_search_by(|(own, _)| compare(own, name)).ok()?;
        Some(self.0[found].1)
    }

    /// The rule of this name, or of the nearest domain it is in.
    pub(super) fn find_domain(&self, name: &str) -> Option<usize> {
        let mut rest = self.any().and(Some(name));
        while let Some(name) = rest {
            if let Some(rule) = self.find(name) {
                return Some(rule);
            }
            rest = name.split_once('.').map(|(_, above)| above);
        }
        None
    }
}

fn compare(lower: &str, other: &str) -> Ordering {
    lower.bytes().cmp(other.bytes().map(|byte| byte.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_have_a_letter_in_their_last_label() {
        let label = "a".repeat(63);
        for good in [
            "localhost",
            "www.example.org",
            "web-1",
            "_x.example",
            "1.2.3.4-dsl.example.org",
            &label,
        ] {
            assert!(is_host_name(good), "{good}");
        }
        let long = format!("{label}.{label}.{label}.{label}");
        let label = "a".repeat(64);
        for bad in [
            "", ".", "a..b", ".a", "a.", "10.0.0.1", "10.0", "5-20", "a b", "a\nb", "ä.org", "::1",
            &label, &long,
        ] {
            assert!(!is_host_name(bad), "{bad}");
        }
    }

    #[test]
    fn names_are_found_in_any_case_and_domains_by_whole_labels() {
        let names = ["example.org", "Sub.Example.org", "net"].map(String::from);
        let names = Names::new(names.into_iter().zip(0..));
        assert_eq!(names.find("EXAMPLE.org"), Some(0));
        assert_eq!(names.find("www.example.org"), None);
        assert_eq!(names.find_domain("example.ORG"), Some(0));
        assert_eq!(names.find_domain("a.b.example.org"), Some(0));
        assert_eq!(names.find_domain("a.sub.example.org"), Some(1), "the nearest");
        assert_eq!(names.find_domain("x.net"), Some(2));
        for other in ["badexample.org", "example.org.evil", "org", ""] {
            assert_eq!(names.find_domain(other), None, "{other}");
        }
        assert_eq!(Names::default().find_domain("example.org"), None);
    }

    #[test]
    fn of_two_rules_for_a_name_the_first_answers() {
        let names = Names::new([("a.b".to_owned(), 7), ("A.b".to_owned(), 3)].into_iter());
        assert_eq!(names.find("a.b"), Some(3));
    }
}

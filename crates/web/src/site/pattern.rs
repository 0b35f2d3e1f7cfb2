//! Which paths a rule is for.

use regex::{Captures, Regex, RegexBuilder};

use super::SiteError;

/// Paths, by whole segments: `/news` is that path, `/news/*` it and all beneath, `*.php` and `/up/*.php` what ends so; or by a
/// regular expression.
#[derive(Clone, Debug)]
pub struct Pattern(Kind);

#[derive(Clone, Debug)]
enum Kind {
    All,
    Exact(String),
    /// Without the `/` at the end.
    Beneath(String),
    /// What it begins with, and what it ends with.
    Ends(String, String),
    Regex(Regex),
}

/// What a path matched with.
#[derive(Debug)]
pub(super) enum Matched<'p> {
    /// What `*` stands for.
    Rest(&'p str),
    Groups(Captures<'p>),
}

impl Matched<'_> {
    /// `{1}` and so on; 0 is what `*` stands for, or all that matched.
    pub(super) fn group(&self, index: usize) -> &str {
        match self {
            Self::Rest(rest) if index == 0 => rest,
            Self::Rest(_) => "",
            Self::Groups(groups) => groups.get(index).map_or("", |group| group.as_str()),
        }
    }
}

impl Default for Pattern {
    fn default() -> Self {
        Self(Kind::All)
    }
}

impl Pattern {
    /// Reads a pattern of segments.
    ///
    /// # Errors
    /// When it does not begin with `/` or `*.`, or has a `*` elsewhere than in place of a segment's begin.
    pub fn new(text: &str) -> Result<Self, SiteError> {
        let wrong = |words: &str| Err(SiteError(format!("the path `{text}`: {words}")));
        if !text.starts_with('/') && !text.starts_with("*.") {
            return wrong("begin it with `/`; or a suffix: \"*.php\"");
        }
        let before = text.split('*').next().unwrap_or_default();
        if !normal(before) {
            return wrong("it has an empty segment, `.` or `..`, or something percent-encoded");
        }
        let kind = match text.split_once('*') {
            None => Kind::Exact(text.trim_end_matches('/').to_owned()),
            Some((_, after)) if after.contains('*') => return wrong("there is one `*` at most"),
            Some(("/", "")) => Kind::All,
            Some((before, "")) if before.ends_with('/') => {
                Kind::Beneath(before.trim_end_matches('/').to_owned())
            }
            Some((before, after)) if before.is_empty() || before.ends_with('/') => {
                if after.contains('/') || after.is_empty() {
                    return wrong("`*` stands for the rest, so no segment follows it");
                }
                let before = if before.is_empty() { "/" } else { before };
                Kind::Ends(before.to_owned(), after.to_owned())
            }
            Some(_) => return wrong("`*` stands for whole segments: write `/*`"),
        };
        Ok(Self(kind))
    }

    /// Reads a regular expression. It is held against the whole path, decoded and normalised.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn regex(text: &str) -> Result<Self, SiteError> {
        // A path can have a line's end in it, and no guard should be passed by one.
        let regex = RegexBuilder::new(text).dot_matches_new_line(true).build();
        let regex = regex.map_err(|error| SiteError(error.to_string()))?;
        Ok(Self(Kind::Regex(regex)))
    }

    /// What the path matches with, if it does.
    pub(super) fn matches<'p>(&self, path: &'p str) -> Option<Matched<'p>> {
        // `/a/` is beneath `/a` for files, and the same as `/a` for a rule: no `/` gets past a guard.
        let plain = path.strip_suffix('/').unwrap_or(path);
        match &self.0 {
            Kind::All => Some(Matched::Rest(path.strip_prefix('/').unwrap_or(path))),
            Kind::Exact(exact) => (plain == exact).then_some(Matched::Rest("")),
            Kind::Beneath(prefix) => {
                let rest = path.strip_prefix(prefix.as_str())?;
                match rest.strip_prefix('/') {
                    Some(rest) => Some(Matched::Rest(rest)),
                    None => rest.is_empty().then_some(Matched::Rest("")),
                }
            }
            Kind::Ends(before, after) => {
                let rest = plain.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
                Some(Matched::Rest(rest))
            }
            Kind::Regex(regex) => regex.captures(path).map(Matched::Groups),
        }
    }

    /// The directory that the paths are beneath, without a `/` at its end.
    pub(super) fn prefix(&self) -> Option<&str> {
        match &self.0 {
            Kind::Beneath(prefix) => Some(prefix),
            _ => None,
        }
    }
}

fn normal(text: &str) -> bool {
    let inner = text.strip_prefix('/').unwrap_or(text);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    !inner.contains('%')
        && (inner.is_empty() || inner.split('/').all(|it| !matches!(it, "" | "." | "..")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(pattern: &str, path: &str) -> Option<String> {
        let pattern = Pattern::new(pattern).expect(pattern);
        pattern.matches(path).map(|matched| matched.group(0).to_owned())
    }

    #[test]
    fn segments_are_matched_whole() {
        for (pattern, path, expected) in [
            ("/a", "/a", Some("")),
            ("/a", "/a/", Some("")),
            ("/a", "/ab", None),
            ("/a", "/a/b", None),
            ("/", "/", Some("")),
            ("/", "/a", None),
            ("/a/*", "/a", Some("")),
            ("/a/*", "/a/", Some("")),
            ("/a/*", "/a/b/c", Some("b/c")),
            ("/a/*", "/ab", None),
            ("/*", "/x/y", Some("x/y")),
            ("*.php", "/x/y.php", Some("x/y")),
            ("*.php", "/x/y.php/", Some("x/y")),
            ("*.php", "/x/y.phps", None),
            ("/up/*.php", "/up/a/b.php", Some("a/b")),
            ("/up/*.php", "/upper/b.php", None),
        ] {
            assert_eq!(rest(pattern, path).as_deref(), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn what_would_match_nothing_is_refused() {
        for pattern in ["", "a", "/a*", "/*/a", "/a/*/*", "/a//b", "/a/../b", "/%61", "**"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }
}

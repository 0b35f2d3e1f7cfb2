//! Where a redirect leads: a text with places for parts of the request.

use http::{HeaderValue, Response, StatusCode};
use percent_encoding::percent_encode;
use tine_http::FileBody;

use super::SiteError;
use super::pattern::Matched;
use crate::page;
use crate::path::ESCAPED;

/// A target: `https://example.org{path}`, `/news/{*}`.
#[derive(Clone, Debug)]
pub(super) struct Redirect {
    parts: Vec<Part>,
    status: StatusCode,
    /// It has a query of its own, so that of the request is not added.
    query: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Path,
    Host,
    /// A group of a regular expression; 0 is what `*` stands for.
    Group(usize),
}

impl Redirect {
    pub(super) fn new(target: &str, status: u16) -> Result<Self, SiteError> {
        let wrong = |words: &str| SiteError(format!("the redirect `{target}`: {words}"));
        let status = match status {
            301 | 302 | 303 | 307 | 308 => StatusCode::from_u16(status).ok(),
            _ => None,
        };
        let status = status.ok_or_else(|| wrong("its status is 301, 302, 303, 307 or 308"))?;
        if target.bytes().any(|byte| !byte.is_ascii_graphic()) || target.contains('\\') {
            return Err(wrong(
                "it has a sign that an address cannot have: write it percent-encoded",
            ));
        }
        let rest = ["https://", "http://"].iter().find_map(|scheme| target.strip_prefix(scheme));
        match rest {
            Some(rest) => authority(rest).map_err(wrong)?,
            None if !target.starts_with('/') || target.starts_with("//") => {
                return Err(wrong("begin it with one `/`, `https://` or `http://`"));
            }
            None => {}
        }
        let parts = parts(target).ok_or_else(|| wrong("there are {path}, {host}, {*} and {1}"))?;
        Ok(Self { parts, status, query: target.contains('?') })
    }

    /// The answer. What comes from the request is percent-encoded.
    pub(super) fn answer(
        &self,
        (path, query): (&str, Option<&str>),
        host: &str,
        matched: &Matched<'_>,
    ) -> Response<FileBody> {
        let mut target = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => target.push_str(text),
                Part::Path => target.extend(percent_encode(path.as_bytes(), ESCAPED)),
                Part::Host => target.push_str(host),
                Part::Group(index) => {
                    target.extend(percent_encode(matched.group(*index).as_bytes(), ESCAPED));
                }
            }
        }
        if target.starts_with("//") {
            // Browsers take what follows two slashes for a host.
            target = format!("/{}", target.trim_start_matches('/'));
        }
        if let (Some(query), false) = (query, self.query) {
            target.push('?');
            target.push_str(query);
        }
        page::redirect(HeaderValue::try_from(target), self.status)
    }
}

/// No part of a path may become part of a host.
fn authority(rest: &str) -> Result<(), &'static str> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest[..end].replace("{host}", "h");
    match authority.strip_suffix("{path}").filter(|_| end == rest.len() || !rest[end..].is_empty())
    {
        Some(authority) if !authority.is_empty() && !authority.contains('{') => Ok(()),
        None if !authority.is_empty() && !authority.contains('{') => Ok(()),
        _ => Err("a part of the path would become part of the host: write a `/` before it"),
    }
}

fn parts(target: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = target;
    while let Some((text, behind)) = rest.split_once('{') {
        let (name, behind) = behind.split_once('}')?;
        parts.push(Part::Text(text.to_owned()));
        parts.push(match name {
            "path" => Part::Path,
            "host" => Part::Host,
            "*" => Part::Group(0),
            number => Part::Group(number.parse().ok().filter(|number| *number > 0)?),
        });
        rest = behind;
    }
    parts.push(Part::Text(rest.to_owned()));
    Some(parts)
}

#[cfg(test)]
mod tests {
    use http::header::LOCATION;

    use super::super::pattern::Pattern;
    use super::*;

    fn leads(target: &str, pattern: &Pattern, path: &str) -> String {
        let redirect = Redirect::new(target, 308).expect(target);
        let matched = pattern.matches(path).expect(path);
        let answer = redirect.answer((path, Some("q=1")), "example.org", &matched);
        answer.headers()[LOCATION].to_str().expect("text").to_owned()
    }

    #[test]
    fn parts_of_the_request_are_put_in_and_never_become_a_host() {
        let press = Pattern::new("/press/*").expect("a pattern");
        let any = Pattern::regex("^/x(.*)$").expect("a pattern");
        for (target, pattern, path, expected) in [
            ("/news/{*}", &press, "/press/a b", "/news/a%20b?q=1"),
            ("/news/{*}?x=2", &press, "/press/a", "/news/a?x=2"),
            ("https://e.org{path}", &press, "/press/a", "https://e.org/press/a?q=1"),
            ("https://{host}{path}", &press, "/press", "https://example.org/press?q=1"),
            ("/{1}", &any, "/x/evil.org", "/evil.org?q=1"),
            ("/{1}", &any, "/x\\evil.org", "/%5Cevil.org?q=1"),
            ("/{1}", &any, "/x\r\nA: b", "/%0D%0AA:%20b?q=1"),
        ] {
            assert_eq!(leads(target, pattern, path), expected, "{target}");
        }
    }

    #[test]
    fn targets_that_could_lead_anywhere_are_refused() {
        for target in [
            "//evil.org",
            "news",
            "https://e.org{1}",
            "https://{1}.e.org/",
            "https://{path}",
            "/a\\b",
            "/a b",
            "/{2x}",
            "/{0}",
            "/{",
            "javascript:alert(1)",
        ] {
            assert!(Redirect::new(target, 302).is_err(), "{target}");
        }
        assert!(Redirect::new("/", 304).is_err());
    }
}

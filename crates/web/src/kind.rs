//! What a file is, by the end of its name.

use std::path::Path;

use http::HeaderValue;
use mime_guess::{Mime, MimeGuess, mime};

use crate::coding::{Coding, compresses};

/// See the module.
#[derive(Debug)]
pub(crate) struct Kind {
    mime: Mime,
    /// The file itself is in this coding, whatever the client takes.
    pub(crate) coded: Option<Coding>,
}

impl Kind {
    pub(crate) fn of(path: &Path) -> Self {
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        let mime = match &*end.to_ascii_lowercase() {
            // In a site these are TypeScript, and not the films that bear the same names.
            "ts" | "mts" | "cts" | "tsx" => mime::TEXT_PLAIN,
            // RFC 9239.
            "mjs" | "cjs" => mime::TEXT_JAVASCRIPT,
            _ => MimeGuess::from_path(path).first_or_octet_stream(),
        };
        Self { mime, coded: end.eq_ignore_ascii_case("svgz").then_some(Coding::Gzip) }
    }

    /// Whether such files get smaller when compressed.
    pub(crate) fn compresses(&self) -> bool {
        self.coded.is_none() && compresses(&self.mime)
    }

    /// Text is UTF-8.
    pub(crate) fn content_type(&self) -> HeaderValue {
        let kind = &self.mime;
        let text = kind.type_() == mime::TEXT && kind.get_param(mime::CHARSET).is_none();
        let value = if text { format!("{kind}; charset=utf-8") } else { kind.to_string() };
        HeaderValue::try_from(value)
            .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_utf8_and_what_is_unknown_is_bytes() {
        for (name, expected) in [
            ("a.html", "text/html; charset=utf-8"),
            ("a.CSS", "text/css; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("a.CJS", "text/javascript; charset=utf-8"),
            ("a.ts", "text/plain; charset=utf-8"),
            ("a.d.mts", "text/plain; charset=utf-8"),
            ("a.txt", "text/plain; charset=utf-8"),
            ("a.svg", "image/svg+xml"),
            ("a.svgz", "image/svg+xml"),
            ("a.json", "application/json"),
            ("a.png", "image/png"),
            ("a.unheard-of", "application/octet-stream"),
            ("a", "application/octet-stream"),
            (".ts", "application/octet-stream"),
        ] {
            assert_eq!(Kind::of(Path::new(name)).content_type(), expected, "{name}");
        }
    }

    #[test]
    fn what_is_compressed_already_is_not_compressed_again() {
        let compressed = |name: &str| Kind::of(Path::new(name)).coded;
        assert_eq!(["a.svgz", "a.SVGZ"].map(compressed), [Some(Coding::Gzip); 2]);
        assert_eq!(["a.svg", "svgz", "a.gz", "a.svgz.br"].map(compressed), [None; 4]);
        let compresses = |name: &str| Kind::of(Path::new(name)).compresses();
        assert!(compresses("a.svg") && compresses("a.ts") && !compresses("a.svgz"));
    }
}

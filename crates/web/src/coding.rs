//! Content codings: which ones a client takes (RFC 9110, 12.5.3), and what they are called.

use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue};
use mime_guess::Mime;

/// A content coding a file may have beside it, or be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Brotli,
    Zstd,
    Gzip,
}

/// The one that is liked best first: by size, where all are as good to the client.
pub(crate) const CODINGS: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

impl Coding {
    /// What is appended to a file's name for the same in this coding.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }

    /// Its name in `Content-Encoding`.
    pub(crate) fn name(self) -> HeaderValue {
        HeaderValue::from_static(self.token())
    }

    fn token(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// `x-gzip` is the same as `gzip` (RFC 9110, 8.4.1.3).
    fn is(self, token: &str) -> bool {
        token.eq_ignore_ascii_case(self.token())
            || (self == Self::Gzip && token.eq_ignore_ascii_case("x-gzip"))
    }
}

/// How much a client likes each coding, in thousandths; 0 = not at all.
#[derive(Debug)]
pub(crate) struct Accepted {
    codings: [u16; CODINGS.len()],
    identity: u16,
}

impl Accepted {
    /// What the request says. One that says nothing gets the file as it is.
    pub(crate) fn of(request: &HeaderMap) -> Self {
        let mut named = [None; CODINGS.len()];
        let (mut identity, mut others) = (None, None);
        let fields = request.get_all(ACCEPT_ENCODING).iter();
        let fields = fields.filter_map(|field| field.to_str().ok());
        for member in fields.flat_map(|field| field.split(',')) {
            let (token, parameters) = member.split_once(';').unwrap_or((member, ""));
            let (token, liked) = (token.trim(), quality(parameters));
            if token == "*" {
                others = Some(liked);
            } else if token.eq_ignore_ascii_case("identity") {
                identity = Some(liked);
            } else if let Some(index) = CODINGS.iter().position(|coding| coding.is(token)) {
                named[index] = Some(liked);
            }
        }
        Self {
            codings: named.map(|liked| liked.or(others).unwrap_or(0)),
            // As it is a file may always be sent, but nobody who names a coding wants it more than that.
            identity: identity.unwrap_or(1),
        }
    }

    /// The coding to use among those there are; `None` for none.
    pub(crate) fn best(&self, is_there: impl Fn(Coding) -> bool) -> Option<Coding> {
        let mut best = (self.identity, None);
        // The later of two that are liked the same wins.
        for (coding, liked) in CODINGS.into_iter().zip(self.codings).rev() {
            if liked > 0 && liked >= best.0 && is_there(coding) {
                best = (liked, Some(coding));
            }
        }
        best.1
    }
}

/// The `q` among parameters, in thousandths (RFC 9110, 12.4.2); 1000 without one, 0 if it is nonsense.
fn quality(parameters: &str) -> u16 {
    let mut qualities = parameters.split(';').filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let Some(value) = qualities.next() else { return 1000 };
    match value.parse::<f32>() {
        // Never negative, never over a thousand.
        Ok(quality) if (0.0..=1.0).contains(&quality) => (quality * 1000.0).round() as u16,
        _ => 0,
    }
}

/// Whether files of this type get smaller when compressed: text, and formats that are text or plain tables
/// underneath. Pictures, sound, films and archives are compressed already.
pub(crate) fn compresses(kind: &Mime) -> bool {
    const OTHERS: [&str; 14] = [
        "application/json",
        "application/javascript",
        "application/xml",
        "application/wasm",
        "application/manifest+json",
        "application/rtf",
        "application/x-ndjson",
        "application/vnd.ms-fontobject",
        "font/ttf",
        "font/otf",
        "image/bmp",
        "image/svg+xml",
        "image/x-icon",
        "image/vnd.microsoft.icon",
    ];
    let suffix = kind.suffix().is_some_and(|suffix| suffix == "xml" || suffix == "json");
    kind.type_() == mime_guess::mime::TEXT || suffix || OTHERS.contains(&kind.essence_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(fields: &[&str], there: &[Coding]) -> Option<Coding> {
        let mut request = HeaderMap::new();
        for field in fields {
            request.append(ACCEPT_ENCODING, field.parse().expect("a value"));
        }
        Accepted::of(&request).best(|coding| there.contains(&coding))
    }

    #[test]
    fn the_coding_liked_best_among_those_there_are_is_chosen() {
        use Coding::{Brotli, Gzip, Zstd};
        for (field, expected) in [
            ("gzip, deflate, br, zstd", Some(Brotli)),
            ("gzip", Some(Gzip)),
            ("X-GZIP", Some(Gzip)),
            ("zstd, gzip", Some(Zstd)),
            ("br;q=0.5, gzip;q=0.8", Some(Gzip)),
            ("br;q=0.001, gzip;q=0", Some(Brotli)),
            ("br ; q=0 , *", Some(Zstd)),
            ("*", Some(Brotli)),
            ("*;q=0.5, identity", None),
            ("gzip, identity", Some(Gzip)),
            ("gzip;q=0.5, identity;q=0.9", None),
            ("identity;q=0, gzip;q=0.1", Some(Gzip)),
            ("gzip;q=0", None),
            ("gzip;q=nonsense", None),
            ("gzip;q=2", None),
            ("gzip;q=-1", None),
            ("gzip;q=NaN", None),
            ("deflate, compress", None),
            ("gzipped", None),
            ("", None),
        ] {
            assert_eq!(best(&[field], &CODINGS), expected, "{field}");
        }
        assert_eq!(best(&["br", "gzip"], &[Gzip]), Some(Gzip));
        assert_eq!(best(&["br"], &[Gzip]), None);
        assert_eq!(best(&[], &CODINGS), None);
    }

    #[test]
    fn text_is_compressed_and_pictures_are_not() {
        for (name, expected) in [
            ("a.html", true),
            ("a.css", true),
            ("a.js", true),
            ("a.json", true),
            ("a.svg", true),
            ("a.wasm", true),
            ("a.xhtml", true),
            ("a.ttf", true),
            ("a.png", false),
            ("a.jpg", false),
            ("a.woff2", false),
            ("a.mp4", false),
            ("a.zip", false),
            ("a.gz", false),
            ("a", false),
        ] {
            let kind = mime_guess::from_path(name).first_or_octet_stream();
            assert_eq!(compresses(&kind), expected, "{name}: {kind}");
        }
    }
}

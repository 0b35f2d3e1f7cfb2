//! Responses of HTTP/1 as they come off a connection (RFC 9112): strict enough to notice a broken
//! server.

use std::iter;

/// One response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code. Interim ones (1xx) are responses of their own.
    pub status: u16,
    /// The fields in order, names as sent; after a chunked body its trailer fields, too.
    pub headers: Vec<(String, String)>,
    /// The body, without the framing of chunks.
    pub body: Vec<u8>,
    closes: bool,
}

impl Response {
    /// The value of the first field `name`, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The body as text, bytes that are none replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none, with its text.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let parsed = serde_json::from_slice(&self.body);
        parsed.unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// Whether the connection ends with it: `Connection: close`, HTTP/1.0 without `keep-alive`, or
    /// a body that only the end of the connection ends.
    pub fn closes(&self) -> bool {
        self.closes
    }
}

/// What is known of a connection when a response is looked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Context {
    /// Nothing more will come.
    pub(crate) ended: bool,
    /// The request was a HEAD: there is no body, whatever the fields say.
    pub(crate) head: bool,
}

struct Head {
    status: u16,
    headers: Vec<(String, String)>,
    length: usize,
    old: bool,
}

/// Where the body's bytes are, and where the response ends.
struct Body {
    parts: Vec<std::ops::Range<usize>>,
    trailers: Vec<(String, String)>,
    end: usize,
    until_close: bool,
}

/// The response `bytes` begin with and its length, `None` if it is not complete yet, `Err` if it is
/// none.
pub(crate) fn parse(bytes: &[u8], context: Context) -> Result<Option<(Response, usize)>, String> {
    let Some(head) = parse_head(bytes)? else { return Ok(None) };
    let Some(body) = find_body(bytes, &head, context)? else { return Ok(None) };
    let connection = header(&head.headers, "connection").unwrap_or("").to_ascii_lowercase();
    let says = |word| connection.split(',').any(|part| part.trim() == word);
    let response = Response {
        status: head.status,
        closes: body.until_close || says("close") || (head.old && !says("keep-alive")),
        headers: head.headers.into_iter().chain(body.trailers).collect(),
        body: body.parts.into_iter().flat_map(|part| bytes[part].iter().copied()).collect(),
    };
    Ok(Some((response, body.end)))
}

fn parse_head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes[..end]);
    let (line, fields) = text.split_once("\r\n").unwrap_or((&text, ""));
    let mut words = line.splitn(3, ' ');
    let version = words.next().unwrap_or("");
    let status = words.next().filter(|word| word.len() == 3).and_then(|word| word.parse().ok());
    match (version, status) {
        ("HTTP/1.1" | "HTTP/1.0", Some(status)) => {
            let headers = parse_fields(fields)?;
            Ok(Some(Head { status, headers, length: end + 4, old: version == "HTTP/1.0" }))
        }
        _ => Err(format!("no status line: {line:?}")),
    }
}

fn parse_fields(text: &str) -> Result<Vec<(String, String)>, String> {
    let lines = text.split("\r\n").filter(|line| !line.is_empty());
    lines
        .map(|line| match line.split_once(':') {
            Some((name, value)) if !name.is_empty() && !name.contains([' ', '\t']) => {
                Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
            }
            _ => Err(format!("no field: {line:?}")),
        })
        .collect()
}

/// RFC 9112, 6.3: how long the body is.
fn find_body(bytes: &[u8], head: &Head, context: Context) -> Result<Option<Body>, String> {
    let start = head.length;
    let plain = |end: usize, until_close| Body {
        parts: iter::once(start..end).collect(),
        trailers: Vec::new(),
        end,
        until_close,
    };
    if context.head || matches!(head.status, 100..200 | 204 | 304) {
        return Ok(Some(plain(start, false)));
    }
    if let Some(coding) = header(&head.headers, "transfer-encoding") {
        return if coding.eq_ignore_ascii_case("chunked") {
            find_chunks(bytes, start)
        } else {
            Err(format!("transfer coding {coding:?}"))
        };
    }
    let mut lengths =
        head.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    match (lengths.next(), lengths.next()) {
        (Some((_, value)), None) => {
            let length: usize = value.parse().map_err(|_| format!("content-length {value:?}"))?;
            let end = start.checked_add(length).ok_or("content-length beyond memory")?;
            Ok((bytes.len() >= end).then(|| plain(end, false)))
        }
        (Some(_), Some(_)) => Err("more than one content-length".to_owned()),
        (None, _) => Ok(context.ended.then(|| plain(bytes.len(), true))),
    }
}

/// RFC 9112, 7.1.
fn find_chunks(bytes: &[u8], start: usize) -> Result<Option<Body>, String> {
    let mut parts = Vec::new();
    let mut at = start;
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes[at..at + line]);
        let digits = text.split(';').next().unwrap_or("").trim();
        let size =
            usize::from_str_radix(digits, 16).map_err(|_| format!("chunk size {digits:?}"))?;
        at += line + 2;
        if size == 0 {
            break;
        }
        let end = at.checked_add(size).ok_or("chunk beyond memory")?;
        match bytes.get(end..end.saturating_add(2)) {
            None => return Ok(None),
            Some(b"\r\n") => parts.push(at..end),
            Some(other) => return Err(format!("after a chunk: {other:?}")),
        }
        at = end + 2;
    }
    // The trailer section ends with an empty line, which is the first one if there are no trailers.
    let (trailers, end) = if bytes[at..].starts_with(b"\r\n") {
        (Vec::new(), at + 2)
    } else {
        let Some(length) = find(&bytes[at..], b"\r\n\r\n") else { return Ok(None) };
        (parse_fields(&String::from_utf8_lossy(&bytes[at..at + length]))?, at + length + 4)
    };
    Ok(Some(Body { parts, trailers, end, until_close: false }))
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// Where `needle` begins in `bytes`.
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8], context: Context) -> (Response, usize) {
        parse(bytes, context).expect("a response").expect("all of it")
    }

    #[test]
    fn every_way_to_end_a_body_is_understood() {
        let cases: [(&str, &str, bool); 5] = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", false),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nhi\r\n1;x=y\r\n!\r\n0\r\n\r\n",
                "hi!",
                false,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", "", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", true),
            (
                "HTTP/1.1 200 OK\r\nConnection: Keep-Alive, Close\r\nContent-Length: 0\r\n\r\n",
                "",
                true,
            ),
        ];
        for (text, body, closes) in cases {
            let (response, used) = whole(text.as_bytes(), Context::default());
            assert_eq!(
                (response.text().as_str(), response.closes(), used),
                (body, closes, text.len()),
                "{text:?}"
            );
            for cut in 0..text.len() {
                assert_eq!(
                    parse(&text.as_bytes()[..cut], Context::default()),
                    Ok(None),
                    "{text:?} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection() {
        let text = b"HTTP/1.1 200 OK\r\n\r\nhello";
        assert_eq!(parse(text, Context::default()), Ok(None));
        let (response, used) = whole(text, Context { ended: true, head: false });
        assert_eq!(
            (response.text().as_str(), response.closes(), used),
            ("hello", true, text.len())
        );
        let (response, used) = whole(
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            Context { ended: false, head: true },
        );
        assert_eq!((response.header("content-length"), used), (Some("9"), 38));
    }

    #[test]
    fn trailers_are_fields_too_and_nonsense_is_told() {
        let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nDigest: x\r\n\r\n";
        assert_eq!(whole(text, Context::default()).0.header("digest"), Some("x"));
        for text in [
            "SMTP\r\n\r\n",
            "HTTP/1.1 200 OK\r\nbad line\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
        ] {
            assert!(parse(text.as_bytes(), Context::default()).is_err(), "{text:?}");
        }
    }
}

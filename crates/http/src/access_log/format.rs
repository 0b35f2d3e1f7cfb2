//! A format: read once from its text, then a list of what to write and when it is known.

use std::fmt;
use std::str::FromStr;

use http::HeaderName;

use super::field::{Field, Phase, Session, Unit};

/// How a line looks. [The module](super) lists what can be written.
///
/// ```
/// use tine_http::access_log::Format;
///
/// let named: Format = "combined".parse().unwrap();
/// let custom: Format = r#"%h "%r" %>s %b %{X-Cache}o %D"#.parse().unwrap();
/// let wrong = "%h %Z".parse::<Format>().unwrap_err();
/// assert!(wrong.to_string().starts_with("access log format, %Z at byte 4:"));
/// ```
#[derive(Clone, Debug)]
pub struct Format {
    pub(super) runs: Vec<Run>,
    /// Values are JSON's.
    pub(super) json: bool,
}

/// The parts of a line that are known at the same time and stand together.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) phase: Phase,
    pub(super) parts: Vec<Part>,
    /// Written for some answers only.
    pub(super) when: Option<When>,
}

/// A piece of a line.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Text(Box<str>),
    Value(Field),
    /// One inside a JSON string, whose quotes the format has itself.
    Quoted(Field),
}

impl Part {
    fn field(&self) -> Option<&Field> {
        match self {
            Self::Text(_) => None,
            Self::Value(field) | Self::Quoted(field) => Some(field),
        }
    }
}

/// Whether the text so far ends inside a JSON string, and behind a backslash there.
#[derive(Clone, Copy, Debug, Default)]
struct Quotes {
    open: bool,
    escaped: bool,
}

impl Quotes {
    fn pass(&mut self, text: &str) {
        for byte in text.bytes() {
            let escaped = std::mem::take(&mut self.escaped);
            match byte {
                b'\\' if self.open && !escaped => self.escaped = true,
                b'"' if !escaped => self.open = !self.open,
                _ => {}
            }
        }
    }
}

/// For which statuses a value is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct When {
    not: bool,
    statuses: Vec<u16>,
}

impl When {
    pub(super) fn holds(&self, status: Option<u16>) -> bool {
        status.is_some_and(|status| self.statuses.contains(&status)) != self.not
    }
}

const COMMON: &str = "%h %l %u %t \"%r\" %>s %b";
const COMBINED: &str = "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\"";
const JSON: &str = "{\"time\":%{iso}t,\"id\":%L,\"client\":%a,\"user\":%u,\"host\":%v,\"method\":%m,\
                    \"path\":%U,\"query\":%q,\"protocol\":%H,\"status\":%>s,\"bytes\":%B,\"microseconds\":%D,\
                    \"end\":%X,\"referer\":%{Referer}i,\"user_agent\":%{User-Agent}i}";

/// What is wrong with a format: which directive, where, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError(String);

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "access log format{}", self.0)
    }
}

impl std::error::Error for FormatError {}

impl Format {
    /// The Common Log Format.
    #[must_use]
    pub fn common() -> Self {
        Self::built_in(COMMON)
    }

    /// The common format, and where the client came from and what it is.
    #[must_use]
    pub fn combined() -> Self {
        Self::built_in(COMBINED)
    }

    /// An object a line.
    #[must_use]
    pub fn json() -> Self {
        Self::built_in(JSON)
    }

    fn built_in(text: &str) -> Self {
        Self::read(text).expect("a format of our own")
    }

    /// Whether a line says where the client connected to, which costs a system call a connection.
    pub(super) fn asks_local(&self) -> bool {
        self.asks(|field| matches!(field, Field::Local | Field::LocalPort))
    }

    /// Whether a line says how much was sent, which is computed.
    pub(super) fn asks_sent(&self) -> bool {
        self.asks(|field| *field == Field::Sent)
    }

    /// Whether a line says what became of the connection, which is also a part of how much was sent.
    pub(super) fn asks_end(&self) -> bool {
        self.asks(|field| matches!(field, Field::End | Field::Sent))
    }

    /// Whether a line says how long it took, which costs a look at the clock.
    pub(super) fn asks_time(&self) -> bool {
        self.asks(|field| matches!(field, Field::Took(_)))
    }

    fn asks(&self, what: impl Fn(&Field) -> bool) -> bool {
        let mut parts = self.runs.iter().flat_map(|run| &run.parts);
        parts.any(|part| part.field().is_some_and(&what))
    }

    fn read(text: &str) -> Result<Self, FormatError> {
        let mut format = Self { runs: Vec::new(), json: text.trim_start().starts_with('{') };
        let mut quotes = Quotes::default();
        let mut rest = text;
        while let Some(at) = rest.find(['%', '\\', '\n', '\r']) {
            format.push_text(&rest[..at], &mut quotes);
            let place = text.len() - rest.len() + at + 1;
            let (written, length) = match rest.as_bytes()[at] {
                b'%' => {
                    let (directive, length) = Directive::read(&rest[at..], place)?;
                    format.push(directive, &mut quotes);
                    ("", length)
                }
                b'\\' => match rest.as_bytes().get(at + 1) {
                    Some(b'"') => ("\"", 2),
                    Some(b'\\') => ("\\", 2),
                    Some(b't') => ("\t", 2),
                    // JSON has escapes of its own.
                    _ if format.json => ("\\", 1),
                    _ => {
                        return Err(FormatError(format!(
                            ", backslash at byte {place}: it stands before \", \\ or t (a tab)"
                        )));
                    }
                },
                _ => {
                    let text = format!(", byte {place}: a line has no line break in it");
                    return Err(FormatError(text));
                }
            };
            format.push_text(written, &mut quotes);
            rest = &rest[at + length..];
        }
        format.push_text(rest, &mut quotes);
        if format.json && quotes.open {
            return Err(FormatError(
                " of JSON: a string that begins with \" does not end".to_owned(),
            ));
        }
        Ok(format)
    }

    fn push_text(&mut self, text: &str, quotes: &mut Quotes) {
        quotes.pass(text);
        if text.is_empty() {
            return;
        }
        let part = Part::Text(text.into());
        match self.runs.last_mut() {
            Some(run) if run.when.is_none() => match run.parts.last_mut() {
                Some(Part::Text(before)) => *before = format!("{before}{text}").into(),
                _ => run.parts.push(part),
            },
            _ => self.runs.push(Run { phase: Phase::Request, parts: vec![part], when: None }),
        }
    }

    fn push(&mut self, Directive { field, when }: Directive, quotes: &mut Quotes) {
        let Some(field) = field else {
            return self.push_text("%", quotes);
        };
        if (&field, &when) == (&Field::LogName, &None) {
            // Always the same.
            let absent = if self.json && !quotes.open { "null" } else { "-" };
            return self.push_text(absent, quotes);
        }
        let phase = field.phase();
        let part = match self.json && quotes.open {
            true => Part::Quoted(field),
            false => Part::Value(field),
        };
        match self.runs.last_mut() {
            Some(run) if run.when.is_none() && when.is_none() && run.phase == phase => {
                run.parts.push(part);
            }
            _ => self.runs.push(Run { phase, parts: vec![part], when }),
        }
    }
}

impl FromStr for Format {
    type Err = FormatError;

    /// `common`, `combined`, `json`, or a text with directives.
    fn from_str(text: &str) -> Result<Self, FormatError> {
        match text {
            "common" => Ok(Self::common()),
            "combined" => Ok(Self::combined()),
            "json" => Ok(Self::json()),
            _ if !text.contains('%') => Err(FormatError(format!(
                " {text:?}: it is common, combined, json, or a text with directives such as %h"
            ))),
            _ => Self::read(text),
        }
    }
}

/// One directive, as it is written.
struct Directive {
    /// `None`: a percent sign.
    field: Option<Field>,
    when: Option<When>,
}

impl Directive {
    /// Reads the directive this begins with; also how many bytes it is.
    fn read(text: &str, place: usize) -> Result<(Self, usize), FormatError> {
        let wrong = |end: usize, what: &str| {
            Err(FormatError(format!(", {} at byte {place}: {what}", &text[..end])))
        };
        let mut when: Option<When> = None;
        let mut argument = None;
        let mut at = 1;
        loop {
            let Some(c) = text[at..].chars().next() else {
                return wrong(at, "a directive ends with its letter; for a percent sign write %%");
            };
            let end = at + c.len_utf8();
            match c {
                // The first or the last of several answers, in Apache; there is one.
                '<' | '>' => {}
                '!' => when.get_or_insert_default().not = true,
                ',' if when.is_some() => {}
                '0'..='9' => {
                    let digits = text[at..].bytes().take_while(u8::is_ascii_digit).count();
                    let Some(status) = status(&text[at..at + digits]) else {
                        return wrong(at + digits, "a status is a number from 100 to 999");
                    };
                    when.get_or_insert_default().statuses.push(status);
                    at += digits;
                    continue;
                }
                '{' => {
                    let Some(length) = text[end..].find('}') else {
                        return wrong(end, "what begins with { ends with }");
                    };
                    argument = Some(&text[end..end + length]);
                    at = end + length + 1;
                    continue;
                }
                letter => {
                    return match field(letter, argument) {
                        Ok(field) => Ok((Self { field, when }, end)),
                        Err(what) => wrong(end, &what),
                    };
                }
            }
            at = end;
        }
    }
}

fn status(digits: &str) -> Option<u16> {
    digits.parse().ok().filter(|status| (100..=999).contains(status))
}

/// What can be written; the end of a refusal.
const DIRECTIVES: &str = "the directives are %% %a %A %b %B %D %h %H %{NAME}i %k %l %L %m %{NAME}o %O %p %P \
                          %q %r %s %t %T %u %U %v %V %{SSL_PROTOCOL}x %X";

/// The value a letter means; `None` is a percent sign.
fn field(letter: char, argument: Option<&str>) -> Result<Option<Field>, String> {
    let takes_none = |field| match argument {
        None => Ok(Some(field)),
        Some(_) => Err(format!("nothing stands in braces before {letter}")),
    };
    let named = |all: &[(&str, Field)]| {
        let found = all.iter().find(|(name, _)| Some(*name) == argument);
        found.map(|(_, field)| Some(field.clone())).ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|(name, _)| format!("{{{name}}}")).collect();
            format!("before {letter} stands one of {}, or nothing", names.join(" "))
        })
    };
    let header = || {
        let name = argument.and_then(|name| name.parse::<HeaderName>().ok());
        name.ok_or_else(|| format!("a header's name in braces stands before {letter}"))
    };
    match (letter, argument) {
        ('%', None) => Ok(None),
        ('h', _) => takes_none(Field::Client),
        ('a', None) => Ok(Some(Field::Client)),
        ('a', Some(_)) => named(&[("c", Field::Peer)]),
        ('A', _) => takes_none(Field::Local),
        ('p', None) => Ok(Some(Field::LocalPort)),
        ('p', Some(_)) => named(&[("local", Field::LocalPort), ("remote", Field::PeerPort)]),
        ('l', _) => takes_none(Field::LogName),
        ('u', _) => takes_none(Field::User),
        ('t', None) => Ok(Some(Field::Common)),
        ('t', Some(_)) => named(&[
            ("iso", Field::Iso),
            ("sec", Field::Since(Unit::Seconds)),
            ("msec", Field::Since(Unit::Milliseconds)),
            ("usec", Field::Since(Unit::Microseconds)),
        ]),
        ('x', _) => named(&[
            ("SSL_PROTOCOL", Field::Tls(Session::Protocol)),
            ("SSL_CIPHER", Field::Tls(Session::Cipher)),
            ("SSL_TLS_SNI", Field::Tls(Session::Host)),
            ("SSL_SESSION_RESUMED", Field::Tls(Session::Resumed)),
        ]),
        ('r', _) => takes_none(Field::RequestLine),
        ('m', _) => takes_none(Field::Method),
        ('U', _) => takes_none(Field::Path),
        ('q', _) => takes_none(Field::Query),
        ('H', _) => takes_none(Field::Protocol),
        ('v' | 'V', _) => takes_none(Field::Host),
        ('i', _) => Ok(Some(Field::Asked(header()?))),
        ('o', _) => Ok(Some(Field::Answered(header()?))),
        ('s', _) => takes_none(Field::Status),
        ('b', _) => takes_none(Field::BodyOrDash),
        ('B', _) => takes_none(Field::Body),
        ('O', _) => takes_none(Field::Sent),
        ('D', _) => takes_none(Field::Took(Unit::Microseconds)),
        ('T', None) => Ok(Some(Field::Took(Unit::Seconds))),
        ('T', Some(_)) => named(&[
            ("s", Field::Took(Unit::Seconds)),
            ("ms", Field::Took(Unit::Milliseconds)),
            ("us", Field::Took(Unit::Microseconds)),
        ]),
        ('k', _) => takes_none(Field::Before),
        ('L', None) => Ok(Some(Field::RequestId)),
        ('L', Some(_)) => named(&[("c", Field::ConnectionId)]),
        ('P', _) => takes_none(Field::Pid),
        ('X', _) => takes_none(Field::End),
        _ => Err(DIRECTIVES.to_owned()),
    }
}

#[cfg(test)]
mod tests;

//! PEM (RFC 7468) as OpenSSL reads it, with the line of every section.
//!
//! Byte order marks, blanks around lines and inside the base64, text between sections, and a missing line end between
//! two sections are all read. Whatever else is wrong is an error with its line. No error repeats a byte of the text: it
//! may be a private key.

use rustls::pki_types::pem::{PemObject as _, SectionKind};

/// What stands between two marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    Certificate,
    /// A certificate and what OpenSSL is to trust it for, which is no part of it.
    TrustedCertificate,
    Pkcs8,
    Pkcs1,
    Sec1,
    EncryptedKey,
    /// A key of a kind that is of no use here, by its label.
    OtherKey(&'static str),
    /// Parameters, requests, revocation lists: neither a certificate nor a private key.
    Other,
    Unknown,
}

impl Label {
    fn of(text: &[u8]) -> Self {
        match text {
            b"CERTIFICATE" | b"X509 CERTIFICATE" => Self::Certificate,
            b"TRUSTED CERTIFICATE" => Self::TrustedCertificate,
            b"PRIVATE KEY" => Self::Pkcs8,
            b"RSA PRIVATE KEY" => Self::Pkcs1,
            b"EC PRIVATE KEY" => Self::Sec1,
            b"ENCRYPTED PRIVATE KEY" => Self::EncryptedKey,
            b"DSA PRIVATE KEY" => Self::OtherKey("DSA PRIVATE KEY"),
            b"OPENSSH PRIVATE KEY" => Self::OtherKey("OPENSSH PRIVATE KEY"),
            b"EC PARAMETERS"
            | b"DH PARAMETERS"
            | b"X9.42 DH PARAMETERS"
            | b"DSA PARAMETERS"
            | b"PUBLIC KEY"
            | b"RSA PUBLIC KEY"
            | b"X509 CRL"
            | b"CERTIFICATE REQUEST"
            | b"NEW CERTIFICATE REQUEST" => Self::Other,
            _ => Self::Unknown,
        }
    }

    /// What is decoded as this.
    fn kind(self) -> Option<SectionKind> {
        match self {
            Self::Certificate | Self::TrustedCertificate => Some(SectionKind::Certificate),
            Self::Pkcs8 => Some(SectionKind::PrivateKey),
            Self::Pkcs1 => Some(SectionKind::RsaPrivateKey),
            Self::Sec1 => Some(SectionKind::EcPrivateKey),
            Self::EncryptedKey | Self::OtherKey(_) | Self::Other | Self::Unknown => None,
        }
    }
}

/// A section. There is no `Debug`: it may be a private key.
pub(crate) struct Section {
    pub(crate) label: Label,
    /// The line of its `BEGIN`, from 1.
    pub(crate) line: usize,
    /// Empty unless it is a certificate or a key that can be read.
    pub(crate) der: Vec<u8>,
}

/// What is wrong with a text, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) line: usize,
    pub(crate) what: &'static str,
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// All sections of a text, in their order.
pub(crate) fn sections(text: &[u8]) -> Result<Vec<Section>, Wrong> {
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        return Err(Wrong { line: 1, what: "the text is UTF-16: save it as UTF-8" });
    }
    let mut sections = Vec::new();
    let mut open: Option<Open<'_>> = None;
    for (number, line) in lines(text).enumerate() {
        let wrong = |what| Wrong { line: number + 1, what };
        let mut line = clean(line);
        if let Some(section) = &mut open {
            let Some(behind) = section.read(line).map_err(wrong)? else { continue };
            sections.extend(open.take().map(Open::close).transpose()?);
            line = clean(behind);
        }
        if line.starts_with(BEGIN) {
            open = Some(Open::begin(line, number + 1).map_err(wrong)?);
        } else if is_like_a_mark(line) {
            let what = "this is neither a BEGIN nor an END line: is a dash or a line end lost?";
            return Err(wrong(what));
        }
    }
    match open {
        Some(Open { line, .. }) => Err(Wrong { line, what: "the section has no END line" }),
        None => Ok(sections),
    }
}

/// A section that has begun.
struct Open<'a> {
    line: usize,
    name: &'a [u8],
    base64: Vec<u8>,
    /// It is encrypted as keys were before PKCS #8 (RFC 1421).
    encrypted: bool,
}

impl<'a> Open<'a> {
    fn begin(line: &'a [u8], number: usize) -> Result<Self, &'static str> {
        let name = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES));
        let name = name.filter(|name| !name.windows(DASHES.len()).any(|part| part == DASHES));
        let name =
            name.ok_or("the BEGIN line does not end after its dashes: are line ends lost?")?;
        Ok(Self { line: number, name, base64: Vec::new(), encrypted: false })
    }

    /// Takes a line; what follows the END mark on it, if it is that.
    fn read(&mut self, line: &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
        if let Some(rest) = line.strip_prefix(END) {
            let behind = rest.strip_prefix(self.name).and_then(|rest| rest.strip_prefix(DASHES));
            return match behind {
                Some(behind) if behind.is_empty() || clean(behind).starts_with(BEGIN) => {
                    Ok(Some(behind))
                }
                Some(_) => Err("the END line does not end after its dashes: are line ends lost?"),
                None => Err("the END line is of another section than the BEGIN line before it"),
            };
        }
        if line.starts_with(BEGIN) {
            return Err("the section before has no END line");
        }
        if self.base64.is_empty() && line.contains(&b':') {
            self.encrypted |= line.starts_with(b"Proc-Type") && line.ends_with(b"ENCRYPTED");
            if !self.encrypted {
                return Err("there are header lines in the section, which cannot be read");
            }
        }
        if !self.encrypted {
            let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
            let letters = line.iter().filter(|byte| !byte.is_ascii_whitespace());
            if !letters.clone().all(is_base64) {
                return Err("this is no base64");
            }
            self.base64.extend(letters);
        }
        Ok(None)
    }

    fn close(self) -> Result<Section, Wrong> {
        let Self { line, base64, encrypted, .. } = self;
        let label = if encrypted { Label::EncryptedKey } else { Label::of(self.name) };
        let mut der = Vec::new();
        if let Some(kind) = label.kind() {
            let name: &[u8] = match kind {
                SectionKind::Certificate => b"CERTIFICATE",
                SectionKind::RsaPrivateKey => b"RSA PRIVATE KEY",
                SectionKind::EcPrivateKey => b"EC PRIVATE KEY",
                _ => b"PRIVATE KEY",
            };
            // Its decoder takes the same time for every key.
            let plain = [BEGIN, name, b"-----\n", &base64, b"\n", END, name, b"-----\n"].concat();
            let decoded = <(SectionKind, Vec<u8>)>::from_pem_slice(&plain);
            let what = "the base64 of the section is damaged";
            der = decoded.map_err(|_| Wrong { line, what })?.1;
        }
        Ok(Section { label, line, der })
    }
}

/// Lines without their ends, whichever of the three kinds those are.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        rest = end.map(|end| match &text[end..] {
            [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
            [] => &[],
        });
        Some(end.map_or(text, |end| &text[..end]))
    })
}

/// Without blanks and byte order marks at either end.
fn clean(mut line: &[u8]) -> &[u8] {
    loop {
        let trimmed = line.trim_ascii();
        match trimmed.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) => line = rest,
            None => return trimmed,
        }
    }
}

/// Whether a line between sections was meant to be a mark; a comment was not.
fn is_like_a_mark(line: &[u8]) -> bool {
    let is_dash = |c: char| matches!(c, '-' | '\u{2010}'..='\u{2015}');
    let capitals = String::from_utf8_lossy(line).to_ascii_uppercase();
    let words = capitals.trim_start_matches(|c| is_dash(c) || c == ' ');
    let label = words.strip_prefix("BEGIN ").or_else(|| words.strip_prefix("END "));
    let label = label.and_then(|rest| rest.split(is_dash).next()).unwrap_or_default().trim_end();
    let has_mark = ["-----BEGIN ", "-----END "].iter().any(|mark| capitals.contains(mark));
    !line.starts_with(b"#")
        && (has_mark || label.ends_with("CERTIFICATE") || label.ends_with("KEY"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_is_none_is_told_from_text() {
        for mark in [
            "----BEGIN CERTIFICATE----",
            "-BEGIN CERTIFICATE-",
            "BEGIN RSA PRIVATE KEY",
            "-- END CERTIFICATE --",
            "-----begin certificate-----",
            "\u{2014}\u{2014}-BEGIN CERTIFICATE\u{2014}\u{2014}-",
            "---BEGIN PRIVATE KEY---MIGHAgEA",
            "subject=x-----BEGIN CERTIFICATE-----",
            "> -----BEGIN PKCS7-----",
        ] {
            assert!(is_like_a_mark(mark.as_bytes()), "{mark}");
        }
        for text in [
            "",
            "Subject: CN = front-end certificate-authority",
            "X509v3 Certificate Policies: private key-holder",
            "- End of the list",
            "------------------",
            "# -----BEGIN CERTIFICATE-----",
            "    friendlyName: begin certificate",
        ] {
            assert!(!is_like_a_mark(text.as_bytes()), "{text}");
        }
    }
}

//! A section of fields, of a request's head or behind its chunks: RFC 9112, section 5.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use httparse::{EMPTY_HEADER, Error, Header, Status, parse_headers};

use super::Refusal;

/// The most fields a section may have.
pub(super) const MOST_FIELDS: usize = 100;
/// Most requests have no more, and clearing room for them is quicker.
const FEW_FIELDS: usize = 32;

/// A section that is complete.
#[derive(Debug)]
pub(super) struct Fields {
    /// All bytes up to the end of the section; the values in `headers` are slices of it.
    pub(super) shared: Bytes,
    pub(super) headers: HeaderMap,
}

/// Reads the section that begins at `start` in `input`, up to its empty line. `None`: it is not complete.
///
/// # Errors
/// 431 for more than [`MOST_FIELDS`]; 400 for a folded line, a blank before the colon, a control byte, and
/// whatever else is no field.
pub(super) fn read(input: &[u8], start: usize) -> Result<Option<Fields>, Refusal> {
    let section = &input[start..];
    let mut few = [EMPTY_HEADER; FEW_FIELDS];
    match parse_headers(section, &mut few) {
        Ok(Status::Complete((used, fields))) => collect(input, start + used, fields).map(Some),
        Ok(Status::Partial) => Ok(None),
        Err(Error::TooManyHeaders) => {
            let mut many = [EMPTY_HEADER; MOST_FIELDS];
            match parse_headers(section, &mut many) {
                Ok(Status::Complete((used, fields))) => {
                    collect(input, start + used, fields).map(Some)
                }
                Ok(Status::Partial) => Ok(None),
                Err(error) => Err(refusal(error)),
            }
        }
        Err(error) => Err(refusal(error)),
    }
}

fn collect(input: &[u8], end: usize, fields: &[Header<'_>]) -> Result<Fields, Refusal> {
    let shared = Bytes::copy_from_slice(&input[..end]);
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_| Refusal::bad("a field's name is too long"))?;
        // `httparse` returns slices of `input`.
        let at = field.value.as_ptr().addr() - input.as_ptr().addr();
        let value = HeaderValue::from_maybe_shared(shared.slice(at..at + field.value.len()));
        let value = value.map_err(|_| Refusal::bad("a control byte in a field's value"))?;
        headers.append(name, value);
    }
    Ok(Fields { shared, headers })
}

fn refusal(error: Error) -> Refusal {
    match error {
        Error::TooManyHeaders => Refusal::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "more fields than a request may have",
        ),
        Error::HeaderName => Refusal::bad("a line is no field (RFC 9112, 5)"),
        Error::HeaderValue => Refusal::bad("a control byte in a field's value (RFC 9110, 5.5)"),
        Error::NewLine => Refusal::bad("a line does not end with CR and LF (RFC 9112, 2.2)"),
        _ => Refusal::bad("the fields cannot be read"),
    }
}

/// The elements of a list in all fields of this name (RFC 9110, section 5.6.1), empty ones left out.
pub(super) fn elements<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.get_all(name).iter();
    let parts = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}

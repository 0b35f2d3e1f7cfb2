//! Values that are written as text: rates, sizes, header fields.

use std::str::FromStr as _;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue};

/// Fields that say how the answer is sent, which the server alone knows.
const FRAMING: [HeaderName; 7] =
    [CONNECTION, CONTENT_LENGTH, DATE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// `10/min`: a number of requests, and the time.
pub(crate) fn rate(text: &str) -> Option<(u32, Duration)> {
    let (requests, per) = text.split_once('/')?;
    let requests = requests.trim().parse().ok().filter(|requests| *requests > 0)?;
    let seconds = match per.trim() {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hour" => 3600,
        "d" | "day" => 86_400,
        _ => return None,
    };
    Some((requests, Duration::from_secs(seconds)))
}

/// The name of a field that may be set.
pub(crate) fn header_name(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_str(text)
        .map_err(|_| format!("`{text}` cannot be the name of a header field"))?;
    match FRAMING.contains(&name) {
        true => Err(format!("`{text}` is set by the server alone")),
        false => Ok(name),
    }
}

/// The value of a field.
pub(crate) fn header_value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_a_number_and_a_time() {
        assert_eq!(rate("10/min"), Some((10, Duration::from_secs(60))));
        assert_eq!(rate("5 / s"), Some((5, Duration::from_secs(1))));
        for wrong in ["10", "0/s", "-1/s", "10/week", "x/min", ""] {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn fields_of_framing_cannot_be_set() {
        assert!(header_name("Cache-Control").is_ok());
        for wrong in ["Content-Length", "transfer-encoding", "a b", ""] {
            assert!(header_name(wrong).is_err(), "{wrong}");
        }
    }
}

//! A number of bytes as people write and read it.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// A number of bytes: read from `512K`, `64M`, `1G` (powers of 1024) or a plain number; shown as `1.5 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Letters and what each is worth, as a power of two.
const UNITS: [(char, u32); 4] = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];

impl FromStr for Bytes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::config(format!(
                "{text:?} is no size: it is a number of bytes, or one with K, M, G or T"
            ))
        };
        let unit = |letter: char| UNITS.iter().find(|(name, _)| letter.eq_ignore_ascii_case(name));
        let (number, shift) = match text.chars().last().and_then(unit) {
            Some((_, shift)) => (&text[..text.len() - 1], *shift),
            None => (text, 0),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Bytes {
    #[expect(clippy::cast_precision_loss, reason = "a display value")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().rev().find(|(_, shift)| self.0 >> shift > 0);
        f.pad(&match unit {
            Some((letter, shift)) => {
                format!("{:.1} {letter}iB", self.0 as f64 / (1_u64 << shift) as f64)
            }
            None => format!("{} B", self.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes, shown) in [
            ("0", 0, "0 B"),
            ("1023", 1023, "1023 B"),
            ("64M", 64 << 20, "64.0 MiB"),
            ("1536k", 1536 << 10, "1.5 MiB"),
            ("2g", 2 << 30, "2.0 GiB"),
            ("1T", 1 << 40, "1.0 TiB"),
        ] {
            let read: Bytes = text.parse().expect(text);
            assert_eq!((read.0, read.to_string().as_str()), (bytes, shown));
        }
        for nonsense in ["", "M", "-1", "1.5G", "64MB", "64 M", "99999999999T", "ä"] {
            let error = nonsense.parse::<Bytes>().expect_err(nonsense);
            assert!(error.is_config() && error.to_string().contains("K, M, G or T"), "{error}");
        }
    }
}

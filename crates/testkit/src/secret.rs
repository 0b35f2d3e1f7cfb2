//! Looks for secrets in what a program says, in the forms in which programs say bytes.

use std::collections::HashSet;

use crate::base64;

/// Bytes in a row that are no accident.
const RUN: usize = 8;
/// Different ones among them, at least: zeros in a row are anywhere.
const DIFFERENT: usize = 4;

/// What must not be said.
#[derive(Debug, Default)]
pub struct Secrets {
    /// Every run of bytes that is one.
    runs: HashSet<[u8; RUN]>,
}

impl Secrets {
    /// A text of PEM, as it stands and decoded. Its marks are no secret.
    pub fn add_pem(&mut self, text: &str) {
        let lines = text.lines().filter(|line| !line.starts_with('-'));
        let text: String = lines.collect();
        self.add_bytes(text.as_bytes());
        self.add_bytes(&base64::decode(&text));
    }

    /// Bytes of any kind.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        let telling = |run: &[u8; RUN]| run.iter().collect::<HashSet<_>>().len() >= DIFFERENT;
        self.runs.extend(runs(bytes).filter(telling));
    }

    /// Fails if one of them stands in a text: as it is, in hexadecimal or as a list of numbers.
    ///
    /// # Panics
    /// If so.
    #[track_caller]
    pub fn assert_none_in(&self, text: &str, what: &str) {
        let found =
            forms(text).into_iter().any(|form| runs(&form).any(|run| self.runs.contains(&run)));
        assert!(!found, "there is a secret in {what}: {text}");
    }
}

fn runs(bytes: &[u8]) -> impl Iterator<Item = [u8; RUN]> {
    bytes.windows(RUN).filter_map(|run| run.try_into().ok())
}

/// The bytes that a text may stand for.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![text.as_bytes().to_vec()];
    // Without line ends and blanks: a key may be broken in other places.
    forms.push(text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
    for digits in text.split(|c: char| !c.is_ascii_hexdigit()) {
        for start in [0, 1] {
            let pairs = digits.as_bytes().get(start..).unwrap_or_default().chunks_exact(2);
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            forms.push(pairs.filter_map(byte).collect());
        }
    }
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
    forms.push(numbers.filter_map(|word| word.parse().ok()).collect());
    let pairs = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let byte = |word: &str| u8::from_str_radix(word.trim_start_matches("0x"), 16).ok();
    forms.push(pairs.filter_map(byte).collect());
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form_and_its_marks_are_none() {
        let mut secrets = Secrets::default();
        let pem =
            "-----BEGIN PRIVATE KEY-----\nAQIDBAUGBwgJCgsMDQ4PEA==\n-----END PRIVATE KEY-----\n";
        secrets.add_pem(pem);
        let bytes: Vec<u8> = (1..=16).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let colons = bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
        for said in [pem.to_owned(), format!("x{bytes:?}y"), hex.clone(), format!("0{hex}"), colons]
        {
            let found = std::panic::catch_unwind(|| secrets.assert_none_in(&said, "it"));
            assert!(found.is_err(), "{said}");
        }
        for said in ["-----BEGIN PRIVATE KEY-----", "[0, 0, 0, 0, 0, 0, 0, 0]", "1, 2, 3 and 4, 5"]
        {
            secrets.assert_none_in(said, "it");
        }
    }
}

//! Base64 (RFC 4648), as PEM has it.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// On one line.
pub fn encode(bytes: &[u8]) -> String {
    let of = |part: &[u8]| {
        let sum = (0..3).fold(0, |sum, at| sum << 8 | usize::from(*part.get(at).unwrap_or(&0)));
        let digit = |at: usize| match at <= part.len() {
            true => char::from(ALPHABET[sum >> (18 - 6 * at) & 63]),
            false => '=',
        };
        (0..4).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(of).collect()
}

/// What is no digit is passed over.
pub fn decode(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter_map(|byte| ALPHABET.iter().position(|it| *it == byte));
    let digits: Vec<usize> = digits.collect();
    let of = |part: &[usize]| {
        let sum = (0..4).fold(0, |sum, at| sum << 6 | part.get(at).copied().unwrap_or(0));
        sum.to_be_bytes()[size_of::<usize>() - 3..][..part.len() - 1].to_vec()
    };
    digits.chunks(4).flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        assert_eq!(encode(b"light w"), "bGlnaHQgdw==");
        for length in 0..20 {
            let bytes: Vec<u8> = (0..length).map(|it: u8| it.wrapping_mul(37)).collect();
            assert_eq!(decode(&encode(&bytes)), bytes);
        }
    }
}

//! The one hash of the shared views: SipHash-1-3, keyed with a secret that lies in the region itself.
//!
//! Clients choose keys (an address, an API key, a path). Without the secret none of them can aim at a
//! set, or at the tag, of somebody else.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Words in front of a keyed view's sets: the two words of the secret, and room up to a cache line.
pub(super) const SECRET_LINE: usize = 8;

/// A hash that is being computed.
pub(super) struct Sip([u64; 4]);

impl Sip {
    fn new(keys: [u64; 2]) -> Self {
        let start = [*b"somepseu", *b"dorandom", *b"lygenera", *b"tedbytes"];
        let [a, b, c, d] = start.map(u64::from_be_bytes);
        Self([a ^ keys[0], b ^ keys[1], c ^ keys[0], d ^ keys[1]])
    }

    fn round(&mut self) {
        let [a, b, c, d] = &mut self.0;
        *a = a.wrapping_add(*b);
        *c = c.wrapping_add(*d);
        *b = b.rotate_left(13) ^ *a;
        *d = d.rotate_left(16) ^ *c;
        *a = a.rotate_left(32).wrapping_add(*d);
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *d = d.rotate_left(21) ^ *a;
        *c = c.rotate_left(32);
    }

    /// Takes 8 bytes in, as a little-endian word.
    pub(super) fn word(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    /// Takes the last word in: by the book, what is left of the bytes, with their number on top.
    pub(super) fn finish(mut self, last: u64) -> u64 {
        self.word(last);
        self.0[2] ^= 0xff;
        for _ in 0..3 {
            self.round();
        }
        self.0[0] ^ self.0[1] ^ self.0[2] ^ self.0[3]
    }

    fn bytes(mut self, bytes: &[u8]) -> u64 {
        let (whole, rest) = bytes.split_at(bytes.len() / 8 * 8);
        words_of(whole).for_each(|word| self.word(word));
        let rest = words_of(rest).next().unwrap_or(0);
        self.finish(rest | (bytes.len() as u64) << 56)
    }
}

/// Bytes as little-endian words, the last one filled up with zeros.
pub(super) fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (whole, rest) = bytes.as_chunks();
    let last = (!rest.is_empty()).then(|| {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        u64::from_le_bytes(word)
    });
    whole.iter().map(|word| u64::from_le_bytes(*word)).chain(last)
}

/// A hash everybody computes alike: for layouts.
pub(super) fn plain(bytes: &[u8]) -> u64 {
    Sip::new([0, 0]).bytes(bytes)
}

/// What makes a region's hashes its own.
#[derive(Clone, Copy)]
pub(super) struct Secret([u64; 2]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The secret in these two words, drawn by whoever comes first: 0 is "not drawn yet". A process that
    /// dies between the two leaves the second to the next one.
    pub(super) fn of(words: [&AtomicU64; 2]) -> Self {
        Self(words.map(|word| {
            let drawn = RandomState::new().hash_one(0) | 1;
            word.compare_exchange(0, drawn, Relaxed, Relaxed).err().unwrap_or(drawn)
        }))
    }

    /// Begins a hash.
    pub(super) fn begin(self) -> Sip {
        Sip::new(self.0)
    }

    /// Where a key belongs: one of `sets` sets, and the hash whose low bits are its tag there.
    pub(super) fn locate(self, key: &[u8], sets: usize) -> (usize, u64) {
        let hash = self.begin().bytes(key);
        let set = (u128::from(hash) * sets as u128) >> 64;
        (usize::try_from(set).unwrap_or(0), hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_siphash_1_3() {
        let bytes: Vec<u8> = (0..64).collect();
        let keys = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let hashes = [0, 1, 8, 15, 63].map(|length| Sip::new(keys).bytes(&bytes[..length]));
        let known = [
            0xabac_0158_050f_c4dc,
            0xc9f4_9bf3_7d57_ca93,
            0x3690_9511_8d29_9a8e,
            0xd320_d86d_2a51_9956,
            0x9d19_9062_b7bb_b3a8,
        ];
        assert_eq!(hashes, known);
    }

    #[test]
    fn all_openers_have_the_same_secret() {
        let words = [AtomicU64::new(0), AtomicU64::new(0)];
        let draw = || Secret::of([&words[0], &words[1]]).0;
        let first = draw();
        assert_eq!(first, draw());
        words[1].store(0, Relaxed);
        let after_a_death = draw();
        assert_eq!(first[0], after_a_death[0]);
        assert_eq!(after_a_death, draw());
    }

    #[test]
    fn keys_go_to_all_sets() {
        let secret = Secret::of([&AtomicU64::new(1), &AtomicU64::new(2)]);
        let mut hits = [0; 7];
        (0..7000_u32).for_each(|key| hits[secret.locate(&key.to_le_bytes(), 7).0] += 1);
        assert!(hits.iter().all(|&hits| (800..1200).contains(&hits)), "{hits:?}");
    }
}

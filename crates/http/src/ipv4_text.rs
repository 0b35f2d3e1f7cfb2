//! IPv4 addresses as text: nearly every line of a log has one, and the standard library takes its time.

use std::net::Ipv4Addr;

/// An IPv4 address as text.
pub(crate) struct Dotted {
    bytes: [u8; 16],
    length: usize,
}

impl Dotted {
    pub(crate) fn new(address: Ipv4Addr) -> Self {
        let (mut bytes, mut length) = ([0; 16], 0);
        for octet in address.octets() {
            let (digits, count) = &OCTETS[usize::from(octet)];
            // With a dot behind, and what the next one is written over.
            bytes[length..length + 4].copy_from_slice(digits);
            length += count;
        }
        Self { bytes, length: length - 1 }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }
}

/// Each octet's digits and a dot, and how many bytes that is.
const OCTETS: [([u8; 4], usize); 256] = {
    let mut octets = [([0; 4], 0); 256];
    let mut octet: u8 = 0;
    loop {
        let (last, tens, first) = (b'0' + octet % 10, b'0' + octet / 10 % 10, b'0' + octet / 100);
        octets[octet as usize] = match octet {
            0..10 => ([last, b'.', 0, 0], 2),
            10..100 => ([tens, last, b'.', 0], 3),
            100.. => ([first, tens, last, b'.'], 4),
        };
        if octet == u8::MAX {
            break octets;
        }
        octet += 1;
    }
};

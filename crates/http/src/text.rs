//! A small text on the stack: nothing is allocated for a request.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::ipv4_text::Dotted;

/// Text of up to 128 bytes, as long as the scoreboard shows; more is cut off: it is for eyes.
pub(crate) struct Text {
    bytes: [u8; 128],
    length: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; 128], length: 0 }
    }
}

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        let bytes = &self.bytes[..self.length];
        match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
        }
    }

    pub(crate) fn push(&mut self, text: &str) {
        let room = &mut self.bytes[self.length..];
        let length = text.len().min(room.len());
        room[..length].copy_from_slice(&text.as_bytes()[..length]);
        self.length += length;
    }

    /// Every request has one, and the standard library takes its time.
    pub(crate) fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.push(Dotted::new(address).as_str()),
            // Writing to memory cannot fail.
            IpAddr::V6(address) => drop(write!(self, "{address}")),
        }
    }

    pub(crate) fn socket_address(&mut self, address: SocketAddr) {
        if address.is_ipv6() {
            let _ = write!(self, "{address}");
            return;
        }
        self.address(address.ip());
        self.push(":");
        self.push(itoa::Buffer::new().format(address.port()));
    }
}

impl std::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        let each = (0..=255).map(|octet| format!("{octet}.{octet}.0.{octet}:9"));
        let others = ["192.0.2.255:65535", "[::1]:80", "[2001:db8::ff]:7"].map(str::to_owned);
        for address in each.chain(others) {
            let mut text = Text::default();
            text.socket_address(address.parse().unwrap());
            assert_eq!(text.as_str(), address);
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_between_characters() {
        let mut text = Text::default();
        text.push(&"ä".repeat(63));
        text.push("xää");
        assert_eq!(text.as_str(), "ä".repeat(63) + "x");
    }
}

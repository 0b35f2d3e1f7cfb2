//! As much of DER (X.690) as it takes to see what a certificate or a key is.

/// A value: its tag, what is in it, and all of it.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
/// `[0]` and `[1]`, explicit.
pub(crate) const CONTEXT_0: u8 = 0xa0;

/// Bytes that a length has at most: no file is longer.
const LENGTH_BYTES: usize = 4;

/// Values that follow each other.
pub(crate) struct Values<'a>(pub(crate) &'a [u8]);

impl<'a> Values<'a> {
    /// The next one; `None` if there is none, or it is cut.
    pub(crate) fn any(&mut self) -> Option<Value<'a>> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, header) = match usize::from(first) {
            short @ 0..0x80 => (short, 2),
            long => {
                let bytes = long - 0x80;
                let digits = rest.get(..bytes).filter(|_| (1..=LENGTH_BYTES).contains(&bytes))?;
                let length = digits.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
                (length, 2 + bytes)
            }
        };
        let end = header.checked_add(length)?;
        let whole = self.0.get(..end)?;
        self.0 = &self.0[end..];
        Some(Value { tag, content: &whole[header..], whole })
    }

    /// The next one, which must have this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<Value<'a>> {
        self.any().filter(|value| value.tag == tag)
    }

    /// The next one if it has this tag, and else nothing is taken.
    pub(crate) fn take_if(&mut self, tag: u8) -> Option<Value<'a>> {
        if self.0.first() == Some(&tag) { self.any() } else { None }
    }
}

impl<'a> Value<'a> {
    pub(crate) fn values(self) -> Values<'a> {
        Values(self.content)
    }

    /// The bytes of a bit string without unused bits.
    pub(crate) fn bits(self) -> Option<&'a [u8]> {
        self.content.strip_prefix(&[0])
    }
}

//! Attributes of netlink messages: length, type and value, each at a multiple of four bytes
//! (netlink(7), "struct nlattr"). Numbers in those of nftables go with the most significant byte
//! first.

use crate::network::netlink::ALIGNMENT;

/// Bytes of length and type.
const HEADER: usize = 4;
/// The bits of a type that say something of the value.
const TYPE_MASK: u16 = 0x3fff;
/// Of a value that consists of attributes.
const NESTED: u16 = libc::NLA_F_NESTED as u16;

/// Attributes to be sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // All that is written here is far below 64 KiB.
        let length = (HEADER + value.len()) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
        self
    }

    /// A text, with a zero behind it.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn nested(self, kind: u16, value: &Self) -> Self {
        self.bytes(kind | NESTED, &value.0)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The value of the first attribute of a type, in attributes that were received.
pub(super) fn find(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    while bytes.len() >= HEADER {
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let found = u16::from_ne_bytes([bytes[2], bytes[3]]) & TYPE_MASK;
        let value = bytes.get(HEADER..length)?;
        if found == kind {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..)?;
    }
    None
}

/// The text of an attribute.
pub(super) fn text(bytes: &[u8], kind: u16) -> Option<&str> {
    let value = find(bytes, kind)?;
    std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found() {
        let inner = Attributes::new().number(1, 0x0102_0304);
        let all = Attributes::new()
            .text(1, "ab")
            .bytes(2, &[7])
            .nested(3, &inner);
        assert_eq!(all.as_bytes().len(), 8 + 8 + 12);
        assert_eq!(text(all.as_bytes(), 1), Some("ab"));
        assert_eq!(find(all.as_bytes(), 2), Some(&[7][..]));
        let nested = find(all.as_bytes(), 3).unwrap();
        assert_eq!(find(nested, 1), Some(&[1, 2, 3, 4][..]));
        assert_eq!(find(all.as_bytes(), 4), None);
        // Cut off, or with a length that cannot be.
        assert_eq!(find(&all.as_bytes()[..10], 2), None);
        assert_eq!(find(&[0, 0, 9, 0], 1), None);
    }
}

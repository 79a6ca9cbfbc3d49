//! Fields of protocol buffers: a key (number and kind), then a number of 7 bits a byte, or a length and bytes.
//!
//! A field that has its default, 0, is left out, as the format wants it. A message within a message comes with its
//! length before it, so it is made whole first and then copied; profiles are two levels deep.

/// A message that grows.
#[derive(Debug, Default)]
pub struct Message(Vec<u8>);

/// Kinds of fields.
const NUMBER: u64 = 0;
const BYTES: u64 = 2;

impl Message {
    /// A number.
    pub fn number(&mut self, field: u64, value: u64) -> &mut Self {
        if value != 0 {
            self.varint(field << 3 | NUMBER);
            self.varint(value);
        }
        self
    }

    /// Text or another message.
    pub fn bytes(&mut self, field: u64, value: &[u8]) -> &mut Self {
        self.varint(field << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// Another message, which is made by `fill`.
    pub fn message(&mut self, field: u64, fill: impl FnOnce(&mut Message)) -> &mut Self {
        let mut inner = Message::default();
        fill(&mut inner);
        self.bytes(field, &inner.0)
    }

    /// Numbers one after the other, defaults included.
    pub fn packed(&mut self, field: u64, values: impl Iterator<Item = u64>) -> &mut Self {
        self.message(field, |inner| values.for_each(|value| inner.varint(value)))
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::Message;

    #[test]
    fn numbers_and_bytes_are_laid_out_as_the_format_s_own_examples() {
        let mut message = Message::default();
        message.number(1, 150).number(7, 0).bytes(2, b"testing");
        message.packed(6, [3, 270, 86_942].into_iter());
        let expected = b"\x08\x96\x01\x12\x07testing\x32\x06\x03\x8e\x02\x9e\xa7\x05";
        assert_eq!(message.finish(), expected);
        let mut longest = Message::default();
        assert_eq!(longest.number(1, u64::MAX).0.len(), 11);
    }
}

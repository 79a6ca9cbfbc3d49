//! Results become bytes: the replies to all commands that arrived together, written at once.
//!
//! ```text
//!   bytes   +OK\r\n$4\r\nsome\r\n$40000\r\n          \r\n:1\r\n
//!                                         ▲ at
//!   shared                                └ the value itself, 40,000 bytes
//! ```
//!
//! A small value is copied between its neighbours. A big one is shared with the store: copying it
//! would cost more than the two entries that it takes in a vectored write, and would happen under
//! the lock of its shard.

use crate::number;
use crate::value::Text;
use std::io::{self, IoSlice, Write};
use std::sync::Arc;

/// Replies that wait to be written.
#[derive(Debug, Default)]
pub struct Reply {
    bytes: Vec<u8>,
    /// Values that belong into `bytes`: before which byte, in order.
    shared: Vec<(usize, Arc<Vec<u8>>)>,
    /// The sum of their lengths.
    shared_bytes: usize,
    /// The connection ends after this reply.
    closing: bool,
}

impl Reply {
    pub fn status(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error, with its code. Line ends in it become spaces, or they would end the reply.
    pub fn error(&mut self, text: &str) {
        let start = self.bytes.len();
        self.line(b'-', text.as_bytes());
        let end = self.bytes.len() - 2;
        for byte in &mut self.bytes[start..end] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }

    pub fn int(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// How many there are of something.
    pub fn count(&mut self, count: usize) {
        self.int(count as i64);
    }

    pub fn bulk(&mut self, value: &[u8]) {
        self.header(b'$', value.len() as i64);
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A value of the store.
    pub fn text(&mut self, value: &Text) {
        match value {
            Text::Own(value) => self.bulk(value),
            Text::Shared(value) => {
                self.header(b'$', value.len() as i64);
                self.shared.push((self.bytes.len(), value.clone()));
                self.shared_bytes += value.len();
                self.bytes.extend_from_slice(b"\r\n");
            }
        }
    }

    /// There is no such value.
    pub fn nil(&mut self) {
        self.bytes.extend_from_slice(b"$-1\r\n");
    }

    /// There is no such list.
    pub fn nil_array(&mut self) {
        self.bytes.extend_from_slice(b"*-1\r\n");
    }

    /// The next `len` replies belong together.
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len as i64);
    }

    /// As many values as the iterator says.
    pub fn bulks<T: AsRef<[u8]>>(&mut self, values: impl ExactSizeIterator<Item = T>) {
        self.array(values.len());
        values.for_each(|value| self.bulk(value.as_ref()));
    }

    pub fn close_after(&mut self) {
        self.closing = true;
    }

    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// How much there is to write.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.shared_bytes
    }

    /// The memory that it holds for the next replies.
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Writes all of it. Parks while the client does not read.
    pub fn send(&mut self, mut to: impl Write) -> io::Result<()> {
        let result = if self.shared.is_empty() {
            to.write_all(&self.bytes)
        } else {
            write_all_vectored(to, &mut self.slices())
        };
        self.bytes.clear();
        self.shared.clear();
        self.shared_bytes = 0;
        result
    }

    /// The parts in their order.
    fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(2 * self.shared.len() + 1);
        let mut start = 0;
        for (at, value) in &self.shared {
            slices.push(IoSlice::new(&self.bytes[start..*at]));
            slices.push(IoSlice::new(value));
            start = *at;
        }
        slices.push(IoSlice::new(&self.bytes[start..]));
        slices
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(text);
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn header(&mut self, kind: u8, value: i64) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(number::format(value, &mut [0; 20]));
        self.bytes.extend_from_slice(b"\r\n");
    }
}

fn write_all_vectored(mut to: impl Write, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match to.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time, of the first slice that has any.
    struct Narrow(Vec<u8>);

    impl Write for Narrow {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            let taken = buf.len().min(1000);
            self.0.extend_from_slice(&buf[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn big_values_are_written_in_their_places() {
        let big = Text::new(&[b'x'; 40_000]);
        let mut reply = Reply::default();
        reply.array(3);
        reply.text(&big);
        reply.text(&Text::new(b"small"));
        reply.text(&big);
        reply.int(-7);
        let mut expected = b"*3\r\n$40000\r\n".to_vec();
        expected.extend([b'x'; 40_000]);
        expected.extend(b"\r\n$5\r\nsmall\r\n$40000\r\n");
        expected.extend([b'x'; 40_000]);
        expected.extend(b"\r\n:-7\r\n");
        assert_eq!(reply.len(), expected.len());
        assert!(reply.held_bytes() < 1000);
        let mut out = Narrow(Vec::new());
        reply.send(&mut out).unwrap();
        assert!(out.0 == expected);
        reply.status("OK");
        reply.send(&mut out).unwrap();
        assert!(out.0.ends_with(b":-7\r\n+OK\r\n"));
    }

    #[test]
    fn an_error_is_one_line() {
        let mut reply = Reply::default();
        reply.error("ERR a\r\nb");
        reply.nil();
        let mut out = Vec::new();
        reply.send(&mut out).unwrap();
        assert_eq!(out, b"-ERR a  b\r\n$-1\r\n");
    }
}

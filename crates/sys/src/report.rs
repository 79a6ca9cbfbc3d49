//! Text to standard error from inside a signal handler.
//!
//! A handler may call only what is async-signal-safe: no allocation, no lock, no `std::io`. A
//! [`Report`] is a fixed buffer on the handler's stack and `write(2)`. Numbers are formatted
//! here, since `core::fmt` is not promised to be free of panics and of deep frames.
//!
//! ```
//! millpond_sys::report::Report::new().str("fault at ").hex(0xdead).str("\n").send();
//! ```

use rustix::stdio;

const BUFFER: usize = 512;

/// A message under construction. Written out by [`Report::send`], or when the buffer is full.
#[derive(Debug)]
pub struct Report {
    buffer: [u8; BUFFER],
    used: usize,
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

impl Report {
    /// An empty message.
    pub const fn new() -> Self {
        Self { buffer: [0; BUFFER], used: 0 }
    }

    /// Adds text.
    pub fn str(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Adds a number in decimal.
    pub fn dec(&mut self, number: u64) -> &mut Self {
        self.digits(number, 10)
    }

    /// Adds a number as `0x` and lower-case hexadecimal.
    pub fn hex(&mut self, number: u64) -> &mut Self {
        self.str("0x").digits(number, 16)
    }

    /// Writes what was added to standard error and empties the message. Errors are ignored: there
    /// is nobody left to tell.
    pub fn send(&mut self) {
        send(&self.buffer[..self.used]);
        self.used = 0;
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> &mut Self {
        while !bytes.is_empty() {
            if self.used == BUFFER {
                self.send();
            }
            let count = bytes.len().min(BUFFER - self.used);
            self.buffer[self.used..self.used + count].copy_from_slice(&bytes[..count]);
            self.used += count;
            bytes = &bytes[count..];
        }
        self
    }

    fn digits(&mut self, mut number: u64, radix: u64) -> &mut Self {
        // 20 digits hold the largest number in the smallest radix that is used.
        let mut digits = [0u8; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b"0123456789abcdef"[(number % radix) as usize];
            number /= radix;
            if number == 0 {
                break;
            }
        }
        self.bytes(&digits[first..])
    }
}

/// Writes bytes to standard error as they are, in one write if the kernel takes them so. Async-signal-safe.
/// Errors are ignored. Takes no lock, and so comes between the writes of who holds that of `std::io::stderr`.
pub fn send(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(stdio::stderr(), bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(report: &Report) -> &str {
        std::str::from_utf8(&report.buffer[..report.used]).unwrap()
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        for number in [0, 9, 10, 255, 4096, u64::MAX] {
            let mut report = Report::new();
            report.dec(number).str(" ").hex(number);
            assert_eq!(text(&report), format!("{number} {number:#x}"));
        }
    }

    #[test]
    fn a_message_longer_than_the_buffer_is_sent_in_parts() {
        let mut report = Report::new();
        (0..BUFFER + 10).for_each(|_| {
            report.str(" ");
        });
        assert_eq!(report.used, 10);
    }
}

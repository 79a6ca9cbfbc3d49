//! A client that shows the very bytes of a reply.

use std::io::{BufRead, BufReader, Read, Write};

pub struct Client<S> {
    stream: BufReader<S>,
}

/// A request of these words.
pub fn request<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// A bulk string.
pub fn bulk(text: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()
}

impl<S: Read + Write> Client<S> {
    pub fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    pub fn stream(&mut self) -> &mut S {
        self.stream.get_mut()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("send");
    }

    /// Sends a request and reads its reply.
    pub fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Vec<u8> {
        self.send(request(words));
        self.reply()
    }

    /// As [`Client::ask`], for words without spaces; the reply must be a text.
    pub fn say(&mut self, line: &str) -> String {
        let reply = self.ask(&line.split(' ').collect::<Vec<_>>());
        String::from_utf8(reply).expect("a text")
    }

    /// One reply, with all that belongs to it.
    pub fn reply(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut left = 1;
        while left > 0 {
            left -= 1;
            let start = bytes.len();
            let got = self.stream.read_until(b'\n', &mut bytes).expect("read a reply");
            assert!(got > 0, "the connection ended within a reply: {bytes:?}");
            let line = std::str::from_utf8(&bytes[start..]).expect("a line of the protocol");
            let number = || line[1..].trim_end().parse::<i64>().expect("a number");
            match line.as_bytes()[0] {
                b'*' => left += number().max(0),
                b'$' if number() >= 0 => {
                    let end = bytes.len() + number() as usize + 2;
                    let start = bytes.len();
                    bytes.resize(end, 0);
                    self.stream.read_exact(&mut bytes[start..]).expect("read a value");
                }
                b'$' | b'+' | b'-' | b':' => {}
                other => panic!("not a reply: {:?} in {line:?}", char::from(other)),
            }
        }
        bytes
    }

    /// Everything up to the end of the connection, which must be orderly.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).expect("read to an orderly end");
        bytes
    }
}

//! HTTP/1.1: `GET /`, the status must be 200, and the body must be all there.
//!
//! Only replies that announce their length are understood; a chunked one is an error that says so.
//! One request is under way at a time, so nothing may follow a reply.

use super::client::{After, Speak, wrong};
use millpond::net::TcpStream;
use std::io::{self, Read, Write};

/// The largest head that is understood.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// What is read at once.
const READ_BYTES: usize = 4 << 10;

pub(super) struct Http {
    request: Vec<u8>,
    /// What has been received of the reply under way.
    received: Vec<u8>,
}

/// What a head says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    head_bytes: usize,
    body_bytes: usize,
    after: After,
}

impl Http {
    pub(super) fn new(host: &str) -> Self {
        let request =
            format!("GET / HTTP/1.1\r\nhost: {host}\r\nuser-agent: millpond-load\r\n\r\n");
        Self { request: request.into_bytes(), received: Vec::new() }
    }

    fn read_some(&mut self, mut conn: &TcpStream) -> io::Result<()> {
        let before = self.received.len();
        self.received.resize(before + READ_BYTES, 0);
        let got = conn.read(&mut self.received[before..])?;
        self.received.truncate(before + got);
        match got {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("connection closed after {before} bytes of a reply"),
            )),
            _ => Ok(()),
        }
    }
}

impl Speak for Http {
    fn exchange(&mut self, mut conn: &TcpStream) -> io::Result<After> {
        conn.write_all(&self.request)?;
        self.received.clear();
        let head = loop {
            self.read_some(conn)?;
            match parse(&self.received)? {
                Some(head) => break head,
                None if self.received.len() > MAX_HEAD_BYTES => {
                    return Err(wrong(format!(
                        "expected a head of at most {MAX_HEAD_BYTES} bytes"
                    )));
                }
                None => {}
            }
        };
        let whole = head.head_bytes + head.body_bytes;
        while self.received.len() < whole {
            self.read_some(conn)?;
        }
        if self.received.len() > whole {
            let surplus = self.received.len() - whole;
            return Err(wrong(format!("{surplus} bytes after the end of a reply")));
        }
        Ok(head.after)
    }
}

/// The head at the start of `received`; `None` if there is not all of it.
fn parse(received: &[u8]) -> io::Result<Option<Head>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut reply = httparse::Response::new(&mut fields);
    let head_bytes = match reply.parse(received) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(wrong(format!("not an HTTP reply: {error}"))),
    };
    match reply.code {
        Some(200) => {}
        code => return Err(wrong(format!("expected status 200, found {}", code.unwrap_or(0)))),
    }
    let field = |name: &str| {
        let found = reply.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    let body_bytes = field("content-length")
        .and_then(|length| length.parse().ok())
        .ok_or_else(|| wrong("expected a reply with a content-length, found none"))?;
    let closes = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let after = if closes { After::Closes } else { After::Open };
    Ok(Some(Head { head_bytes, body_bytes, after }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_understood_when_it_is_complete() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: Close\r\n\r\nhello";
        let head = Head { head_bytes: text.len() - 5, body_bytes: 5, after: After::Closes };
        assert_eq!(parse(text).unwrap(), Some(head));
        assert_eq!(parse(&text[..30]).unwrap(), None);
    }

    #[test]
    fn other_statuses_and_unknown_lengths_are_errors() {
        let error = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").contains("found 503"));
        assert!(error("HTTP/1.1 200 OK\r\n\r\n").contains("content-length"));
        assert!(error("SSH-2.0-x\r\n").contains("not an HTTP reply"));
    }
}

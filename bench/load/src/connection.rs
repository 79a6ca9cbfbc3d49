//! One connection: a message out, the same message back.
//!
//! Each message carries the number of its connection and of its exchange, so a reply that is late, doubled or
//! somebody else's is found. A message is small enough to be written in one piece into an empty socket; a short
//! write is an error, because at most one message is under way.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

/// The length of a message: a small request, and no measurement of copying.
const BYTES: usize = 64;

pub(crate) struct Connection {
    index: u64,
    stream: TcpStream,
    message: [u8; BYTES],
    reply: [u8; BYTES],
    /// How much of the reply is here.
    received: usize,
    /// Exchanges that were begun.
    sent: u64,
    /// When the exchange under way began, or was due.
    since: Option<Instant>,
    /// When further exchanges were due, which wait for this one.
    overdue: VecDeque<Instant>,
}

impl Connection {
    pub(crate) fn new(index: u64, stream: TcpStream) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        let (message, reply) = ([0x5A; BYTES], [0; BYTES]);
        let overdue = VecDeque::new();
        Ok(Connection { index, stream, message, reply, received: 0, sent: 0, since: None, overdue })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether the latest exchange is the first.
    pub(crate) fn is_first(&self) -> bool {
        self.sent == 1
    }

    /// Begins an exchange that counts from `since`.
    pub(crate) fn send(&mut self, since: Instant) -> io::Result<()> {
        self.sent += 1;
        self.message[..8].copy_from_slice(&self.index.to_le_bytes());
        self.message[8..16].copy_from_slice(&self.sent.to_le_bytes());
        self.since = Some(since);
        self.received = 0;
        match self.stream.write(&self.message)? {
            BYTES => Ok(()),
            n => Err(self.wrong(&format!("{n} of {BYTES} bytes of a message were written"))),
        }
    }

    /// An exchange was due at `at`: it begins, or waits for the one before.
    pub(crate) fn due(&mut self, at: Instant, now: Instant) -> io::Result<()> {
        if self.since.is_none() {
            return self.send(now);
        }
        self.overdue.push_back(at);
        Ok(())
    }

    /// Begins the exchange that waits longest, if any does.
    pub(crate) fn send_overdue(&mut self) -> io::Result<()> {
        match self.overdue.pop_front() {
            Some(since) => self.send(since),
            None => Ok(()),
        }
    }

    /// Reads what is there. Some with the time at which the exchange began when the reply is complete and right.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Instant>> {
        match self.stream.read(&mut self.reply[self.received..]) {
            Ok(0) => return Err(self.wrong("closed by the server")),
            Ok(got) => self.received += got,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(self.wrong(&error.to_string())),
        }
        if self.received < BYTES {
            return Ok(None);
        }
        if self.reply != self.message {
            return Err(self.wrong("the reply differs from the message"));
        }
        self.received = 0;
        match self.since.take() {
            Some(since) => Ok(Some(since)),
            None => Err(self.wrong("a reply to nothing")),
        }
    }

    fn wrong(&self, what: &str) -> io::Error {
        io::Error::other(format!("connection {}, exchange {}: {what}", self.index, self.sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Connection::new(3, stream).unwrap(), listener.accept().unwrap().0)
    }

    /// Waits until the reply is here: the kernel delivers it some time after it was written.
    fn outcome(connection: &mut Connection) -> io::Result<Instant> {
        loop {
            if let Some(since) = connection.receive()? {
                return Ok(since);
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_message_that_comes_back_ends_the_exchange_and_the_next_differs() {
        let (mut connection, mut peer) = pair();
        let since = Instant::now();
        let mut seen = Vec::new();
        for _ in 0..2 {
            connection.send(since).unwrap();
            let mut message = [0; BYTES];
            peer.read_exact(&mut message).unwrap();
            assert!(connection.receive().unwrap().is_none());
            peer.write_all(&message).unwrap();
            assert_eq!(outcome(&mut connection).unwrap(), since);
            seen.push(message);
        }
        assert_ne!(seen[0], seen[1]);
    }

    #[test]
    fn another_reply_and_a_closed_connection_are_errors() {
        let (mut connection, mut peer) = pair();
        connection.send(Instant::now()).unwrap();
        peer.write_all(&[0; BYTES]).unwrap();
        assert!(outcome(&mut connection).unwrap_err().to_string().contains("differs"));
        drop(peer);
        assert!(outcome(&mut connection).is_err());
    }

    #[test]
    fn what_is_due_meanwhile_counts_from_when_it_was_due() {
        let (mut connection, mut peer) = pair();
        let (first, second) = (Instant::now(), Instant::now());
        connection.due(first, first).unwrap();
        connection.due(second, Instant::now()).unwrap();
        let mut message = [0; BYTES];
        for since in [first, second] {
            peer.read_exact(&mut message).unwrap();
            peer.write_all(&message).unwrap();
            assert_eq!(outcome(&mut connection).unwrap(), since);
            connection.send_overdue().unwrap();
        }
        assert!(connection.since.is_none());
    }
}

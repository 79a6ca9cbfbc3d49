//! What a connection works with, and borrows for as long as it has work: input, parser, reply.
//!
//! A connection that waits for its next command holds none of this, only its stack. A thread
//! lends desks to its goroutines: one that has started stays on its thread, so a thread-local list
//! needs no lock, and a desk that was just put back is still in the cache of that processor. A few
//! desks serve thousands of connections.
//!
//! Rejected: `millpond::sync::Pool`, which would be the choice nearly everywhere else: its values go
//! from thread to thread, are bounded over all of them, and are dropped under memory pressure. All
//! that costs 420 instructions for a borrow and its return, against 126 here, and this happens once
//! for each command that is not pipelined; what it would buy is small, for a thread keeps sixteen
//! desks at most.

use crate::parser::{Limits, Parser};
use crate::reply::Reply;
use std::cell::RefCell;
use std::io::{self, Read};

/// The room for input at the beginning.
const INPUT_BYTES: usize = 16 << 10;

/// A desk that has grown beyond this is not kept.
const KEEP_BYTES: usize = 256 << 10;

/// How many desks a thread keeps.
const KEEP: usize = 16;

thread_local! {
    static DESKS: RefCell<Vec<Desk>> = const { RefCell::new(Vec::new()) };
}

pub struct Desk {
    pub input: Input,
    pub parser: Parser,
    pub reply: Reply,
}

impl Desk {
    /// A clean desk.
    pub fn borrow() -> Self {
        DESKS.with_borrow_mut(Vec::pop).unwrap_or_else(|| {
            let parser = Parser::new(Limits::REDIS);
            Self { input: Input::new(), parser, reply: Reply::default() }
        })
    }

    /// Gives it back. It is kept for another connection if it is clean and has not grown.
    pub fn give_back(self) {
        let Self { input, parser, reply } = &self;
        let held = input.bytes.len() + parser.held_bytes() + reply.held_bytes();
        // With nothing pending the parser is between two commands.
        let is_clean = input.pending().is_empty() && reply.len() == 0 && !reply.is_closing();
        if is_clean && held <= KEEP_BYTES {
            DESKS.with_borrow_mut(|desks| {
                if desks.len() < KEEP {
                    desks.push(self);
                }
            });
        }
    }
}

/// What has been received and is not done yet.
pub struct Input {
    /// Received: `start..end`. After that, room.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    fn new() -> Self {
        Self { bytes: vec![0; INPUT_BYTES], start: 0, end: 0 }
    }

    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The first `count` bytes are done.
    pub fn done(&mut self, count: usize) {
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Receives some more; 0 at the end of the stream. Room is made by moving what is pending to
    /// the front, then by doubling, so it stays below twice what has arrived.
    pub fn receive(&mut self, mut from: impl Read) -> io::Result<usize> {
        if self.end == self.bytes.len() {
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else {
                self.bytes.resize(2 * self.bytes.len(), 0);
            }
        }
        let got = from.read(&mut self.bytes[self.end..])?;
        self.end += got;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_keeps_its_order_through_moves_and_growth() {
        let stream: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
        let (mut source, mut input, mut seen) = (&stream[..], Input::new(), Vec::new());
        while input.receive(&mut source).unwrap() > 0 {
            // Leaves a rest each time, and at first nearly all.
            let take = input.pending().len() * seen.len().min(40_000) / 50_000 + 1;
            seen.extend_from_slice(&input.pending()[..take]);
            input.done(take);
        }
        seen.extend_from_slice(input.pending());
        assert!(seen == stream);
    }

    #[test]
    fn a_desk_with_half_a_command_is_not_kept() {
        let mut desk = Desk::borrow();
        desk.input.receive(&b"*1"[..]).unwrap();
        desk.give_back();
        assert!(Desk::borrow().input.pending().is_empty());
    }

    #[test]
    fn a_desk_that_has_grown_is_not_kept() {
        let mut desk = Desk::borrow();
        desk.input.bytes.resize(KEEP_BYTES + 1, 0);
        desk.give_back();
        let desk = Desk::borrow();
        assert_eq!(desk.input.bytes.len(), INPUT_BYTES);
    }
}

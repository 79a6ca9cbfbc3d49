//! The echo protocol: what is sent must come back, byte for byte.
//!
//! Each message differs from the one before and from those of other connections, so that a reply
//! that is late, doubled or someone else's is found. Messages of more than [`PIECE_BYTES`] are sent
//! in pieces, each read back before the next: an echo that is sent faster than it is read back
//! blocks both sides once the sockets' buffers are full.

use super::client::{After, Speak, wrong};
use millpond::net::TcpStream;
use std::io::{self, Read, Write};

/// Fits into the socket buffers of both sides.
const PIECE_BYTES: usize = 64 << 10;

pub(super) struct Echo {
    message: Vec<u8>,
    reply: Vec<u8>,
    /// Where the sequence of patterns is.
    state: u64,
}

impl Echo {
    pub(super) fn new(index: u32, size: usize) -> Self {
        let state = (u64::from(index) << 32 | 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self { message: vec![0; size], reply: vec![0; size.min(PIECE_BYTES)], state }
    }

    /// Marsaglia's xorshift: never zero, so never the same twice in a row.
    fn next_message(&mut self) {
        for piece in self.message.chunks_mut(8) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            piece.copy_from_slice(&self.state.to_le_bytes()[..piece.len()]);
        }
    }
}

impl Speak for Echo {
    fn exchange(&mut self, mut conn: &TcpStream) -> io::Result<After> {
        self.next_message();
        for piece in self.message.chunks(PIECE_BYTES) {
            conn.write_all(piece)?;
            let reply = &mut self.reply[..piece.len()];
            conn.read_exact(reply)?;
            if let Some(at) = (0..piece.len()).find(|&at| piece[at] != reply[at]) {
                let (sent, got) = (piece[at], reply[at]);
                return Err(wrong(format!("echo: expected {sent:#04x} at {at}, found {got:#04x}")));
            }
        }
        Ok(After::Open)
    }
}

//! What is known of one goroutine's rest, in one word that dumps read.
//!
//! ```text
//!   31      24 23                0
//!  ┌──────────┬──────────────────┐
//!  │ why      │ live words + 1   │     live words: 0 is "not looked at yet"
//!  └──────────┴──────────────────┘
//! ```
//!
//! Written by the goroutine's own thread with plain stores, read by anyone. A word of its own and
//! not a field of the registry's lists: whoever takes a picture of a million goroutines follows no further
//! pointer. Rejected: asking at the time of the dump, which would have to reach into the coroutine of
//! a goroutine that may run meanwhile.

use std::sync::atomic::{AtomicU32, Ordering};

const WORDS: u32 = (1 << 24) - 1;

/// See the module documentation.
pub(crate) struct Note(AtomicU32);

/// Why, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Why {
    Warm = 0,
    AtRest = 1,
    Scope = 2,
    OtherStack = 3,
    Touched = 4,
    Refused = 5,
    Poll = 6,
}

/// Whether a goroutine's stack is at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rest {
    /// Its pages are there: it runs, or has not been parked for long, or there is room.
    Warm,
    /// What is live on it is in a block of the heap.
    AtRest,
    /// Its pages stay, and why.
    Cannot(&'static str),
}

impl Note {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn why(&self, why: Why) {
        let words = self.0.load(Ordering::Relaxed) & WORDS;
        self.0.store((why as u32) << 24 | words, Ordering::Relaxed);
    }

    /// Its stack is at rest, with so many bytes live.
    pub(super) fn at_rest(&self, live_bytes: usize) {
        self.measured(live_bytes);
        self.why(Why::AtRest);
    }

    /// So many bytes were live while it was parked.
    pub(super) fn measured(&self, live_bytes: usize) {
        let words = u32::try_from(live_bytes / 8 + 1).unwrap_or(WORDS).min(WORDS);
        let why = self.0.load(Ordering::Relaxed) & !WORDS;
        self.0.store(why | words, Ordering::Relaxed);
    }

    pub(super) fn cannot(&self, why: Why) {
        self.why(why);
    }

    /// It is on its own stack, if it was not before.
    pub(super) fn on_own_stack(&self) {
        let why = self.0.load(Ordering::Relaxed) >> 24;
        if why == Why::OtherStack as u32 || why == Why::Poll as u32 {
            self.forget();
        }
    }

    /// Nothing keeps it warm any more.
    pub(super) fn forget(&self) {
        self.why(Why::Warm);
    }

    /// For a dump.
    pub(crate) fn read(&self, restable: bool) -> Rest {
        match self.0.load(Ordering::Relaxed) >> 24 {
            1 => Rest::AtRest,
            2 => Rest::Cannot("goroutines of its scope use it"),
            3 => Rest::Cannot("it waits on the stack of with_stack"),
            4 => Rest::Cannot("another thread has touched one started there"),
            5 => Rest::Cannot("the kernel refused: is memory of it locked?"),
            6 => Rest::Cannot("it waits in a poll of block_on"),
            _ if !restable => Rest::Cannot("Builder::restable(false)"),
            _ => Rest::Warm,
        }
    }

    /// What was live when it was looked at last.
    pub(crate) fn live_bytes(&self) -> Option<usize> {
        let words = (self.0.load(Ordering::Relaxed) & WORDS).checked_sub(1)?;
        Some(words as usize * 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_what_was_noted_last() {
        let note = Note::new();
        assert_eq!((note.read(true), note.live_bytes()), (Rest::Warm, None));
        assert!(matches!(note.read(false), Rest::Cannot(why) if why.contains("restable")));
        note.at_rest(640);
        assert_eq!((note.read(true), note.live_bytes()), (Rest::AtRest, Some(640)));
        for why in [Why::Scope, Why::OtherStack, Why::Touched, Why::Refused, Why::Poll] {
            note.cannot(why);
            assert!(matches!(note.read(true), Rest::Cannot(_)), "{why:?}");
        }
        note.on_own_stack();
        assert!(matches!(note.read(true), Rest::Warm));
        note.cannot(Why::Scope);
        note.on_own_stack();
        assert!(matches!(note.read(true), Rest::Cannot(why) if why.contains("scope")));
        note.forget();
        assert_eq!((note.read(true), note.live_bytes()), (Rest::Warm, Some(640)));
    }
}

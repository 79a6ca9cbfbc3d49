//! The words of all stacks and chunks of a region, found by address alone.
//!
//! The handler of a fault knows an address and nothing else, so the words stand in an array beside the
//! region, one per slot and one per chunk. The array is a reservation: what was never at rest costs no
//! page. It lives as long as the region, which is as long as the process.

use super::engine::Engine;
use super::word::{ChunkWord, SlotWord};
use millpond_sys::mem::{Reservation, page_size};
use std::io;
use std::mem::size_of;

/// Words of one region, and the engine that works on them.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) engine: &'static Engine,
    slots: &'static [SlotWord],
    chunks: &'static [ChunkWord],
}

impl Table {
    /// For a region of so many slots and chunks. Never freed.
    pub(crate) fn leak(engine: &'static Engine, slots: usize, chunks: usize) -> io::Result<Self> {
        let slot_bytes = slots * size_of::<SlotWord>();
        let bytes = (slot_bytes + chunks * size_of::<ChunkWord>()).next_multiple_of(page_size());
        let home = Reservation::new(bytes, page_size(), c"millpond rest")?;
        home.open(bytes)?;
        let home = Box::leak(Box::new(home));
        // SAFETY: the reservation is leaked, readable and writable, as large as both arrays, and
        // aligned to a page; both types are atomics of which zeros are a value, and nobody else
        // knows the addresses.
        let (slots, chunks) = unsafe {
            (
                std::slice::from_raw_parts(home.start() as *const SlotWord, slots),
                std::slice::from_raw_parts((home.start() + slot_bytes) as *const ChunkWord, chunks),
            )
        };
        Ok(Self { engine, slots, chunks })
    }

    pub(crate) fn slot(&self, index: usize) -> &'static SlotWord {
        &self.slots[index]
    }

    pub(crate) fn chunk(&self, index: usize) -> &'static ChunkWord {
        &self.chunks[index]
    }
}

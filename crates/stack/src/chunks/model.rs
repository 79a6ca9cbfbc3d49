//! The chunk protocol under every interleaving, by loom.
//!
//! The same source as in production, with two slots per chunk. What the protocol promises is
//! written as plain cells, so that an access which it does not order fails the model: one per
//! slot, which only its holder may touch and whoever closes the chunk; one per chunk, which
//! opening and closing write and holders read.

use super::*;
use millpond_prim::cell::UnsafeCell;
use millpond_prim::sync::Arc;

struct Land {
    left: UnsafeCell<u32>,
    /// Whether the guards are set: written by whoever opens or closes.
    guarded: [UnsafeCell<bool>; 2],
    /// Written by the holder of the slot, and by whoever closes the chunk.
    slots: [[UnsafeCell<u32>; 2]; 2],
}

// SAFETY: loom's cells fail the model on any access that the protocol does not order.
unsafe impl Sync for Land {}

impl Land {
    fn set_guarded(&self, chunk: u32, before: bool) {
        self.guarded[chunk as usize].with_mut(|guarded| {
            // SAFETY: the protocol gives a chunk that moves to one thread; loom checks it.
            let was = unsafe { std::mem::replace(&mut *guarded, !before) };
            assert_eq!(was, before, "chunk {chunk} was opened or closed twice");
        });
    }
}

impl Backing for Land {
    fn grow(&self, _first: u32) -> io::Result<u32> {
        // SAFETY: called with the lock held; loom checks it.
        match self.left.with_mut(|left| std::mem::take(unsafe { &mut *left })) {
            0 => Err(io::ErrorKind::OutOfMemory.into()),
            more => Ok(more),
        }
    }
    fn open(&self, chunk: u32) -> io::Result<()> {
        self.set_guarded(chunk, false);
        Ok(())
    }
    fn close(&self, chunk: u32) -> io::Result<()> {
        for slot in &self.slots[chunk as usize] {
            // SAFETY: nobody holds a slot of a chunk that closes; loom checks it.
            slot.with_mut(|content| unsafe { *content = 0 });
        }
        self.set_guarded(chunk, true);
        Ok(())
    }
}

fn land(total: u32) -> Arc<Chunks<Land>> {
    let cells = || [UnsafeCell::new(0), UnsafeCell::new(0)];
    let land = Land {
        left: UnsafeCell::new(total),
        guarded: [UnsafeCell::new(false), UnsafeCell::new(false)],
        slots: [cells(), cells()],
    };
    Arc::new(Chunks::new(land, 2))
}

/// Uses every slot of a group as its only holder.
fn run_on(chunks: &Chunks<Land>, (chunk, slots): (u32, Mask), mark: u32) {
    let land = chunks.backing();
    // SAFETY: a chunk with a slot out is neither opened nor closed; loom checks it.
    land.guarded[chunk as usize].with(|guarded| assert!(unsafe { *guarded }, "no guard"));
    for slot in (0..2).filter(|slot| slots & (1 << slot) != 0) {
        land.slots[chunk as usize][slot].with_mut(|content| {
            // SAFETY: a slot that is out has one holder; loom checks it.
            unsafe { *content = mark }
        });
    }
}

#[test]
fn two_threads_share_one_chunk_that_closes_under_them() {
    loom::model(|| {
        let chunks = land(1);
        let first = chunks.take().unwrap();
        assert_eq!(first, (0, 0b11));
        let other = {
            let chunks = chunks.clone();
            thread::spawn(move || {
                run_on(&chunks, (0, 0b01), 1);
                chunks.give(&[(0, 0b01)]);
            })
        };
        run_on(&chunks, (0, 0b10), 2);
        chunks.give(&[(0, 0b10)]);
        // One chunk in all: its slots may be out, coming back, or closing right now.
        if let Ok(again) = chunks.take() {
            run_on(&chunks, again, 3);
            chunks.give(&[again]);
        }
        other.join().unwrap();
        chunks.check().unwrap();
        assert_eq!(chunks.count().taken_slots, 0);
        assert_eq!(chunks.count().closed, 1);
    });
}

#[test]
fn two_threads_take_and_give_without_sharing_a_slot() {
    loom::model(|| {
        let chunks = land(2);
        let other = {
            let chunks = chunks.clone();
            thread::spawn(move || {
                let mine = chunks.take().unwrap();
                run_on(&chunks, mine, 1);
                chunks.give(&[mine]);
            })
        };
        let mine = chunks.take().unwrap();
        run_on(&chunks, mine, 2);
        chunks.give(&[(mine.0, 0b01)]);
        run_on(&chunks, (mine.0, 0b10), 3);
        other.join().unwrap();
        chunks.check().unwrap();
        assert_eq!(chunks.count().taken_slots, 1);
    });
}

#[test]
fn a_stack_dropped_elsewhere_comes_back_while_others_take() {
    loom::model(|| {
        let chunks = land(2);
        let held = chunks.take().unwrap();
        let stranger = {
            let chunks = chunks.clone();
            thread::spawn(move || chunks.give(&[held]))
        };
        let taker = {
            let chunks = chunks.clone();
            thread::spawn(move || {
                let mine = chunks.take().unwrap();
                run_on(&chunks, mine, 1);
                mine
            })
        };
        let mine = taker.join().unwrap();
        stranger.join().unwrap();
        chunks.give(&[mine]);
        chunks.check().unwrap();
        assert_eq!(chunks.count().open, 0);
    });
}

/// Two threads hold one half each of a chunk, with whatever their slots contain. The first back finds
/// the other's missing; the last may claim the chunk as it is.
#[test]
fn a_chunk_is_claimed_whole_by_the_last_that_brings_slots_back() {
    fn bring_back(chunks: &Chunks<Land>, slots: Mask, mark: u32) {
        run_on(chunks, (0, slots), mark);
        let (whole, rest) = chunks.claim_whole(&[(0, slots)]);
        chunks.close(&whole);
        chunks.give(&rest);
    }
    loom::model(|| {
        let chunks = land(1);
        chunks.take().unwrap();
        let other = {
            let chunks = chunks.clone();
            thread::spawn(move || bring_back(&chunks, 0b01, 1))
        };
        bring_back(&chunks, 0b10, 2);
        if let Ok(again) = chunks.take() {
            run_on(&chunks, again, 3);
            chunks.give(&[again]);
        }
        other.join().unwrap();
        chunks.check().unwrap();
        assert_eq!((chunks.count().taken_slots, chunks.count().closed), (0, 1));
    });
}

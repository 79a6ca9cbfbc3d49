//! What loom explores: blocks that are one user's at a time, and takes that no give misses.
//!
//! The models drive `State` under its lock, as the handle does, with numbers in place of bytes. A
//! number that two users have at once is a failed model.

use super::state::{Piece, State, Taken};
use loom::sync::Arc;
use loom::thread;
use millpond_prim::sync::Lock;
use millpond_rt::wait::{FutureWait, WaitReason, Waiting};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Blocks {
    state: Lock<State<Arc<Lock<()>>>>,
}

type Bytes = Arc<Lock<()>>;

fn blocks(max: usize, step: usize) -> Arc<Blocks> {
    Arc::new(Blocks { state: Lock::new(State::new(max, step)) })
}

fn settle(blocks: &Blocks, taken: Taken<Bytes>) -> Option<Piece<Bytes>> {
    match taken {
        Taken::Piece(piece) => Some(piece),
        Taken::Empty => None,
        Taken::Grow(count) => {
            let pieces = (0..count).map(|_| Arc::new(Lock::new(()))).collect();
            let (piece, fired, left) = blocks.state.lock().grow(pieces);
            drop((fired, left));
            Some(piece)
        }
    }
}

fn take(blocks: &Blocks) -> Piece<Bytes> {
    let mut state = blocks.state.lock();
    let taken = state.take();
    if let Taken::Empty = taken {
        let waiting = Waiting::begin();
        let key = state.enlist(waiting.ticket());
        drop(state);
        waiting.park(WaitReason::Pool, None);
        return blocks.state.lock().leave(key).expect("handed over");
    }
    drop(state);
    settle(blocks, taken).expect("not empty")
}

fn give(blocks: &Blocks, piece: Piece<Bytes>) {
    let (fired, dead) = blocks.state.lock().give(piece);
    drop((fired, dead));
}

/// Uses a block: alone.
fn use_one(blocks: &Blocks) {
    let piece = take(blocks);
    let alone = piece.bytes.try_lock().expect("a block has one user");
    drop(alone);
    give(blocks, piece);
}

/// Three users, fewer blocks, and a slab that is made while others wait.
#[test]
fn a_block_has_one_user_and_everyone_gets_one() {
    for (max, step) in [(1, 1), (2, 2)] {
        loom::model(move || {
            let blocks = blocks(max, step);
            let others: Vec<_> = (0..2)
                .map(|_| {
                    let blocks = blocks.clone();
                    thread::spawn(move || use_one(&blocks))
                })
                .collect();
            use_one(&blocks);
            for other in others {
                other.join().unwrap();
            }
            let state = blocks.state.lock();
            state.check();
            assert_eq!(state.counts.takes, 3);
            assert_eq!(state.counts.gives, 3);
        });
    }
}

/// The pool is shrunk and closed while it is used: what is out stays whole, and in the end nothing
/// is kept.
#[test]
fn shrinking_and_closing_take_nothing_that_is_out() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    loom::model(|| {
        let blocks = blocks(2, 2);
        let user = {
            let blocks = blocks.clone();
            thread::spawn(move || use_one(&blocks))
        };
        use_one(&blocks);
        for _ in 0..2 {
            let dead = blocks.state.lock().shrink(0.0);
            DROPPED.fetch_add(dead.len(), Ordering::Relaxed);
        }
        let dead = blocks.state.lock().close();
        drop(dead);
        user.join().unwrap();
        let state = blocks.state.lock();
        state.check();
        assert_eq!(state.sizes(), (0, 0, 0));
    });
    assert!(DROPPED.load(Ordering::Relaxed) > 0, "no interleaving shrank a slab away");
}

/// A take in line is dropped while the block comes back, and another waits behind it.
#[test]
fn what_a_dropped_take_was_handed_goes_to_the_next() {
    loom::model(|| {
        let blocks = blocks(1, 1);
        let only = take(&blocks);
        let mut wait = FutureWait::new();
        let key = blocks.state.lock().enlist(wait.arm());
        let waiter = {
            let blocks = blocks.clone();
            thread::spawn(move || use_one(&blocks))
        };
        let holder = {
            let blocks = blocks.clone();
            thread::spawn(move || give(&blocks, only))
        };
        wait.cancel();
        let mut state = blocks.state.lock();
        let given = state.leave(key).map(|piece| state.give(piece));
        drop(state);
        drop(given);
        holder.join().unwrap();
        waiter.join().unwrap();
        blocks.state.lock().check();
    });
}

//! loom: an owner and a claimant never use a cache at once, and each sees what the other did.
//!
//! The cache is a plain cell, so loom reports two uses that are not ordered as a race. The models
//! look at all interleavings of two operations with one claim, and of two owners with one barrier for both; and of
//! two frees with a claimant that takes away what they are about.
//!
//! The first two fail when: the owner makes no barrier, or looks at its cache before it says that it is busy;
//! the claimant
//! makes no barrier, or takes nothing (`claim` the first, `begin_claim` the second); one of `begin`, `end`, `set`
//! and `is_busy` is relaxed, or `is_busy` is never true.

use super::{Turn, heavy_barrier};
use loom::sync::Arc;
use millpond_prim::cell::UnsafeCell;
use millpond_prim::sync::atomic::{AtomicPtr, Ordering};

struct Cell(UnsafeCell<u32>);

// SAFETY: what the models are there to show.
unsafe impl Send for Cell {}
// SAFETY: as above.
unsafe impl Sync for Cell {}

fn add(cell: &Cell) {
    // SAFETY: the protocol; loom checks it.
    cell.0.with_mut(|value| unsafe { *value += 1 });
}

#[test]
fn owner_and_claimant_never_use_a_cache_at_once() {
    loom::model(|| {
        let mine = Arc::new(Cell(UnsafeCell::new(0)));
        let stand_in = std::ptr::null::<Cell>();
        let turn = Arc::new(Turn::new(Arc::as_ptr(&mine)));
        let owner = {
            let (turn, mine) = (turn.clone(), mine.clone());
            loom::thread::spawn(move || {
                let mut done = 0;
                for _ in 0..2 {
                    if !turn.begin().is_null() {
                        add(&mine);
                        done += 1;
                    }
                    turn.end();
                }
                done
            })
        };
        let mut claimed = 0;
        assert!(turn.claim(stand_in));
        if !turn.is_busy() {
            add(&mine);
            claimed = 1;
        }
        turn.set(Arc::as_ptr(&mine));
        let done = owner.join().unwrap();
        // SAFETY: the other thread has ended.
        assert_eq!(mine.0.with(|value| unsafe { *value }), done + claimed);
    });
}

/// The scavenger claims the caches of several threads and makes one barrier for all: the walk of
/// `Threads::with_each_claimed`.
#[test]
fn one_barrier_is_enough_for_the_claims_of_many_caches() {
    loom::model(|| {
        let stand_in = std::ptr::null::<Cell>();
        let caches = [(); 2].map(|()| Arc::new(Cell(UnsafeCell::new(0))));
        let turns = caches.each_ref().map(|cache| Arc::new(Turn::new(Arc::as_ptr(cache))));
        let owners = [0, 1].map(|at| {
            let (turn, cache) = (turns[at].clone(), caches[at].clone());
            loom::thread::spawn(move || {
                let mine = !turn.begin().is_null();
                if mine {
                    add(&cache);
                }
                turn.end();
                u32::from(mine)
            })
        });
        turns.iter().for_each(|turn| turn.begin_claim(stand_in));
        assert!(heavy_barrier());
        let claimed = [0, 1].map(|at| {
            let quiet = !turns[at].is_busy();
            if quiet {
                add(&caches[at]);
            }
            turns[at].set(Arc::as_ptr(&caches[at]));
            u32::from(quiet)
        });
        for (at, owner) in owners.into_iter().enumerate() {
            let done = owner.join().unwrap();
            // SAFETY: its owner has ended.
            assert_eq!(caches[at].0.with(|value| unsafe { *value }), done + claimed[at]);
        }
    });
}

/// A thread frees blocks of a span, and a claimant takes the span away from its cache and goes on to use it, as
/// `central::surrender` and whoever fetches it next. The span is a plain cell.
///
/// Fails when: `begin_at` looks for the owner before it begins.
#[test]
fn what_was_taken_from_a_cache_is_not_freed_to_it() {
    loom::model(|| {
        let (mine, stand_in) = (Arc::new(1u32), 2u32);
        let stand_in = &raw const stand_in;
        let turn = Arc::new(Turn::new(Arc::as_ptr(&mine)));
        let owner = Arc::new(AtomicPtr::new(Arc::as_ptr(&mine).cast_mut()));
        let span = Arc::new(Cell(UnsafeCell::new(0)));
        let freeing = {
            let (turn, owner, span) = (turn.clone(), owner.clone(), span.clone());
            loom::thread::spawn(move || {
                for _ in 0..2 {
                    let (cache, owner) = turn.begin_at(&owner);
                    if std::ptr::eq(cache, owner) {
                        add(&span);
                    }
                    turn.end();
                }
            })
        };
        assert!(turn.claim(stand_in));
        let is_taken = !turn.is_busy();
        if is_taken {
            owner.store(std::ptr::null_mut(), Ordering::Release);
        }
        turn.set(Arc::as_ptr(&mine));
        if is_taken {
            add(&span);
        }
        freeing.join().unwrap();
    });
}

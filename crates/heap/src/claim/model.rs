//! loom: an owner and a claimant never use a cache at once, and each sees what the other did.
//!
//! The cache is a plain cell, so loom reports two uses that are not ordered as a race. The model
//! looks at all interleavings of two operations with one claim.

use super::Turn;
use loom::sync::Arc;
use millpond_prim::cell::UnsafeCell;

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

//! Memory pressure reaches every pool of the process. One test in a program of its own, since all
//! pools of a process are concerned.

use millpond_rt::Context;
use millpond_sync::pool::{Pool, shrink_all};
use std::sync::Arc;

/// Breaks when it is dropped.
struct Brittle;

impl Drop for Brittle {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("a drop broke"));
    }
}

#[test]
fn every_pool_is_asked_and_none_is_kept_alive() {
    assert_eq!(shrink_all(0.0).pools, 0, "no pool yet");
    let witness = Arc::new(());
    let brittle = Pool::new(|| Brittle);
    let numbers = Pool::new(|| 0u64);
    let shared = {
        let witness = witness.clone();
        Pool::new(move || witness.clone())
    };
    let held = numbers.get();
    drop((brittle.get(), numbers.get(), shared.get()));

    let first = shrink_all(0.0);
    assert_eq!((first.pools, first.values), (3, 0), "the first step only marks");
    drop(shared.get());
    let second = shrink_all(0.0);
    assert_eq!(second.values, 1, "of three: one broke, one was used between the steps");
    assert_eq!(second.bytes, 8);
    assert_eq!((brittle.stats().idle, numbers.stats().idle, shared.stats().idle), (0, 0, 1));
    assert_eq!(shrink_all(1.0).values, 1, "marked by the second step");
    assert_eq!(*held, 0);

    let (ctx, cancel) = Context::background().with_cancel();
    let bound = Pool::builder(|| 0u8).context(&ctx).build();
    drop(bound.get());
    cancel.cancel();
    assert_eq!((bound.stats().idle, shrink_all(1.0).values, bound.stats().idle), (1, 1, 0));

    drop((held, shared, brittle, bound));
    assert_eq!(shrink_all(0.0).pools, 1);
    drop(numbers);
    assert_eq!(shrink_all(0.0).pools, 0);
    // The pool's own clone is gone with it.
    assert_eq!(Arc::strong_count(&witness), 1);
}

#[test]
#[should_panic(expected = "keep is 1.5; expected 0.0 to 1.0")]
fn a_share_beyond_all_is_refused() {
    shrink_all(1.5);
}

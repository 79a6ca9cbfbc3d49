//! Snapshots that goroutines, tasks and plain threads read and replace at once.

mod common;

use common::{Goroutines, Runner, Tasks, Threads, runtime};
use millpond_sync::{Cached, Snapshot};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Both halves are always written together.
struct Pair(u64, u64);

/// Writers count up by updates; readers see whole pairs that never go back.
fn no_update_is_lost_and_no_reader_sees_half<R: Runner>(runner: R) {
    const WRITERS: u64 = 3;
    const UPDATES: u64 = 400;
    let snapshot = Arc::new(Snapshot::new(Pair(0, 0)));
    let ended = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = [false, true]
        .into_iter()
        .map(|cached| {
            let (snapshot, ended) = (snapshot.clone(), ended.clone());
            runner.start(async move {
                let mut reader = Cached::new(snapshot.clone());
                let mut last = 0;
                while !ended.load(Ordering::Acquire) {
                    let now = if cached { reader.load().clone() } else { snapshot.load_full() };
                    let Pair(a, b) = *now;
                    assert_eq!(a, b, "a reader saw half of an update");
                    assert!(a >= last, "a reader went back from {last} to {a}");
                    last = a;
                    millpond_rt::yield_async().await;
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let snapshot = snapshot.clone();
            runner.start(async move {
                for _ in 0..UPDATES {
                    // The old value is let go of here, or by its last reader.
                    snapshot.update(|Pair(a, b)| Pair(a + 1, b + 1));
                    millpond_rt::yield_async().await;
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|join| join());
    ended.store(true, Ordering::Release);
    readers.into_iter().for_each(|join| join());
    assert_eq!(snapshot.load().0, WRITERS * UPDATES);
}

#[test]
fn plain_threads() {
    no_update_is_lost_and_no_reader_sees_half(Threads);
}

#[test]
fn goroutines() {
    runtime(2, || no_update_is_lost_and_no_reader_sees_half(Goroutines));
}

#[test]
fn tasks() {
    runtime(2, || no_update_is_lost_and_no_reader_sees_half(Tasks));
}

//! Goroutines that begin, end, take turns, and rest.
//!
//! - `spawn_join`: batches of goroutines that return a number; all are started, then all are joined.
//! - `yield`: goroutines that do nothing but let each other run.
//! - `skynet`: a tree of goroutines, ten children each, a million leaves that return their number; each inner one
//!   returns the sum.
//! - `sleepers`: goroutines that sleep for one span and are gone.
//! - `idle`: goroutines that wait for one wait group; what each adds to the process.

use bench_common::{Args, Outcome, footprint_bytes, per_item_bytes};
use millpond::sync::WaitGroup;
use millpond::{JoinHandle, go, time, yield_now};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn joined(handle: JoinHandle<u64>) -> u64 {
    handle.join().expect("it does not panic")
}

pub(crate) fn spawn_join(args: &Args) -> Outcome {
    let (batches, batch) = (args.get("batches"), args.get("batch"));
    let mut handles = Vec::with_capacity(batch as usize);
    let (began, mut sum) = (Instant::now(), 0);
    for _ in 0..batches {
        handles.extend((0..batch).map(|i| go(move || i)));
        sum += handles.drain(..).map(joined).sum::<u64>();
    }
    Outcome::new(batches * batch, began.elapsed(), sum)
}

pub(crate) fn yields(args: &Args) -> Outcome {
    let (goroutines, each) = (args.get("goroutines"), args.get("each"));
    let turns = move || {
        (0..each).for_each(|_| yield_now());
        each
    };
    let began = Instant::now();
    let handles: Vec<_> = (0..goroutines).map(|_| go(turns)).collect();
    let sum = handles.into_iter().map(joined).sum();
    Outcome::new(goroutines * each, began.elapsed(), sum)
}

fn tree(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let part = leaves / 10;
    let child = |i| go(move || tree(first + i * part, part));
    let children: Vec<_> = (0..10).map(child).collect();
    children.into_iter().map(joined).sum()
}

pub(crate) fn skynet(args: &Args) -> Outcome {
    let leaves = args.get("leaves");
    let began = Instant::now();
    let sum = joined(go(move || tree(0, leaves)));
    Outcome::new(1, began.elapsed(), sum)
}

pub(crate) fn sleepers(args: &Args) -> Outcome {
    let (count, span) = (args.get("count"), Duration::from_millis(args.get("ms")));
    let woken = Arc::new(AtomicU64::new(0));
    let group = WaitGroup::new();
    let began = Instant::now();
    for _ in 0..count {
        let woken = Arc::clone(&woken);
        group.go(move || {
            time::sleep(span);
            woken.fetch_add(1, Ordering::Relaxed);
        });
    }
    group.wait();
    Outcome::new(1, began.elapsed(), woken.load(Ordering::Relaxed))
}

pub(crate) fn idle(args: &Args) -> Outcome {
    let count = args.get("count");
    let (arrived, gate) = (Arc::new(AtomicU64::new(0)), WaitGroup::new());
    gate.add(1);
    let (before, began) = (footprint_bytes(), Instant::now());
    for _ in 0..count {
        let (arrived, gate) = (Arc::clone(&arrived), gate.clone());
        drop(go(move || {
            arrived.fetch_add(1, Ordering::Relaxed);
            gate.wait();
        }));
    }
    while arrived.load(Ordering::Relaxed) < count {
        yield_now();
    }
    let bytes = per_item_bytes(before, count);
    Outcome::new(count, began.elapsed(), arrived.load(Ordering::Relaxed)).with("bytes", bytes)
}

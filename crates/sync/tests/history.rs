//! Several callers at once, of each kind: what they saw must fit together.

#![cfg(not(loom))]

mod common;

use common::{
    BlockingTasks, Futures, GoroutineFutures, Goroutines, Rng, Runner, Tasks, Threads, on_all,
    poll_once, seed,
};
use millpond_sync::chan::{self, Receiver, RecvTimeoutError, SendTimeoutError, Sender};
use millpond_sync::{Mutex, Once, WaitGroup};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// One value: who sent it, and its number among that one's values.
type Item = (usize, u32);

/// Sends `count` values in some mixture of forms; returns the numbers of those that went.
async fn produce<R: Runner>(
    runner: R,
    tx: Sender<Item>,
    me: usize,
    count: u32,
    seed: u64,
) -> Vec<Item> {
    let mut rng = Rng::new(seed ^ me as u64);
    let mut sent = Vec::new();
    for i in 0..count {
        let item = (me, i);
        let went = match rng.below(4) {
            0 => tx.try_send(item).is_ok(),
            1 => match tx.send_timeout(item, Duration::from_micros(rng.below(200) as u64)) {
                Ok(()) => true,
                Err(SendTimeoutError::Timeout(back) | SendTimeoutError::Closed(back)) => {
                    assert_eq!(back, item);
                    false
                }
            },
            _ => runner.send(&tx, item).await.is_ok(),
        };
        if went {
            sent.push(item);
        }
    }
    sent
}

/// How consumers behave.
#[derive(Clone, Copy)]
struct Habits {
    /// Close when this many values have come.
    close_at: usize,
    /// Drop receive futures that may have been handed a value.
    decline: bool,
}

/// Receives until the end in some mixture of forms, giving up now and then.
async fn consume<R: Runner>(runner: R, rx: Receiver<Item>, seed: u64, habits: Habits) -> Vec<Item> {
    let mut rng = Rng::new(seed);
    let mut got = Vec::new();
    loop {
        if got.len() >= habits.close_at {
            rx.close();
        }
        match rng.below(5) {
            0 => got.extend(rx.try_recv().ok()),
            1 => match rx.recv_timeout(Duration::from_micros(rng.below(200) as u64)) {
                Ok(item) => got.push(item),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Closed) => return got,
            },
            2 if habits.decline => got.extend(poll_once(rx.recv_async()).and_then(Result::ok)),
            _ => match runner.recv(&rx).await {
                Ok(item) => got.push(item),
                Err(_) => return got,
            },
        }
    }
}

fn history(producer: impl Runner, consumer: impl Runner, capacity: Option<usize>, habits: Habits) {
    let seed = seed();
    let (tx, rx) = capacity.map_or_else(chan::unbounded, chan::bounded);
    let consumers: Vec<_> =
        (0..3).map(|i| consumer.start(consume(consumer, rx.clone(), seed ^ i, habits))).collect();
    let producers: Vec<_> =
        (0..3).map(|i| producer.start(produce(producer, tx.clone(), i, 300, seed))).collect();
    drop(tx);
    let mut sent: Vec<Item> = producers.into_iter().flat_map(|join| join()).collect();
    drop(rx);
    let mut got = Vec::new();
    for list in consumers.into_iter().map(|join| join()) {
        let mut last = HashMap::new();
        for (from, number) in &list {
            let before = last.insert(*from, *number);
            // A value that was declined comes to its receiver after what that one got meanwhile.
            assert!(
                habits.decline || before.is_none_or(|before| before < *number),
                "values of one sender overtook"
            );
        }
        got.extend(list);
    }
    sent.sort_unstable();
    got.sort_unstable();
    assert_eq!(sent, got, "what was sent is what was received, once each");
}

fn histories(producer: impl Runner, consumer: impl Runner) {
    for capacity in [Some(0), Some(1), Some(3), Some(128), None] {
        for close_at in [50, usize::MAX] {
            history(producer, consumer, capacity, Habits { close_at, decline: false });
            history(producer, consumer, capacity, Habits { close_at, decline: true });
        }
    }
}

#[test]
fn histories_of_threads_fit() {
    histories(Threads, Threads);
}

#[test]
fn histories_of_futures_fit() {
    histories(Futures, Futures);
}

#[test]
fn histories_of_goroutines_fit() {
    on_all(|| histories(Goroutines, Goroutines));
}

#[test]
fn histories_of_goroutines_that_drive_futures_fit() {
    on_all(|| histories(GoroutineFutures, GoroutineFutures));
}

#[test]
fn histories_of_tasks_fit() {
    on_all(|| histories(Tasks, Tasks));
}

#[test]
fn histories_of_different_callers_fit() {
    on_all(|| {
        histories(Goroutines, Tasks);
        histories(Tasks, Threads);
        histories(Threads, Goroutines);
        histories(Futures, BlockingTasks);
        histories(BlockingTasks, GoroutineFutures);
    });
}

/// Members count under a mutex and finish in a group; one of them opens the books first.
fn books<R: Runner>(runner: R) {
    let group = WaitGroup::new();
    let total = Arc::new(Mutex::new(0));
    let (once, opened) = (Arc::new(Once::new()), Arc::new(AtomicUsize::new(0)));
    let members: Vec<_> = (0..8)
        .map(|_| {
            group.add(1);
            let (group, total) = (group.clone(), total.clone());
            let (once, opened) = (once.clone(), opened.clone());
            runner.start(async move {
                once.call_once(|| {
                    std::thread::yield_now();
                    opened.fetch_add(1, Ordering::Relaxed);
                });
                assert_eq!(opened.load(Ordering::Relaxed), 1);
                for _ in 0..200 {
                    let mut guard = if R::ASYNC { total.lock_async().await } else { total.lock() };
                    *guard += 1;
                }
                group.done();
            })
        })
        .collect();
    let waiting = {
        let (group, total) = (group.clone(), total.clone());
        runner.start(async move {
            if R::ASYNC {
                group.wait_async().await;
            } else {
                group.wait();
            }
            *total.try_lock().expect("all members are done")
        })
    };
    assert_eq!(waiting(), 1600);
    members.into_iter().for_each(|join| join());
}

#[test]
fn threads_share_locks_and_groups() {
    books(Threads);
}

#[test]
fn futures_share_locks_and_groups() {
    books(Futures);
}

#[test]
fn goroutines_share_locks_and_groups() {
    on_all(|| books(Goroutines));
    on_all(|| books(GoroutineFutures));
}

#[test]
fn tasks_share_locks_and_groups() {
    on_all(|| books(Tasks));
    on_all(|| books(BlockingTasks));
}

#[test]
fn a_group_counts_members_that_panic() {
    on_all(|| {
        let group = WaitGroup::new();
        group.go(|| std::panic::resume_unwind(Box::new("on purpose")));
        group.go(|| 1);
        group.wait();
    });
}

//! Several callers at once, of each kind: what they saw must fit together.

mod common;

use common::{Futures, Rng, Runner, Threads, poll_once, seed};
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

/// Receives until the end in some mixture of forms, giving up now and then; closes when it has got
/// `close_at` values.
async fn consume<R: Runner>(
    runner: R,
    rx: Receiver<Item>,
    seed: u64,
    close_at: usize,
) -> Vec<Item> {
    let mut rng = Rng::new(seed);
    let mut got = Vec::new();
    loop {
        if got.len() >= close_at {
            rx.close();
        }
        match rng.below(5) {
            0 => got.extend(rx.try_recv().ok()),
            1 => match rx.recv_timeout(Duration::from_micros(rng.below(200) as u64)) {
                Ok(item) => got.push(item),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Closed) => return got,
            },
            2 => got.extend(poll_once(rx.recv_async()).and_then(Result::ok)),
            _ => match runner.recv(&rx).await {
                Ok(item) => got.push(item),
                Err(_) => return got,
            },
        }
    }
}

/// `close_early`: a consumer closes in the middle.
fn history<R: Runner>(runner: R, capacity: Option<usize>, close_early: bool) {
    let seed = seed();
    let (tx, rx) = capacity.map_or_else(chan::unbounded, chan::bounded);
    let close_at = if close_early { 50 } else { usize::MAX };
    let consumers: Vec<_> =
        (0..3).map(|i| runner.start(consume(runner, rx.clone(), seed ^ i, close_at))).collect();
    let producers: Vec<_> =
        (0..3).map(|i| runner.start(produce(runner, tx.clone(), i, 300, seed))).collect();
    drop(tx);
    let mut sent: Vec<Item> = producers.into_iter().flat_map(|join| join()).collect();
    drop(rx);
    let mut got = Vec::new();
    for list in consumers.into_iter().map(|join| join()) {
        let mut last = HashMap::new();
        for (from, number) in &list {
            let before = last.insert(*from, *number);
            assert!(before.is_none_or(|before| before < *number), "values of one sender overtook");
        }
        got.extend(list);
    }
    sent.sort_unstable();
    got.sort_unstable();
    assert_eq!(sent, got, "what was sent is what was received, once each");
}

fn histories<R: Runner>(runner: R) {
    for capacity in [Some(0), Some(1), Some(3), Some(128), None] {
        history(runner, capacity, false);
        history(runner, capacity, true);
    }
}

#[test]
fn histories_of_threads_fit() {
    histories(Threads);
}

#[test]
fn histories_of_futures_fit() {
    histories(Futures);
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

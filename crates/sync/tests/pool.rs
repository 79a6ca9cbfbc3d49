//! Pools under goroutines, tasks and plain threads: one body, three runners.

mod common;

use common::{Goroutines, Runner, Tasks, Threads, runtime};
use millpond_sync::chan;
use millpond_sync::pool::{AtBound, Pool, PoolGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

async fn get<R: Runner, T: Send>(_: R, pool: &Pool<T>) -> PoolGuard<'_, T> {
    if R::ASYNC { pool.get_async().await } else { pool.get() }
}

/// More users than values: each gets one, never more are out than may be, and all come back clean.
fn a_bound_holds_and_everyone_gets_a_turn<R: Runner>(runner: R) {
    const USERS: usize = 8;
    const TURNS: usize = 50;
    const VALUES: usize = 3;
    let pool = Pool::builder(|| 0).reset(|value| {
        *value = 0;
        true
    });
    let pool = pool.bound(VALUES, AtBound::Wait).build();
    let out = Arc::new(AtomicUsize::new(0));
    let users: Vec<_> = (0..USERS)
        .map(|_| {
            let (pool, out) = (pool.clone(), out.clone());
            runner.start(async move {
                for _ in 0..TURNS {
                    let mut value = get(runner, &pool).await;
                    assert!(out.fetch_add(1, Ordering::Relaxed) < VALUES);
                    assert_eq!(std::mem::replace(&mut *value, 1), 0, "it is clean");
                    millpond_rt::yield_async().await;
                    out.fetch_sub(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    users.into_iter().for_each(|join| join());
    let stats = pool.stats();
    assert_eq!((stats.hits + stats.misses, stats.gives), (400, 400));
    assert!(stats.makes <= VALUES as u64 && stats.out == 0, "{stats:?}");
    assert_eq!(stats.idle as u64, stats.makes);
}

/// One holds the only value, another is in line; it gets the value, and after that the place of a
/// value that was taken away.
fn one_who_waits_gets_the_value_or_its_place<R: Runner>(runner: R) {
    let pool = Pool::builder(|| "made").bound(1, AtBound::Wait).build();
    for let_go in [false, true] {
        let mut held = pool.get();
        *held = "given";
        let waiter = {
            let pool = pool.clone();
            runner.start(async move { *get(runner, &pool).await })
        };
        // Seen in line before the value moves: the wait is what is tested.
        while pool.stats().waits < 1 + u64::from(let_go) {
            std::thread::yield_now();
            millpond_rt::yield_now();
        }
        if let_go {
            held.into_inner();
        } else {
            drop(held);
        }
        assert_eq!(waiter(), if let_go { "made" } else { "given" });
    }
}

/// Guards that own their reference go from one to another and come back from there.
fn owned_guards_travel<R: Runner>(runner: R) {
    let pool = Pool::new(|| Box::new(0usize));
    let (tx, rx) = chan::bounded(2);
    let receiver = runner.start(async move {
        let mut sum = 0;
        while let Ok(value) = runner.recv(&rx).await {
            let value: PoolGuard<'static, Box<usize>> = value;
            sum += **value;
        }
        sum
    });
    let sender = {
        let pool = pool.clone();
        runner.start(async move {
            for i in 0..100 {
                let mut value = pool.get();
                **value = i;
                runner.send(&tx, value.into_owned()).await.expect("it is received");
            }
        })
    };
    sender();
    assert_eq!(receiver(), 4950);
    let stats = pool.stats();
    assert_eq!((stats.out, stats.gives), (0, 100));
    assert_eq!(stats.idle as u64, stats.makes);
}

/// Users at work while a governor shrinks all the time: nothing is lost, nothing is used twice.
fn shrinking_takes_nothing_that_is_in_use<R: Runner>(runner: R) {
    let alive = Arc::new(AtomicUsize::new(0));
    struct Alive(Arc<AtomicUsize>, bool);
    impl Drop for Alive {
        fn drop(&mut self) {
            assert!(!self.1, "dropped while in use");
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let pool = {
        let alive = alive.clone();
        Pool::new(move || {
            alive.fetch_add(1, Ordering::Relaxed);
            Alive(alive.clone(), false)
        })
    };
    let users: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            runner.start(async move {
                for _ in 0..200 {
                    let mut value = pool.get();
                    assert!(!std::mem::replace(&mut value.1, true), "two users of one value");
                    millpond_rt::yield_async().await;
                    value.1 = false;
                }
            })
        })
        .collect();
    let mut shrunk = 0;
    for _ in 0..100 {
        shrunk += pool.shrink(0.5);
        millpond_rt::yield_now();
    }
    users.into_iter().for_each(|join| join());
    let stats = pool.stats();
    assert_eq!(alive.load(Ordering::Relaxed), stats.idle);
    assert_eq!((stats.drops, stats.out), (shrunk as u64, 0));
    pool.trim();
    pool.trim();
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

fn all<R: Runner>(runner: R) {
    a_bound_holds_and_everyone_gets_a_turn(runner);
    one_who_waits_gets_the_value_or_its_place(runner);
    owned_guards_travel(runner);
    shrinking_takes_nothing_that_is_in_use(runner);
}

#[test]
fn plain_threads() {
    all(Threads);
}

#[test]
fn goroutines() {
    runtime(2, || all(Goroutines));
}

#[test]
fn goroutines_on_one_p() {
    runtime(1, || all(Goroutines));
}

#[test]
fn tasks() {
    runtime(2, || all(Tasks));
}

#[test]
fn a_plain_thread_and_a_goroutine_serve_each_other() {
    let pool = Pool::builder(|| 0).bound(1, AtBound::Wait).build();
    let theirs = pool.clone();
    let thread = std::thread::spawn(move || {
        for _ in 0..200 {
            *theirs.get() += 1;
        }
    });
    runtime(2, move || {
        for _ in 0..200 {
            *pool.get_timeout(Duration::from_secs(60)).expect("it comes back") += 1;
        }
        // Not joined before the last turn: a join would block the thread of this goroutine.
        while *pool.get() < 400 {
            millpond_rt::yield_now();
        }
    });
    thread.join().unwrap();
}

//! Each lock under several callers at once, of each kind: one body per lock, run by all runners.
//!
//! The bodies use every form (blocking, at once, with time limits, as a future, as a future that is
//! dropped) in a random mixture, and check what the lock promises while they run. A wake-up that is
//! lost is a test that does not end.

#![cfg(not(loom))]

mod common;

use common::{
    BlockingTasks, Futures, GoroutineFutures, Goroutines, Rng, Runner, Tasks, Threads, on_all,
    poll_once, seed,
};
use millpond_rt::yield_now;
use millpond_sync::{
    Barrier, Condvar, Mutex, MutexGuard, OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard,
    Semaphore, SemaphorePermit,
};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const MEMBERS: usize = 6;
const STEPS: usize = 120;

/// Starts this many bodies, each with its number and its own random numbers, and joins them.
fn together<R: Runner, F>(
    runner: R,
    members: usize,
    body: impl Fn(usize, Rng) -> F,
) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let seed = seed();
    let joins: Vec<_> =
        (0..members).map(|me| runner.start(body(me, Rng::new(seed ^ (me as u64) << 32)))).collect();
    joins.into_iter().map(|join| join()).collect()
}

fn short(rng: &mut Rng) -> Duration {
    Duration::from_micros(rng.below(200) as u64)
}

/// Two numbers that are equal whenever nobody writes.
type Pair = (usize, usize);

async fn read<'a, R: Runner>(
    rng: &mut Rng,
    lock: &'a RwLock<Pair>,
) -> Option<RwLockReadGuard<'a, Pair>> {
    match rng.below(6) {
        0 => lock.try_read(),
        1 => lock.read_timeout(short(rng)),
        2 => poll_once(lock.read_async()),
        _ if R::ASYNC => Some(lock.read_async().await),
        _ => Some(lock.read()),
    }
}

async fn write<'a, R: Runner>(
    rng: &mut Rng,
    lock: &'a RwLock<Pair>,
) -> Option<RwLockWriteGuard<'a, Pair>> {
    match rng.below(6) {
        0 => lock.try_write(),
        1 => lock.write_timeout(short(rng)),
        2 => poll_once(lock.write_async()),
        _ if R::ASYNC => Some(lock.write_async().await),
        _ => Some(lock.write()),
    }
}

/// Readers see no write half done, and no write is lost.
fn readers_and_writers<R: Runner>(runner: R) {
    let lock = Arc::new(RwLock::new((0, 0)));
    let wrote: usize = together(runner, MEMBERS, |_, mut rng| {
        let lock = lock.clone();
        async move {
            let mut wrote = 0;
            for _ in 0..STEPS {
                if rng.below(3) > 0 {
                    if let Some(pair) = read::<R>(&mut rng, &lock).await {
                        let before = *pair;
                        yield_now();
                        assert!(before.0 == before.1 && *pair == before, "a write came between");
                    }
                } else if let Some(mut pair) = write::<R>(&mut rng, &lock).await {
                    pair.0 += 1;
                    yield_now();
                    pair.1 += 1;
                    wrote += 1;
                    if rng.below(2) == 0 {
                        let mine = *pair;
                        let pair = RwLockWriteGuard::downgrade(pair);
                        yield_now();
                        assert_eq!(*pair, mine, "somebody wrote after a downgrade");
                    }
                }
            }
            wrote
        }
    })
    .into_iter()
    .sum();
    assert_eq!(lock.try_write().map(|pair| *pair), Some((wrote, wrote)));
}

async fn acquire<'a, R: Runner>(
    rng: &mut Rng,
    semaphore: &'a Semaphore,
    n: u32,
) -> Option<SemaphorePermit<'a>> {
    match rng.below(6) {
        0 => semaphore.try_acquire_many(n).ok(),
        1 => semaphore.acquire_many_timeout(n, short(rng)).ok(),
        2 => poll_once(semaphore.acquire_many_async(n)).and_then(Result::ok),
        _ if R::ASYNC => semaphore.acquire_many_async(n).await.ok(),
        _ => semaphore.acquire_many(n).ok(),
    }
}

/// Never more hold permits than there are, and all come back.
fn permits<R: Runner>(runner: R) {
    const PERMITS: usize = 4;
    let shared = Arc::new((Semaphore::new(PERMITS), AtomicUsize::new(0)));
    let acquired: usize = together(runner, MEMBERS, |_, mut rng| {
        let shared = shared.clone();
        async move {
            let (semaphore, held) = &*shared;
            let mut acquired = 0;
            for _ in 0..STEPS {
                let n = rng.below(PERMITS) + 1;
                let Some(mut permit) = acquire::<R>(&mut rng, semaphore, n as u32).await else {
                    continue;
                };
                acquired += 1;
                assert!(
                    held.fetch_add(n, Ordering::Relaxed) + n <= PERMITS,
                    "too many hold permits"
                );
                yield_now();
                let early = rng.below(n + 1);
                held.fetch_sub(early, Ordering::Relaxed);
                drop(permit.split(early as u32));
                yield_now();
                held.fetch_sub(n - early, Ordering::Relaxed);
            }
            acquired
        }
    })
    .into_iter()
    .sum();
    assert!(acquired >= MEMBERS * STEPS / 3, "those that wait without a limit get their permits");
    assert_eq!(shared.0.available_permits(), PERMITS);
    assert!(shared.0.try_acquire_many(PERMITS as u32).is_ok(), "nobody waits any more");
}

/// A buffer for a few numbers, with a condition variable for each side.
struct Buffer {
    numbers: Mutex<Vec<usize>>,
    not_empty: Condvar,
    not_full: Condvar,
}

impl Buffer {
    const ROOM: usize = 2;

    async fn lock<R: Runner>(&self) -> MutexGuard<'_, Vec<usize>> {
        if R::ASYNC { self.numbers.lock_async().await } else { self.numbers.lock() }
    }

    /// Waits once. A wait that is given up is locked anew, and its condition looked at again.
    async fn wait<'a, R: Runner>(
        &'a self,
        rng: &mut Rng,
        condvar: &'a Condvar,
        guard: MutexGuard<'a, Vec<usize>>,
    ) -> MutexGuard<'a, Vec<usize>> {
        match rng.below(4) {
            0 => condvar.wait_timeout(guard, short(rng)).0,
            1 => match poll_once(condvar.wait_async(guard)) {
                Some(guard) => guard,
                None => self.lock::<R>().await,
            },
            _ if R::ASYNC => condvar.wait_async(guard).await,
            _ => condvar.wait(guard),
        }
    }

    async fn put<R: Runner>(&self, rng: &mut Rng, number: usize) {
        let mut numbers = self.lock::<R>().await;
        while numbers.len() == Self::ROOM {
            numbers = self.wait::<R>(rng, &self.not_full, numbers).await;
        }
        numbers.push(number);
        // With and without the mutex.
        if rng.below(2) == 0 {
            drop(numbers);
        }
        self.not_empty.notify_one();
    }

    async fn take<R: Runner>(&self, rng: &mut Rng) -> usize {
        let mut numbers = self.lock::<R>().await;
        while numbers.is_empty() {
            numbers = self.wait::<R>(rng, &self.not_empty, numbers).await;
        }
        let number = numbers.pop().expect("it is not empty");
        self.not_full.notify_one();
        number
    }
}

/// One notification per number, in each direction: a lost one is a member that waits for ever.
fn conditions<R: Runner>(runner: R) {
    let buffer = Arc::new(Buffer {
        numbers: Mutex::new(Vec::new()),
        not_empty: Condvar::new(),
        not_full: Condvar::new(),
    });
    let mut taken: Vec<_> = together(runner, MEMBERS, |me, mut rng| {
        let buffer = buffer.clone();
        async move {
            let mut taken = Vec::new();
            for i in 0..STEPS {
                if me % 2 == 0 {
                    buffer.put::<R>(&mut rng, me * STEPS + i).await;
                } else {
                    taken.push(buffer.take::<R>(&mut rng).await);
                }
            }
            taken
        }
    })
    .concat();
    taken.sort_unstable();
    let expected: Vec<_> =
        (0..MEMBERS).step_by(2).flat_map(|me| me * STEPS..(me + 1) * STEPS).collect();
    assert_eq!(taken, expected);
}

/// Nobody is in round `n + 1` before all are in round `n`, and each round has one leader.
fn rounds<R: Runner>(runner: R) {
    let shared = Arc::new((Barrier::new(MEMBERS), [const { AtomicUsize::new(0) }; MEMBERS]));
    let led: usize = together(runner, MEMBERS, |me, mut rng| {
        let shared = shared.clone();
        async move {
            let (barrier, rounds) = &*shared;
            let mut led = 0;
            for round in 1..=STEPS {
                // Relaxed: it is the barrier that orders.
                rounds[me].store(round, Ordering::Relaxed);
                // Not with futures that are dropped: one that was counted before could not say so.
                let result = loop {
                    let result = match rng.below(3) {
                        0 => barrier.wait_timeout(short(&mut rng)),
                        _ if R::ASYNC => Some(barrier.wait_async().await),
                        _ => Some(barrier.wait()),
                    };
                    if let Some(result) = result {
                        break result;
                    }
                };
                led += usize::from(result.is_leader());
                for other in rounds {
                    let other = other.load(Ordering::Relaxed);
                    assert!(other == round || other == round + 1, "{other} in round {round}");
                }
            }
            led
        }
    })
    .into_iter()
    .sum();
    assert_eq!(led, STEPS);
}

/// One initialiser counts, after some that do not; all see its value.
fn cells<R: Runner>(runner: R) {
    for _ in 0..STEPS / 4 {
        let shared = Arc::new((OnceCell::new(), AtomicUsize::new(0)));
        let mut seen = together(runner, MEMBERS, |me, mut rng| {
            let shared = shared.clone();
            async move {
                let (cell, runs) = &*shared;
                let run = |fails: bool| {
                    yield_now();
                    if fails {
                        return Err(());
                    }
                    runs.fetch_add(1, Ordering::Relaxed);
                    Ok(me)
                };
                for _ in 0..rng.below(3) {
                    match rng.below(3) {
                        0 => drop(poll_once(cell.get_or_init_async(std::future::pending))),
                        1 if R::ASYNC => drop(cell.get_or_try_init_async(async || run(true)).await),
                        _ => drop(cell.get_or_try_init(|| run(true))),
                    }
                }
                match rng.below(3) {
                    0 if me > 0 && R::ASYNC => *cell.wait_async().await,
                    0 if me > 0 => *cell.wait(),
                    1 if R::ASYNC => {
                        *cell.get_or_try_init_async(async || run(false)).await.unwrap()
                    }
                    _ => *cell.get_or_try_init(|| run(false)).unwrap(),
                }
            }
        });
        assert_eq!(shared.1.load(Ordering::Relaxed), 1, "how many initialisers counted");
        seen.dedup();
        assert_eq!(seen.len(), 1, "all see one value");
    }
}

/// All runners, with the name of a body.
macro_rules! with_all_runners {
    ($($body:ident)*) => {$(
        mod $body {
            use super::*;

            #[test]
            fn of_threads() {
                $body(Threads);
                $body(Futures);
            }

            #[test]
            fn of_goroutines() {
                on_all(|| $body(Goroutines));
                on_all(|| $body(GoroutineFutures));
            }

            #[test]
            fn of_tasks() {
                on_all(|| $body(Tasks));
                on_all(|| $body(BlockingTasks));
            }
        }
    )*};
}

with_all_runners! { readers_and_writers permits conditions rounds cells }

/// A permit that is acquired before its goroutine exists limits how many exist.
#[test]
fn owned_permits_go_into_goroutines() {
    on_all(|| {
        let limit = Arc::new(Semaphore::new(3));
        let running = Arc::new(AtomicUsize::new(0));
        let handles: Vec<_> = (0..30)
            .map(|i| {
                let permit = if i % 2 == 0 {
                    limit.clone().acquire_owned()
                } else {
                    millpond_rt::block_on(limit.clone().acquire_owned_async())
                };
                let running = running.clone();
                millpond_rt::go(move || {
                    assert!(running.fetch_add(1, Ordering::Relaxed) < 3);
                    yield_now();
                    running.fetch_sub(1, Ordering::Relaxed);
                    drop(permit.expect("nobody closes it"));
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        assert_eq!(limit.available_permits(), 3);
    });
}

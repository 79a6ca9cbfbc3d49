//! What loom explores: values that are neither lost nor doubled while shards are shrunk and robbed,
//! leases that stay within the bound, and waits that no give misses.
//!
//! The models drive `Core`, where the protocol is, with the number of the shard in place of an M.

use super::bound::Bound;
use super::core::{AtBound, Core, Enlisted, Got};
use super::shards::{Idle, Shards, Weigh};
use crate::until::Until;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use millpond_rt::wait::FutureWait;

/// A value that notes its drop.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Weigh for Counted {
    fn weight_bytes(&self) -> usize {
        3
    }
}

impl Weigh for u32 {
    fn weight_bytes(&self) -> usize {
        *self as usize
    }
}

fn core<T: Weigh>(max_idle: usize, bound: Option<usize>) -> Arc<Core<T>> {
    Arc::new(Core {
        shards: Shards::new(1, max_idle),
        bound: bound.map(Bound::new),
        at_bound: AtBound::Wait,
    })
}

/// Gets, making what there is a place for.
fn get<T: Weigh>(core: &Core<T>, at: usize, make: impl FnOnce() -> T) -> T {
    let got = core.try_acquire(at).or_else(|| core.wait(at, Until::Forever));
    match got.expect("no time limit") {
        Got::Value(value) => value,
        Got::Place => make(),
    }
}

fn give<T: Weigh>(core: &Core<T>, at: usize, value: T) {
    let rest = core.give(at, value, |counts| counts.gives += 1);
    core.discard(at, rest, |counts| counts.gives += 1);
}

/// One thread takes and gives, one steals from its shard, one shrinks twice: what was made is idle
/// or was dropped, once.
#[test]
fn nothing_is_lost_or_doubled_while_a_pool_is_shrunk() {
    loom::model(|| {
        let (pool, dropped) = (core(8, None), Arc::new(AtomicUsize::new(0)));
        let made = Arc::new(AtomicUsize::new(1));
        give(&pool, 0, Counted(dropped.clone()));
        let users: Vec<_> = [0, 1]
            .into_iter()
            .map(|at| {
                let (pool, dropped, made) = (pool.clone(), dropped.clone(), made.clone());
                thread::spawn(move || {
                    let value = get(&pool, at, || {
                        made.fetch_add(1, Ordering::Relaxed);
                        Counted(dropped)
                    });
                    give(&pool, at, value);
                })
            })
            .collect();
        let shrunk = pool.shrink(0.0).values + pool.shrink(0.0).values;
        for user in users {
            user.join().unwrap();
        }
        pool.shards.check(8);
        let (counts, idle) = pool.shards.sums();
        assert_eq!(counts.drops as usize, shrunk);
        assert_eq!(dropped.load(Ordering::Relaxed), shrunk);
        assert_eq!(made.load(Ordering::Relaxed), idle.values + shrunk);
        assert_eq!(idle.bytes, 3 * idle.values);
    });
}

/// Two shards grow while one place is left: at most so many are kept, and a place that one shard
/// does not use goes to the other.
#[test]
fn leases_never_exceed_what_may_be_idle() {
    loom::model(|| {
        let pool = core::<u32>(1, None);
        let others: Vec<_> = [0, 1]
            .into_iter()
            .map(|at| {
                let pool = pool.clone();
                thread::spawn(move || {
                    give(&pool, at, at as u32);
                    pool.shards.take(at)
                })
            })
            .collect();
        for other in others {
            other.join().unwrap();
        }
        pool.shards.check(1);
        while pool.shards.take(0).is_some() {}
        for at in [0, 1, 0] {
            assert!(pool.shards.give(at, 7, |_| {}).is_ok(), "the place of the other shard");
            assert!(pool.shards.give(1 - at, 7, |_| {}).is_err(), "one place only");
            assert_eq!(pool.shards.take(1), Some(7));
        }
        pool.shards.check(1);
    });
}

/// Three threads share the one value of a bounded pool, in different shards: each gets it, and it
/// is made once.
#[test]
fn a_give_is_never_missed_by_one_who_waits() {
    loom::model(|| {
        let (pool, made) = (core(1, Some(1)), Arc::new(AtomicUsize::new(0)));
        let user = move |pool: Arc<Core<u32>>, made: Arc<AtomicUsize>, at| {
            let value = get(&pool, at, || {
                made.fetch_add(1, Ordering::Relaxed);
                5
            });
            give(&pool, at, value);
        };
        let others: Vec<_> = [0, 1]
            .into_iter()
            .map(|at| {
                let (pool, made) = (pool.clone(), made.clone());
                thread::spawn(move || user(pool, made, at))
            })
            .collect();
        user(pool.clone(), made.clone(), 0);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(made.load(Ordering::Relaxed), 1);
        assert_eq!(pool.shards.sums().1, Idle { values: 1, bytes: 5 });
        pool.shards.check(1);
    });
}

/// A future in line is dropped while the value comes back, and a thread waits behind it: it gets
/// the value, or the place if nothing may be idle.
#[test]
fn what_a_dropped_get_was_handed_goes_to_the_next() {
    for max_idle in [0, 1] {
        loom::model(move || {
            let pool = core::<u32>(max_idle, Some(1));
            assert!(matches!(pool.try_acquire(0), Some(Got::Place)));
            let mut wait = FutureWait::new();
            let Enlisted::Waits(key) = pool.enlist(0, || wait.arm()) else { unreachable!() };
            let waiter = {
                let pool = pool.clone();
                thread::spawn(move || {
                    let value = get(&pool, 1, || 5);
                    give(&pool, 1, value);
                })
            };
            let holder = {
                let pool = pool.clone();
                thread::spawn(move || give(&pool, 0, 5))
            };
            wait.cancel();
            pool.pass_on(0, key);
            holder.join().unwrap();
            waiter.join().unwrap();
            assert!(pool.try_acquire(1).is_some(), "the value, or its place");
        });
    }
}

/// A pool is closed while a value comes back: nothing stays idle.
#[test]
fn a_closed_pool_keeps_nothing() {
    loom::model(|| {
        let (pool, dropped) = (core(2, None), Arc::new(AtomicUsize::new(0)));
        give(&pool, 0, Counted(dropped.clone()));
        let user = {
            let (pool, dropped) = (pool.clone(), dropped.clone());
            thread::spawn(move || give(&pool, 1, Counted(dropped)))
        };
        pool.close();
        user.join().unwrap();
        assert_eq!(pool.shards.sums().1, Idle::default());
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    });
}

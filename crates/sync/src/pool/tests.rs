//! What a pool does step by step, against a model of it, and what hooks that panic leave behind.
//!
//! One thread only: what is concurrent is in `models` and in `tests/pool.rs`. Checked after every
//! step: the piles, the places, the identities of the statistics, and who is alive.

use super::{AtBound, Pool};
use millpond_rt::Context;
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A value that is alive for as long as the count says.
struct Alive(u32, Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says of the same value something else each time: what was said as it came counts until it goes.
fn another_number(_: &Alive) -> usize {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    LAST.fetch_add(8, Ordering::Relaxed)
}

fn counted(bound: Option<(usize, AtBound)>, max_idle: usize) -> (Pool<Alive>, Arc<AtomicUsize>) {
    counted_under(bound, max_idle, None)
}

fn counted_under(
    bound: Option<(usize, AtBound)>,
    max_idle: usize,
    ctx: Option<&Context>,
) -> (Pool<Alive>, Arc<AtomicUsize>) {
    let alive = Arc::new(AtomicUsize::new(0));
    let made = alive.clone();
    let builder = Pool::builder(move || {
        made.fetch_add(1, Ordering::Relaxed);
        Alive(0, made.clone())
    })
    .reset(|value| {
        value.0 = 0;
        true
    })
    .owned_bytes(another_number)
    .max_idle(max_idle);
    let builder = match ctx {
        Some(ctx) => builder.context(ctx),
        None => builder,
    };
    let builder = match bound {
        Some((values, then)) => builder.bound(values, then),
        None => builder,
    };
    (builder.build(), alive)
}

/// How many places of the bound are taken, and how many entries are in line.
fn footprint<T: Send + 'static>(pool: &Pool<T>) -> (usize, usize) {
    pool.core().bound.as_ref().expect("a pool with a bound").footprint()
}

#[derive(Debug, Clone)]
enum Op {
    Get,
    Give(usize),
    Detach(usize),
    Put,
    Shrink(u8),
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => Just(Op::Get),
        5 => any::<usize>().prop_map(Op::Give),
        1 => any::<usize>().prop_map(Op::Detach),
        1 => Just(Op::Put),
        2 => (0u8..=4).prop_map(Op::Shrink),
        1 => any::<bool>().prop_filter_map("rarely", |close| close.then_some(Op::Close)),
    ]
}

/// What a pool is, seen from one thread: two piles and a count of places.
#[derive(Default)]
struct Model {
    live: usize,
    marked: usize,
    out: usize,
    closed: bool,
}

impl Model {
    fn take(&mut self, bound: usize) -> bool {
        if self.live > 0 {
            self.live -= 1;
        } else if self.marked > 0 {
            self.marked -= 1;
        } else if self.out == bound {
            return false;
        }
        self.out += 1;
        true
    }

    fn keep(&mut self, max_idle: usize) {
        if !self.closed && self.live + self.marked < max_idle {
            self.live += 1;
        }
    }
}

proptest! {
    /// Every step of any sequence leaves idle, out and alive as the model has them.
    #[test]
    fn a_pool_is_two_piles_and_a_bound(
        ops in proptest::collection::vec(op(), 1..200),
        bound in 1usize..6,
        max_idle in 0usize..6,
    ) {
        let (pool, alive) = counted(Some((bound, AtBound::Refuse)), max_idle);
        let (mut model, mut out) = (Model::default(), Vec::new());
        for op in ops {
            match op {
                Op::Get => {
                    let got = pool.try_get();
                    prop_assert_eq!(got.is_some(), model.take(bound));
                    if let Some(mut value) = got {
                        prop_assert_eq!(value.0, 0, "what comes out is clean");
                        value.0 = 7;
                        out.push(value);
                    }
                }
                Op::Give(at) | Op::Detach(at) if !out.is_empty() => {
                    let guard = out.swap_remove(at % out.len());
                    model.out -= 1;
                    if matches!(op, Op::Give(_)) {
                        drop(guard);
                        model.keep(max_idle);
                    } else {
                        drop(guard.into_inner());
                    }
                }
                Op::Give(_) | Op::Detach(_) => {}
                Op::Put => {
                    let room = model.live + model.marked + model.out < bound;
                    alive.fetch_add(1, Ordering::Relaxed);
                    pool.put(Alive(9, alive.clone()));
                    if room {
                        model.keep(max_idle);
                    }
                }
                Op::Shrink(quarters) => {
                    let keep = f64::from(quarters) / 4.0;
                    prop_assert_eq!(pool.shrink(keep), model.marked);
                    model.marked = model.live - (model.live as f64 * keep) as usize;
                    model.live -= model.marked;
                }
                Op::Close => {
                    pool.close();
                    (model.live, model.marked, model.closed) = (0, 0, true);
                }
            }
            let stats = pool.stats();
            prop_assert_eq!((stats.idle, stats.out), (model.live + model.marked, model.out));
            prop_assert_eq!(alive.load(Ordering::Relaxed), stats.idle + stats.out);
            prop_assert!(stats.idle_bytes >= stats.idle * size_of::<Alive>());
            prop_assert!(stats.idle > 0 || stats.idle_bytes == 0);
            prop_assert_eq!(footprint(&pool), (stats.idle + stats.out, 0));
            let gone = stats.drops + stats.detached + (stats.idle + stats.out) as u64;
            prop_assert_eq!(stats.makes + stats.puts, gone);
            pool.core().shards.check(max_idle);
        }
        drop(out);
        drop(pool);
        prop_assert_eq!(alive.load(Ordering::Relaxed), 0, "the last handle drops what is idle");
    }
}

#[test]
fn a_hook_that_says_no_or_panics_drops_the_value() {
    let pool = Pool::builder(|| 0)
        .reset(|value| match *value {
            0 => true,
            1 => false,
            _ => std::panic::resume_unwind(Box::new("the hook broke")),
        })
        .bound(1, AtBound::Wait)
        .build();
    for (value, kept) in [(1, 0), (2, 0), (0, 1)] {
        *pool.get() = value;
        assert_eq!((pool.stats().idle, footprint(&pool)), (kept, (kept, 0)));
    }
    assert_eq!((pool.stats().makes, pool.stats().drops, pool.stats().gives), (3, 2, 3));
}

#[test]
fn what_a_value_owns_is_counted_while_it_is_idle() {
    let pool = Pool::builder(|| 0usize)
        .owned_bytes(|value| match *value {
            13 => std::panic::resume_unwind(Box::new("the hook broke")),
            value => value,
        })
        .build();
    let out: Vec<_> = [100, 13, usize::MAX, 1000].map(|value| (value, pool.get())).into();
    for (value, mut guard) in out {
        *guard = value;
        drop(guard);
    }
    let (own, stats) = (size_of::<usize>(), pool.stats());
    // The greatest number adds nothing but what it takes to be that.
    assert_eq!((stats.idle, stats.idle_bytes), (4, (3 * own + 1100).wrapping_add(usize::MAX)));
    assert_eq!(*pool.get(), 1000);
    assert_eq!([pool.get().into_inner(), pool.get().into_inner()], [1000, usize::MAX]);
    assert_eq!((pool.stats().idle, pool.stats().idle_bytes), (2, 2 * own + 100));
}

#[test]
fn a_make_that_panics_leaves_its_place_free() {
    let tries = AtomicUsize::new(0);
    let pool = Pool::builder(move || match tries.fetch_add(1, Ordering::Relaxed) {
        0 => std::panic::resume_unwind(Box::new("cannot be made")),
        n => n,
    })
    .bound(1, AtBound::Wait)
    .build();
    assert!(catch_unwind(AssertUnwindSafe(|| pool.get())).is_err());
    assert_eq!(footprint(&pool), (0, 0));
    assert_eq!(*pool.get(), 1);
}

#[test]
fn beyond_the_bound_values_are_made_and_dropped_when_they_come_back() {
    let (pool, alive) = counted(Some((2, AtBound::Make)), 8);
    let out: Vec<_> = (0..5).map(|_| pool.get()).collect();
    assert_eq!(alive.load(Ordering::Relaxed), 5);
    drop(out);
    assert_eq!((pool.stats().idle, alive.load(Ordering::Relaxed)), (2, 2));
    assert_eq!(footprint(&pool), (2, 0));
}

#[test]
fn a_pool_that_refuses_says_what_to_use() {
    let (pool, _alive) = counted(Some((1, AtBound::Refuse)), 1);
    let _only = pool.get();
    assert!(pool.try_get().is_none() && pool.get_timeout(Duration::MAX).is_none());
    let panic = catch_unwind(AssertUnwindSafe(|| drop(pool.get()))).unwrap_err();
    assert!(panic.downcast_ref::<&str>().unwrap().contains("use try_get"));
    let under = || drop(pool.get_ctx(&Context::background()));
    let panic = catch_unwind(AssertUnwindSafe(under)).unwrap_err();
    assert!(panic.downcast_ref::<&str>().unwrap().contains("use try_get"));
}

#[test]
fn time_outs_and_dropped_futures_leave_no_entry() {
    let (pool, _alive) = counted(Some((1, AtBound::Wait)), 1);
    let only = pool.get();
    for _ in 0..50 {
        assert!(pool.get_timeout(Duration::ZERO).is_none());
        let (ctx, _cancel) = Context::background().with_timeout(Duration::from_micros(50));
        assert!(pool.get_ctx(&ctx).is_err());
        let mut future = Box::pin(pool.get_async());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(future.as_mut().poll(&mut cx).is_pending());
    }
    assert_eq!(footprint(&pool), (1, 0));
    drop(only);
    assert!(pool.get_timeout(Duration::ZERO).is_some());
}

/// A drop that uses the very pool that drops it: no lock is held.
#[test]
fn values_may_use_their_pool_while_they_are_dropped() {
    struct Nosy(Option<Pool<Nosy>>);
    impl Drop for Nosy {
        fn drop(&mut self) {
            if let Some(pool) = self.0.take() {
                pool.put(Nosy(None));
            }
        }
    }
    let pool = Pool::builder(|| Nosy(None)).max_idle(4).build();
    for _ in 0..4 {
        pool.put(Nosy(Some(pool.clone())));
    }
    pool.put(Nosy(Some(pool.clone())));
    assert_eq!((pool.trim(), pool.trim()), (0, 4));
    assert_eq!(pool.stats().idle, 4, "each put another in its place");
    pool.close();
    assert_eq!(pool.stats().idle, 0);
}

/// The end of the context is noticed by whoever comes first, whatever it comes for.
#[test]
fn a_pool_ends_with_its_context_at_the_next_touch() {
    type Touch = fn(&Pool<Alive>, super::PoolGuard<'static, Alive>);
    let touches: [Touch; 6] = [
        |_, out| drop(out),
        |pool, _out| drop(pool.get()),
        |pool, _out| drop(pool.try_get()),
        |pool, out| pool.put(out.into_inner()),
        |pool, _out| assert_eq!(pool.shrink(1.0), 1),
        |pool, _out| {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(Box::pin(pool.get_async()).as_mut().poll(&mut cx).is_ready());
        },
    ];
    for touch in touches {
        let (ctx, cancel) = Context::background().with_cancel();
        let (pool, alive) = counted_under(Some((3, AtBound::Wait)), 3, Some(&ctx));
        let (one, out) = (pool.get(), pool.get().into_owned());
        drop(one);
        assert_eq!((pool.stats().idle, pool.is_closed()), (1, false));
        cancel.cancel();
        assert!(pool.is_closed());
        assert_eq!(pool.stats().idle, 1, "nobody has come yet");
        touch(&pool, out);
        assert_eq!(pool.stats().idle, 0);
        assert_eq!(alive.load(Ordering::Relaxed), pool.stats().out);
        assert_eq!(footprint(&pool), (0, 0));
        let late = pool.get();
        assert_eq!(alive.load(Ordering::Relaxed), 1, "gets make");
        drop(late);
        assert_eq!((alive.load(Ordering::Relaxed), footprint(&pool)), (0, (0, 0)), "gives drop");
    }
}

#[test]
fn a_deadline_ends_a_pool_too() {
    let (ctx, _cancel) = Context::background().with_timeout(Duration::ZERO);
    let (pool, alive) = counted_under(None, 8, Some(&ctx));
    drop(pool.get());
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

/// What a get or a give drops for others must not hit the one that came along.
#[test]
fn drops_that_panic_at_the_end_of_the_context_stay_with_the_pool() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("a drop broke"));
        }
    }
    let (ctx, cancel) = Context::background().with_cancel();
    let pool = Pool::builder(|| Bad).bound(2, AtBound::Wait).context(&ctx).build();
    drop(pool.get());
    assert_eq!(pool.stats().idle, 1);
    cancel.cancel();
    let late = pool.get();
    assert_eq!((pool.stats().idle, footprint(&pool)), (0, (1, 0)));
    std::mem::forget(late.into_inner());
    assert_eq!(footprint(&pool), (0, 0));
}

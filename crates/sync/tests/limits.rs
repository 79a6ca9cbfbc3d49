//! Every form with a limit, `_ctx` and `_timeout`: one body for all of them, run by all kinds of
//! callers.
//!
//! A [`Form`] is an operation that cannot go on until [`Form::open`] lets it. The body tries it
//! under contexts that are done before, that are cancelled while several wait, and whose deadline
//! passes; and then sees that nothing was taken, lost or left in line. "While they wait" is waited
//! for: each wait is registered with its context after it has got in line.
//!
//! Tasks use the async form under `Context::run_until_done`, which is what stands for `_ctx` there.

#![cfg(not(loom))]

mod common;

use common::{BlockingTasks, GoroutineFutures, Goroutines, Runner, Tasks, Threads, on_all};
use millpond_rt::context::ContextError;
use millpond_rt::time::timeout;
use millpond_rt::{Context, yield_now};
use millpond_sync::chan::{self, RecvCtxError, SendCtxError};
use millpond_sync::pool::{AtBound, BlockPool, Workers};
use millpond_sync::{
    AcquireCtxError, Barrier, Condvar, Mutex, OnceCell, Pool, RwLock, Semaphore, WaitGroup,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CANCELLED: ContextError = ContextError::Cancelled;
const LATE: ContextError = ContextError::DeadlineExceeded;
const HOUR: Duration = Duration::from_secs(3600);
const WAITERS: usize = 3;

type Tried = Result<(), ContextError>;
type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One operation that cannot go on.
struct Form {
    name: &'static str,
    under: Box<dyn Fn(&Context) -> Tried + Send + Sync>,
    /// Whether it went on.
    within: Option<Box<dyn Fn(Duration) -> bool + Send + Sync>>,
    future: Box<dyn Fn() -> Wait + Send + Sync>,
    /// Lets it go on, once at least.
    open: Box<dyn Fn() + Send + Sync>,
    /// Asserts that all is as if only those had tried that went on.
    intact: Box<dyn Fn() + Send + Sync>,
}

impl Form {
    fn new(name: &'static str, under: impl Fn(&Context) -> Tried + Send + Sync + 'static) -> Self {
        Self {
            name,
            under: Box::new(under),
            within: None,
            future: Box::new(|| unreachable!("every form has its future")),
            open: Box::new(|| {}),
            intact: Box::new(|| {}),
        }
    }

    fn within(mut self, within: impl Fn(Duration) -> bool + Send + Sync + 'static) -> Self {
        self.within = Some(Box::new(within));
        self
    }

    fn future<F>(mut self, future: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.future = Box::new(move || Box::pin(future()));
        self
    }

    fn open(mut self, open: impl Fn() + Send + Sync + 'static) -> Self {
        self.open = Box::new(open);
        self
    }

    fn intact(mut self, intact: impl Fn() + Send + Sync + 'static) -> Self {
        self.intact = Box::new(intact);
        self
    }
}

/// Tests leak what they share: guards can then be held by closures.
fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// What is held until the form is opened.
fn hold<G: Send + 'static>(guard: G) -> impl Fn() + Send + Sync + 'static {
    let held = std::sync::Mutex::new(Some(guard));
    move || drop(held.lock().unwrap().take())
}

fn mutex() -> Form {
    let lock = leak(Mutex::new(()));
    Form::new("Mutex::lock", |ctx| lock.lock_ctx(ctx).map(drop))
        .within(|limit| lock.lock_timeout(limit).is_some())
        .future(|| async { drop(lock.lock_async().await) })
        .open(hold(lock.lock()))
        .intact(|| assert!(lock.try_lock().is_some()))
}

fn rwlock_read() -> Form {
    let lock = leak(RwLock::new(()));
    Form::new("RwLock::read", |ctx| lock.read_ctx(ctx).map(drop))
        .within(|limit| lock.read_timeout(limit).is_some())
        .future(|| async { drop(lock.read_async().await) })
        .open(hold(lock.write()))
        .intact(|| assert!(lock.try_write().is_some()))
}

fn rwlock_write() -> Form {
    let lock = leak(RwLock::new(()));
    Form::new("RwLock::write", |ctx| {
        let written = lock.write_ctx(ctx).map(drop);
        // A writer that gave up stands in no reader's way (others may still wait).
        if ctx.is_done() {
            drop(lock.read());
        }
        written
    })
    .within(|limit| lock.write_timeout(limit).is_some())
    .future(|| async { drop(lock.write_async().await) })
    .open(hold(lock.read()))
    .intact(|| assert!(lock.try_write().is_some()))
}

/// A semaphore of five, of which two are held: four cannot be had.
fn semaphore(
    name: &'static str,
    under: fn(&Arc<Semaphore>, &Context) -> Result<(), AcquireCtxError>,
    within: fn(&Arc<Semaphore>, Duration) -> bool,
    n: u32,
) -> Form {
    let semaphore = leak(Arc::new(Semaphore::new(5)));
    let held = semaphore.acquire_many(6 - n).unwrap();
    Form::new(name, move |ctx| {
        under(semaphore, ctx).map_err(|error| match error {
            AcquireCtxError::Context(error) => error,
            AcquireCtxError::Closed => panic!("nobody closes it"),
        })
    })
    .within(move |limit| within(semaphore, limit))
    .future(move || async move {
        drop(semaphore.clone().acquire_many_owned_async(n).await.unwrap());
        drop(semaphore.acquire_many_async(n).await.unwrap());
    })
    .open(hold(held))
    .intact(|| {
        assert_eq!(semaphore.available_permits(), 5);
        assert!(semaphore.try_acquire_many(5).is_ok(), "nobody is in line");
    })
}

fn acquire() -> Form {
    let within = |s: &Arc<Semaphore>, limit| s.acquire_timeout(limit).is_ok();
    semaphore("Semaphore::acquire", |s, ctx| s.acquire_ctx(ctx).map(drop), within, 1)
}

fn acquire_many() -> Form {
    let within = |s: &Arc<Semaphore>, limit| s.acquire_many_timeout(4, limit).is_ok();
    semaphore("Semaphore::acquire_many", |s, ctx| s.acquire_many_ctx(ctx, 4).map(drop), within, 4)
}

fn acquire_owned() -> Form {
    let under = |s: &Arc<Semaphore>, ctx: &Context| s.clone().acquire_owned_ctx(ctx).map(drop);
    let within = |s: &Arc<Semaphore>, limit| s.clone().acquire_owned_timeout(limit).is_ok();
    semaphore("Semaphore::acquire_owned", under, within, 1)
}

fn acquire_many_owned() -> Form {
    let under =
        |s: &Arc<Semaphore>, ctx: &Context| s.clone().acquire_many_owned_ctx(ctx, 4).map(drop);
    let within = |s: &Arc<Semaphore>, limit| s.clone().acquire_many_owned_timeout(4, limit).is_ok();
    semaphore("Semaphore::acquire_many_owned", under, within, 4)
}

/// Opening notifies until somebody went on: a notification that nobody waits for is none.
fn condvar_wait() -> Form {
    let (mutex, condvar) = leak((Mutex::new(()), Condvar::new()));
    let notified = leak(AtomicBool::new(false));
    Form::new("Condvar::wait", |ctx| {
        let (guard, result) = condvar.wait_ctx(ctx, mutex.lock());
        assert!(mutex.try_lock().is_none(), "the guard is a guard");
        drop(guard);
        notified.fetch_or(result.is_ok(), Ordering::Relaxed);
        result
    })
    .within(|limit| {
        let went_on = !condvar.wait_timeout(mutex.lock(), limit).1.timed_out();
        notified.fetch_or(went_on, Ordering::Relaxed);
        went_on
    })
    .future(|| async {
        drop(condvar.wait_async(mutex.lock_async().await).await);
        notified.store(true, Ordering::Relaxed);
    })
    .open(|| {
        notified.store(false, Ordering::Relaxed);
        std::thread::spawn(|| {
            while !notified.load(Ordering::Relaxed) {
                condvar.notify_one();
                std::thread::yield_now();
            }
        });
    })
    .intact(|| assert!(mutex.try_lock().is_some()))
}

fn condvar_wait_while() -> Form {
    let (shut, condvar) = leak((Mutex::new(true), Condvar::new()));
    Form::new("Condvar::wait_while", |ctx| {
        let (guard, result) = condvar.wait_while_ctx(ctx, shut.lock(), |shut| *shut);
        assert!(shut.try_lock().is_none(), "the guard is a guard");
        assert!(result.is_err() || !*guard);
        result
    })
    .within(|limit| !condvar.wait_timeout_while(shut.lock(), limit, |shut| *shut).1.timed_out())
    .future(|| async {
        let mut guard = shut.lock_async().await;
        while *guard {
            guard = condvar.wait_async(guard).await;
        }
    })
    .open(|| {
        *shut.lock() = false;
        condvar.notify_all();
    })
    .intact(|| assert!(shut.try_lock().is_some()))
}

fn once_cell() -> Form {
    let cell = leak(OnceCell::new());
    Form::new("OnceCell::wait", |ctx| cell.wait_ctx(ctx).map(|value| assert_eq!(*value, 7)))
        .within(|limit| cell.wait_timeout(limit).is_some())
        .future(|| async { assert_eq!(*cell.wait_async().await, 7) })
        .open(|| _ = cell.set(7))
        .intact(|| assert_eq!(cell.get(), Some(&7)))
}

/// For one more than wait at once. Opening sends in all others.
fn barrier() -> Form {
    let barrier = leak(Barrier::new(WAITERS + 1));
    Form::new("Barrier::wait", |ctx| barrier.wait_ctx(ctx).map(drop))
        .within(|limit| barrier.wait_timeout(limit).is_some())
        .future(|| async { _ = barrier.wait_async().await })
        .open(|| (0..WAITERS).for_each(|_| drop(std::thread::spawn(|| barrier.wait()))))
        .intact(move || assert!(format!("{barrier:?}").contains("arrived: 0"), "{barrier:?}"))
}

fn wait_group() -> Form {
    struct Member(WaitGroup);
    impl Drop for Member {
        fn drop(&mut self) {
            self.0.done();
        }
    }
    let group = leak(WaitGroup::new());
    group.add(1);
    Form::new("WaitGroup::wait", |ctx| group.wait_ctx(ctx))
        .within(|limit| group.wait_timeout(limit))
        .future(|| group.wait_async())
        .open(hold(Member(group.clone())))
}

fn recv() -> Form {
    let (tx, rx) = leak(chan::unbounded());
    Form::new("Receiver::recv", |ctx| {
        let received = rx.recv_ctx(ctx).map(|value| assert_eq!(value, 7));
        received.map_err(|error| match error {
            RecvCtxError::Context(error) => error,
            RecvCtxError::Closed => panic!("nobody closes it"),
        })
    })
    .within(|limit| {
        let at = Instant::now().checked_add(limit);
        let received = rx.recv_timeout(limit);
        // The other time limit cannot go on where this one could not.
        assert!(received.is_ok() || at.is_none_or(|at| rx.recv_deadline(at).is_err()));
        received.is_ok()
    })
    .future(|| async { assert_eq!(rx.recv_async().await, Ok(7)) })
    .open(|| tx.send(7).unwrap())
    .intact(|| assert!(rx.is_empty(), "each that went on took its own"))
}

fn send() -> Form {
    let (tx, rx) = leak(chan::bounded(1));
    tx.send(0).unwrap();
    Form::new("Sender::send", |ctx| match tx.send_ctx(ctx, 1) {
        Ok(()) => Ok(()),
        Err(SendCtxError::Context(value, error)) => {
            assert_eq!(value, 1);
            Err(error)
        }
        Err(SendCtxError::Closed(_)) => panic!("nobody closes it"),
    })
    .within(|limit| {
        let at = Instant::now().checked_add(limit);
        let sent = tx.send_timeout(1, limit);
        assert!(sent.is_ok() || at.is_none_or(|at| tx.send_deadline(1, at).is_err()));
        sent.is_ok()
    })
    .future(|| async { tx.send_async(1).await.unwrap() })
    .open(|| assert!(rx.try_iter().count() <= 1))
    .intact(|| assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1]))
}

fn pool() -> Form {
    let pool = leak(Pool::builder(|| 0).bound(1, AtBound::Wait).build());
    Form::new("Pool::get", |ctx| pool.get_ctx(ctx).map(drop))
        .within(|limit| pool.get_timeout(limit).is_some())
        .future(|| async { drop(pool.get_async().await) })
        .open(hold(pool.get()))
        .intact(|| {
            let stats = pool.stats();
            assert_eq!((stats.makes, stats.idle, stats.out), (1, 1, 0), "{stats:?}");
        })
}

fn block_pool() -> Form {
    let pool = leak(BlockPool::new(16, 1));
    Form::new("BlockPool::take", |ctx| pool.take_ctx(ctx).map(drop))
        .within(|limit| pool.take_timeout(limit).is_some())
        .future(|| async { drop(pool.take_async().await) })
        .open(hold(pool.take()))
        .intact(|| {
            let stats = pool.stats();
            assert_eq!((stats.blocks, stats.idle, stats.out), (1, 1, 0), "{stats:?}");
        })
}

/// One worker, which is busy, and a full queue. Opening ends the job.
fn submit() -> Form {
    let workers = leak(Workers::builder(1).queue(1).build());
    let (gate, shut) = chan::bounded::<()>(0);
    let (started, starts) = chan::bounded(1);
    drop(workers.submit(move || {
        started.send(()).unwrap();
        shut.recv()
    }));
    starts.recv().unwrap();
    let queued = workers.submit(|| ());
    let (ran, went_on) = leak((AtomicUsize::new(0), AtomicUsize::new(0)));
    let job = || ran.fetch_add(1, Ordering::Relaxed);
    Form::new("Workers::submit", move |ctx| {
        workers.submit_ctx(ctx, job)?.join().unwrap();
        went_on.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
    .future(move || async move {
        workers.submit_async(job).await.await.unwrap();
        went_on.fetch_add(1, Ordering::Relaxed);
    })
    .open(move || gate.close())
    .intact(move || {
        workers.shutdown();
        assert!(queued.is_finished());
        assert_eq!(ran.load(Ordering::Relaxed), went_on.load(Ordering::Relaxed));
    })
}

fn join_workers() -> Form {
    let workers = leak(Workers::new(1));
    Form::new("Workers::join", |ctx| workers.join_ctx(ctx))
        .future(|| workers.join_async())
        .open(|| workers.close())
}

const FORMS: [fn() -> Form; 18] = [
    mutex,
    rwlock_read,
    rwlock_write,
    acquire,
    acquire_many,
    acquire_owned,
    acquire_many_owned,
    condvar_wait,
    condvar_wait_while,
    once_cell,
    barrier,
    wait_group,
    recv,
    send,
    pool,
    block_pool,
    submit,
    join_workers,
];

/// Tries the form as this kind of caller does.
fn start<R: Runner>(
    runner: R,
    form: &Arc<Form>,
    ctx: &Context,
) -> Box<dyn FnOnce() -> Tried + Send> {
    let (form, ctx) = (form.clone(), ctx.clone());
    runner.start(async move {
        if R::ASYNC { ctx.run_until_done((form.future)()).await } else { (form.under)(&ctx) }
    })
}

/// Tries it with a time limit instead; whether it went on.
fn start_within<R: Runner>(
    runner: R,
    form: &Arc<Form>,
    limit: Duration,
) -> Box<dyn FnOnce() -> Option<bool> + Send> {
    let form = form.clone();
    runner.start(async move {
        if R::ASYNC {
            return Some(timeout(limit, (form.future)()).await.is_ok());
        }
        form.within.as_ref().map(|within| within(limit))
    })
}

/// Contexts that are done, each with its reason.
fn done() -> [(Context, ContextError); 2] {
    let (cancelled, cancel) = Context::background().with_cancel();
    cancel.cancel();
    let (late, _cancel) = Context::background().with_timeout(Duration::ZERO);
    [(cancelled, CANCELLED), (late, LATE)]
}

fn limits<R: Runner>(runner: R, form: fn() -> Form) {
    let form = Arc::new(form());
    let name = form.name;
    for (ctx, why) in done() {
        assert_eq!(start(runner, &form, &ctx)(), Err(why), "{name}: done before");
    }
    for _ in 0..3 {
        let (above, cancel) = Context::background().with_cancel();
        let (ctx, _cancel) = above.with_timeout(HOUR);
        let waiters: Vec<_> = (0..WAITERS).map(|_| start(runner, &form, &ctx)).collect();
        while ctx.waiters() < WAITERS {
            yield_now();
        }
        cancel.cancel();
        for join in waiters {
            assert_eq!(join(), Err(CANCELLED), "{name}: cancelled meanwhile");
        }
        let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
        assert_eq!(start(runner, &form, &ctx)(), Err(LATE), "{name}: a deadline meanwhile");
        assert_eq!((above.waiters(), ctx.waiters()), (0, 0), "{name}: left behind");
        for limit in [Duration::ZERO, Duration::from_millis(1)] {
            assert_ne!(start_within(runner, &form, limit)(), Some(true), "{name}: timed out");
        }
    }
    (form.open)();
    for (ctx, why) in done() {
        assert_eq!(start(runner, &form, &ctx)(), Err(why), "{name}: done before, though possible");
    }
    let (ctx, _cancel) = Context::background().with_timeout(HOUR);
    assert_eq!(start(runner, &form, &ctx)(), Ok(()), "{name}: possible");
    assert_eq!(ctx.waiters(), 0, "{name}: left behind by one that went on");
    if R::ASYNC || form.within.is_some() {
        (form.open)();
        assert_eq!(start_within(runner, &form, HOUR)(), Some(true), "{name}: possible in time");
    }
    (form.intact)();
}

fn all<R: Runner>(runner: R) {
    on_all(move || {
        for form in FORMS {
            limits(runner, form);
        }
    });
}

#[test]
fn limits_hold_for_goroutines() {
    all(Goroutines);
}

#[test]
fn limits_hold_for_tasks() {
    all(Tasks);
}

#[test]
fn limits_hold_for_plain_threads() {
    all(Threads);
}

#[test]
fn limits_hold_for_tasks_that_block_and_goroutines_that_await() {
    all(BlockingTasks);
    all(GoroutineFutures);
}

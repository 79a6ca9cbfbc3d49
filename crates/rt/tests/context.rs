//! Contexts and ticks with a scheduler: goroutines and tasks wait, on one P and on several.
//!
//! Nothing here waits for a time to be over that is not itself the subject; a limit that must not
//! be reached is an hour away.

use millpond_rt::context::{ContextError, Key};
use millpond_rt::time::{Instant, Ticker, after, sleep_ctx};
use millpond_rt::wait::WaitReason;
use millpond_rt::{
    Builder, Context, JoinHandle, block_on, block_on_ctx, blocking_ctx, go, goroutines, spawn,
    yield_now,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

const FAR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(2);

/// On one P and on two.
fn run(body: impl Fn() + Send + Sync + 'static) {
    let body = Arc::new(body);
    for procs in [1, 2] {
        let body = body.clone();
        Builder::new().procs(procs).private().run(move || body()).unwrap();
    }
}

/// Until some goroutine waits for this reason.
fn until_one_waits(reason: WaitReason) {
    while !goroutines().iter().any(|g| g.reason == reason) {
        yield_now();
    }
}

#[test]
fn a_cancellation_wakes_goroutines_and_tasks() {
    run(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let goroutine = {
            let ctx = ctx.clone();
            go(move || ctx.done().wait())
        };
        let task = {
            let ctx = ctx.with_timeout(FAR).0;
            spawn(async move { ctx.done().await })
        };
        until_one_waits(WaitReason::Context);
        cancel.cancel();
        assert_eq!(goroutine.join().unwrap(), ContextError::Cancelled);
        assert_eq!(task.join().unwrap(), ContextError::Cancelled);
    });
}

#[test]
fn a_deadline_ends_the_waits_of_goroutines_and_tasks_without_a_cancellation() {
    run(|| {
        let (ctx, _cancel) = Context::background().with_timeout(SOON);
        let child = ctx.with_timeout(FAR).0;
        let task = {
            let ctx = child.clone();
            spawn(async move { ctx.done().await })
        };
        assert_eq!(child.done().wait(), ContextError::DeadlineExceeded);
        assert_eq!(task.join().unwrap(), ContextError::DeadlineExceeded);
        assert!(Instant::now() >= ctx.deadline().unwrap());
    });
}

#[test]
fn a_goroutine_is_cancelled_in_the_middle_of_its_sleep() {
    run(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let sleeper = {
            let ctx = ctx.clone();
            go(move || sleep_ctx(&ctx, FAR))
        };
        until_one_waits(WaitReason::Sleep);
        cancel.cancel();
        assert_eq!(sleeper.join().unwrap(), Err(ContextError::Cancelled));
        assert_eq!(sleep_ctx(&ctx, Duration::ZERO), Err(ContextError::Cancelled));
    });
}

#[test]
fn values_and_cancellation_travel_with_the_request() {
    struct RequestId;
    impl Key for RequestId {
        type Value = u64;
    }
    run(|| {
        let (root, cancel) = Context::background().with_cancel();
        let requests: Vec<_> = (0..100)
            .map(|id| {
                let ctx = root.with_value::<RequestId>(id).with_timeout(FAR).0;
                go(move || (ctx.done().wait(), *ctx.value::<RequestId>().unwrap()))
            })
            .collect();
        cancel.cancel();
        for (id, request) in (0..).zip(requests) {
            assert_eq!(request.join().unwrap(), (ContextError::Cancelled, id));
        }
    });
}

#[test]
fn joins_that_the_context_ended_leave_the_handle_usable() {
    run(|| {
        type Start = fn(Context) -> JoinHandle<ContextError>;
        let goroutine: Start = |end| go(move || end.done().wait());
        let task: Start = |end| spawn(async move { end.done().await });
        for start in [goroutine, task] {
            let (ctx, cancel) = Context::background().with_cancel();
            let (end, ending) = Context::background().with_cancel();
            let mut handle = start(end);
            let canceller = go(move || {
                until_one_waits(WaitReason::Join);
                cancel.cancel();
            });
            assert_eq!(handle.join_ctx(&ctx).unwrap_err(), ContextError::Cancelled);
            canceller.join().unwrap();
            assert!(handle.join_ctx(&ctx).is_err(), "done before: not even tried");
            ending.cancel();
            let result = handle.join_ctx(&Context::background()).unwrap();
            assert_eq!(result.unwrap(), ContextError::Cancelled);
        }
    });
}

#[test]
fn a_join_within_the_context_gives_the_result() {
    run(|| {
        let (ctx, _cancel) = Context::background().with_timeout(FAR);
        assert_eq!(go(|| 7).join_ctx(&ctx).unwrap().unwrap(), 7);
        assert_eq!(spawn(async { 8 }).join_ctx(&ctx).unwrap().unwrap(), 8);
        assert!(go(|| panic!("meant")).join_ctx(&ctx).unwrap().unwrap_err().is_panic());
    });
}

#[test]
fn ticks_come_in_order_and_each_goes_to_one() {
    run(|| {
        let ticker = Arc::new(Ticker::new(SOON));
        let start = Instant::now();
        let goroutine = {
            let ticker = ticker.clone();
            go(move || [(); 3].map(|()| ticker.tick()))
        };
        let task = {
            let ticker = ticker.clone();
            spawn(async move {
                let mut ticks = Vec::new();
                for _ in 0..3 {
                    ticks.push(ticker.tick_async().await);
                }
                ticks
            })
        };
        let mut all = goroutine.join().unwrap().to_vec();
        all.extend(task.join().unwrap());
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 6, "no tick twice");
        assert!(all[0] > start);
        let phase = |tick: &Instant| (*tick - all[0]).as_nanos() % SOON.as_nanos();
        assert!(all.iter().all(|tick| phase(tick) == 0), "ticks keep their phase");
    });
}

#[test]
fn a_reset_and_a_stop_reach_those_who_wait_for_a_tick() {
    run(|| {
        let ticker = Arc::new(Ticker::new(FAR));
        let goroutine = {
            let ticker = ticker.clone();
            go(move || ticker.tick())
        };
        until_one_waits(WaitReason::Sleep);
        ticker.stop();
        let task = {
            let ticker = ticker.clone();
            spawn(async move { ticker.tick_async().await })
        };
        assert_eq!(ticker.try_tick(), None);
        let before = Instant::now();
        ticker.reset(SOON);
        assert!(goroutine.join().unwrap() > before);
        assert!(task.join().unwrap() > before);
    });
}

#[test]
fn after_is_reached_once_and_stays_reached() {
    run(|| {
        let due = after(SOON);
        assert_eq!(due.wait(), due.deadline());
        assert_eq!(due.wait(), due.deadline());
        assert!(Instant::now() >= due.deadline());
        let began = Instant::now();
        assert!(block_on(after(SOON)) >= began + SOON);
    });
}

#[test]
fn a_future_under_a_context_is_dropped_when_that_ends() {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    run(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let dropped = Arc::new(AtomicBool::new(false));
        let task = {
            let (ctx, dropped) = (ctx.clone(), Dropped(dropped.clone()));
            spawn(async move {
                let endless = async move {
                    let _dropped = dropped;
                    std::future::pending::<()>().await;
                };
                ctx.run_until_done(endless).await
            })
        };
        let blocked = {
            let ctx = ctx.clone();
            go(move || block_on_ctx(&ctx, std::future::pending::<()>()))
        };
        until_one_waits(WaitReason::BlockOn);
        cancel.cancel();
        assert_eq!(task.join().unwrap(), Err(ContextError::Cancelled));
        assert_eq!(blocked.join().unwrap(), Err(ContextError::Cancelled));
        assert!(dropped.load(Ordering::Relaxed));
        let untouched = std::future::poll_fn(|_| -> Poll<()> { panic!("polled after the end") });
        assert_eq!(block_on(ctx.run_until_done(untouched)), Err(ContextError::Cancelled));
    });
}

#[test]
fn a_job_that_the_context_left_behind_goes_on_to_its_end() {
    run(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let (ended, end) = std::sync::mpsc::channel();
        let (go_on, wait) = std::sync::mpsc::channel();
        let waiting = {
            let ctx = ctx.clone();
            go(move || {
                blocking_ctx(&ctx, move || {
                    wait.recv().unwrap();
                    ended.send(()).unwrap();
                })
            })
        };
        until_one_waits(WaitReason::Blocking);
        cancel.cancel();
        assert_eq!(waiting.join().unwrap(), Err(ContextError::Cancelled));
        go_on.send(()).unwrap();
        end.recv().unwrap();
        assert_eq!(blocking_ctx(&ctx, || panic!("not run")), Err(ContextError::Cancelled));
        assert_eq!(blocking_ctx(&Context::background(), || 7), Ok(7));
    });
}

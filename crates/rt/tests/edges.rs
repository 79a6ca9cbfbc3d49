//! The edges: the end of a runtime under every kind of waiter, user code that panics inside the
//! scheduler, Ms that are away. Each of these was once a hang or worse.

use millpond_rt::time::{Instant, sleep, sleep_async};
use millpond_rt::wait::{WaitReason, Waiting};
use millpond_rt::{Builder, GoBuilder, JoinHandle, block_on, go, go_local, spawn, yield_now};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

fn run<T: Send + 'static>(procs: usize, body: impl FnOnce() -> T + Send + 'static) -> T {
    Builder::new().procs(procs).private().run(body).expect("the runtime starts")
}

#[test]
fn tasks_of_a_runtime_that_ends_are_dropped_and_answer_cancelled() {
    for procs in [1, 2, 8] {
        let held = Arc::new(());
        let theirs = held.clone();
        let (pending, queued) = run(procs, move || {
            let pending = spawn(async move {
                sleep_async(HOUR).await;
                drop(theirs);
            });
            (0..5).for_each(|_| yield_now());
            (pending, spawn(async {}))
        });
        assert!(pending.join().unwrap_err().is_cancelled());
        // Polled in time or cancelled: an answer either way, and no panic, no hang.
        if let Err(error) = queued.join() {
            assert!(error.is_cancelled());
        }
        assert_eq!(Arc::strong_count(&held), 1, "the pending future was dropped");
    }
}

#[test]
fn a_sleep_outlives_the_runtime_that_had_its_timer() {
    let (began, may_begin) = mpsc::channel::<()>();
    let sleeper = std::thread::spawn(move || {
        may_begin.recv().unwrap();
        let start = Instant::now();
        block_on(sleep_async(Duration::from_millis(50)));
        start.elapsed()
    });
    Builder::new()
        .procs(1)
        .run(move || {
            began.send(()).unwrap();
            sleep(Duration::from_millis(10));
        })
        .unwrap();
    assert!(sleeper.join().unwrap() >= Duration::from_millis(50));
}

#[test]
fn the_last_goroutine_may_be_woken_by_a_thread_that_outlives_the_runtime() {
    for _ in 0..300 {
        let waker_thread = run(1, || {
            let mut thread = None;
            block_on(std::future::poll_fn(|cx| {
                if thread.is_some() {
                    return Poll::Ready(());
                }
                let waker = cx.waker().clone();
                thread = Some(std::thread::spawn(move || waker.wake()));
                Poll::Pending
            }));
            thread.unwrap()
        });
        waker_thread.join().unwrap();
    }
}

#[test]
fn a_closure_whose_drop_joins_does_not_stop_the_end() {
    struct JoinsInDrop(Option<JoinHandle<()>>);
    impl Drop for JoinsInDrop {
        fn drop(&mut self) {
            assert!(self.0.take().unwrap().join().unwrap_err().is_cancelled());
        }
    }
    for procs in [1, 2] {
        run(procs, || {
            let parked = go_parked();
            let guard = JoinsInDrop(Some(parked));
            drop(GoBuilder::new().local().go(move || drop(guard)));
        });
    }
}

fn go_parked() -> JoinHandle<()> {
    let parked = GoBuilder::new().local().go(|| sleep(HOUR));
    (0..3).for_each(|_| yield_now());
    parked
}

#[test]
fn a_goroutine_spread_at_the_end_answers_cancelled() {
    let (late, handles) = mpsc::channel();
    run(2, move || {
        let (started, is_started) = mpsc::channel();
        drop(go(move || {
            started.send(()).unwrap();
            // Blocks its thread until the runtime is over.
            std::thread::sleep(Duration::from_millis(100));
            let spread: Vec<_> = (0..4).map(|_| GoBuilder::new().spread().go(|| ())).collect();
            late.send(spread).unwrap();
        }));
        is_started.recv().unwrap();
    });
    for handle in handles.recv().unwrap() {
        assert!(handle.join().unwrap_err().is_cancelled());
    }
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose, in a waker");
        }
    }
    run(1, || {
        let neighbour = go(|| {
            sleep(Duration::from_millis(20));
            7
        });
        let mut sleep = pin!(sleep_async(Duration::from_millis(5)));
        let waker: Waker = Arc::new(Panics).into();
        assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(neighbour.join().unwrap(), 7);
    });
}

/// What a waker's drop does is done where its future is dropped, and not by a timer, the scheduler or sysmon.
#[test]
fn a_waker_whose_drop_panics_is_dropped_with_its_future() {
    struct Angry;
    impl Wake for Angry {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Angry {
        fn drop(&mut self) {
            panic!("on purpose, in the drop of a waker");
        }
    }
    run(1, || {
        let mut sleep = Box::pin(sleep_async(Duration::from_millis(5)));
        let waker = Waker::from(Arc::new(Angry));
        assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(sleep)));
        assert!(dropped.is_err());
        // Its timer comes due, on a scheduler that is busy and on one that sleeps.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(10) {
            yield_now();
        }
        millpond_rt::time::sleep(Duration::from_millis(1));
    });
}

/// A backtrace needs more room than a small stack has.
#[test]
fn a_waker_that_panics_at_the_end_of_a_first_run_has_room_for_its_report() {
    const NAME: &str = "a_waker_that_panics_at_the_end_of_a_first_run_has_room_for_its_report";
    if std::env::var_os("RUST_BACKTRACE").is_none_or(|style| style != "1") {
        let me = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(me);
        let run = child.args(["--exact", NAME]).env("RUST_BACKTRACE", "1").output().unwrap();
        assert!(run.status.success(), "{run:?}");
        return;
    }
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose, in a waker");
        }
    }
    run(1, || {
        let waker = Waker::from(Arc::new(Panics));
        let mut handle = GoBuilder::new().stack_size(16 << 10).go(|| ());
        let polled = std::pin::Pin::new(&mut handle).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        while !handle.is_finished() {
            yield_now();
        }
        assert_eq!(go(|| 1).join().unwrap(), 1);
    });
}

/// What does not fit into the ring goes elsewhere, half a ring at a time, on the stack of who started it.
#[test]
fn more_than_a_ring_holds_is_started_on_a_small_stack() {
    let started = run(1, || {
        let maker = GoBuilder::new().stack_size(16 << 10).go(|| {
            let used = [1u8; 5 << 10];
            std::hint::black_box(&used);
            let handles: Vec<_> = (0..3_000u64).map(|i| go(move || i)).collect();
            std::hint::black_box(&used);
            handles
        });
        maker.join().unwrap().into_iter().map(|handle| handle.join().unwrap()).sum::<u64>()
    });
    assert_eq!(started, (0..3_000).sum());
}

#[test]
fn drops_that_panic_with_payloads_that_panic_harm_nobody_else() {
    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("on purpose, in a payload's drop");
            }
        }
    }
    struct Captured;
    impl Drop for Captured {
        fn drop(&mut self) {
            std::panic::panic_any(Payload);
        }
    }
    run(1, || {
        let captured = Captured;
        let aborted = go(move || std::mem::forget(captured));
        aborted.abort();
        assert!(aborted.join().unwrap_err().is_cancelled());
        // A result that nobody wants, dropped by the scheduler.
        drop(go(|| Captured));
        assert_eq!(go(|| 1).join().unwrap(), 1);
    });
}

#[test]
fn a_wait_can_only_be_parked_by_the_goroutine_that_began_it() {
    run(1, || {
        let waiting = Waiting::begin();
        let thief = go_local(move || {
            waiting.park(WaitReason::Select, None);
        });
        // Its own goroutine cannot wait for anything else meanwhile, so it looks.
        while !thief.is_finished() {
            yield_now();
        }
        let error = thief.join().unwrap_err();
        assert!(error.to_string().contains("another goroutine began this wait"));
    });
}

#[test]
fn timers_of_an_m_that_computes_are_fired_by_another() {
    run(2, || {
        let (woke, when) = mpsc::channel();
        let start = Instant::now();
        drop(spawn(async move {
            sleep_async(Duration::from_millis(20)).await;
            woke.send(start.elapsed()).unwrap();
        }));
        (0..3).for_each(|_| yield_now());
        // Computes until the task has answered: only another M can have woken it.
        loop {
            match when.try_recv() {
                Ok(slept) => break assert!(slept >= Duration::from_millis(20)),
                Err(_) => assert!(start.elapsed() < Duration::from_secs(120), "nobody fired it"),
            }
        }
    });
}

#[test]
fn run_is_refused_inside_a_goroutine() {
    let error = run(1, || go(|| Builder::new().run(|| ())).join().map(drop).unwrap_err());
    assert!(error.to_string().contains("called from a goroutine"));
}

/// Its drop waits, as one that locks or sends may.
struct WaitsInDrop(mpsc::Sender<()>);

impl Drop for WaitsInDrop {
    fn drop(&mut self) {
        block_on(sleep_async(Duration::from_millis(5)));
        let _ = self.0.send(());
    }
}

#[test]
fn drops_that_wait_park_a_goroutine_and_not_the_scheduler() {
    let (done, dropped) = mpsc::channel();
    run(1, move || {
        let (result, closure) = (WaitsInDrop(done.clone()), WaitsInDrop(done));
        drop(go(move || result));
        let aborted = go(move || drop(closure));
        aborted.abort();
        assert!(aborted.join().unwrap_err().is_cancelled());
        (0..2).for_each(|_| {
            while dropped.try_recv().is_err() {
                yield_now();
            }
        });
    });
}

#[test]
fn a_closure_whose_drop_sleeps_does_not_stop_the_end() {
    let (done, dropped) = mpsc::channel();
    run(1, move || {
        let closure = WaitsInDrop(done);
        drop(GoBuilder::new().local().go(move || {
            // It may have its turn before the runtime has ended; then it must not sleep in there.
            closure.0.send(()).unwrap();
            std::mem::forget(closure);
        }));
    });
    dropped.recv().expect("the closure was dropped, and its sleep ended");
}

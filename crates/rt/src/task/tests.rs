//! Tasks against the end of their runtime: whatever they were doing, they are dropped, their
//! handles answer, and nothing that is left of them keeps the runtime.
//!
//! That a runtime has been freed is seen by a weak reference; a test whose runtime is kept hangs.

use super::spawn;
use crate::m::CurrentM;
use crate::sched::Sched;
use crate::{Builder, JoinHandle, yield_now};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};

fn run<T: Send + 'static>(procs: usize, body: impl FnOnce() -> T + Send + 'static) -> T {
    Builder::new().procs(procs).private().run(body).expect("the runtime starts")
}

fn runtime() -> Weak<Sched> {
    let m = CurrentM::get().expect("inside");
    Arc::downgrade(&m.sched().keep_alive())
}

/// Hangs if something keeps it. (Its threads may hold it for a moment longer.)
fn wait_until_freed(runtime: &Weak<Sched>) {
    while runtime.strong_count() > 0 {
        std::thread::yield_now();
    }
}

/// How many tasks are registered, on all Ms.
fn registered() -> usize {
    let m = CurrentM::get().expect("inside");
    m.sched().ms().iter().map(|m| m.tasks.lock().len()).sum()
}

/// Waits for ever and gives its waker away.
fn give_waker(to: Arc<Mutex<Option<Waker>>>) -> impl Future<Output = ()> + Send {
    poll_fn(move |cx| {
        *to.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    })
}

#[test]
fn only_a_task_that_waits_is_registered_and_only_until_its_end() {
    run(1, || {
        for task in (0..100).map(|i| spawn(async move { i })).collect::<Vec<_>>() {
            task.join().unwrap();
        }
        assert_eq!(registered(), 0);
        let given = Arc::new(Mutex::new(None));
        let waits = spawn(give_waker(given.clone()));
        while given.lock().unwrap().is_none() {
            yield_now();
        }
        // The waker is there before the poll has ended.
        while registered() == 0 {
            yield_now();
        }
        // A second wait needs no second place.
        given.lock().unwrap().take().expect("given").wake();
        while given.lock().unwrap().is_none() {
            yield_now();
        }
        assert_eq!(registered(), 1);
        waits.abort();
        assert!(waits.join().unwrap_err().is_cancelled());
        assert_eq!(registered(), 0);
    });
}

#[test]
fn a_task_that_is_aborted_before_its_first_poll_is_never_registered() {
    let held = Arc::new(());
    let theirs = held.clone();
    let runtime = run(1, move || {
        let task = spawn(async move {
            pending::<()>().await;
            drop(theirs);
        });
        task.abort();
        assert!(task.join().unwrap_err().is_cancelled());
        assert_eq!(registered(), 0);
        runtime()
    });
    assert_eq!(Arc::strong_count(&held), 1);
    wait_until_freed(&runtime);
}

#[test]
fn a_detached_task_that_nobody_can_wake_is_dropped_by_the_end_and_keeps_nothing() {
    for procs in [1, 2, 8] {
        let held = Arc::new(());
        let theirs = held.clone();
        let runtime = run(procs, move || {
            for _ in 0..100 {
                let theirs = theirs.clone();
                drop(spawn(async move {
                    pending::<()>().await;
                    drop(theirs);
                }));
            }
            // Some have waited by then, some are queued.
            (0..3).for_each(|_| yield_now());
            runtime()
        });
        wait_until_freed(&runtime);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

#[test]
fn a_waker_and_a_handle_that_outlive_the_runtime_keep_only_memory() {
    let given = Arc::new(Mutex::new(None));
    let held = Arc::new(());
    let (theirs, to) = (held.clone(), given.clone());
    let (runtime, task) = run(2, move || {
        let task: JoinHandle<()> = spawn(async move {
            give_waker(to.clone()).await;
            drop(theirs);
        });
        while registered() == 0 {
            yield_now();
        }
        (runtime(), task)
    });
    let waker = given.lock().unwrap().take().expect("it waited");
    assert_eq!(Arc::strong_count(&held), 1, "the future has been dropped");
    waker.wake_by_ref();
    assert!(task.join().unwrap_err().is_cancelled());
    drop(waker);
    wait_until_freed(&runtime);
}

/// Wakes the task of one runtime on a thread of another, as that one ends.
#[test]
fn a_task_that_another_runtime_wakes_during_the_end_is_dropped() {
    for _ in 0..50 {
        let given = Arc::new(Mutex::new(None::<Waker>));
        let ended = Arc::new(AtomicBool::new(false));
        let (from, stop) = (given.clone(), ended.clone());
        let other = std::thread::spawn(move || {
            run(1, move || {
                while !stop.load(Ordering::Relaxed) {
                    let waker = from.lock().unwrap().take();
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                    yield_now();
                }
            });
        });
        let to = given.clone();
        let (runtime, task) = run(2, move || {
            let task = spawn(give_waker(to));
            while registered() == 0 {
                yield_now();
            }
            (runtime(), task)
        });
        assert!(task.join().unwrap_err().is_cancelled());
        ended.store(true, Ordering::Relaxed);
        other.join().unwrap();
        given.lock().unwrap().take();
        wait_until_freed(&runtime);
    }
}

/// Its drop wakes a task: a waker that is dropped by the end runs code of users.
struct Wakes(Waker);

impl Drop for Wakes {
    fn drop(&mut self) {
        self.0.wake_by_ref();
    }
}

#[test]
fn a_future_whose_drop_wakes_another_task_does_not_stop_the_end() {
    let runtime = run(2, || {
        let given = Arc::new(Mutex::new(None));
        drop(spawn(give_waker(given.clone())));
        while registered() == 0 {
            yield_now();
        }
        let wakes = Wakes(given.lock().unwrap().take().expect("it waits"));
        drop(spawn(async move {
            pending::<()>().await;
            drop(wakes);
        }));
        while registered() < 2 {
            yield_now();
        }
        runtime()
    });
    wait_until_freed(&runtime);
}

/// A waker of a user, which stands for one that awaits the handle.
struct Noted(AtomicBool);

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn who_awaits_the_handle_is_woken_by_the_end() {
    let noted = Arc::new(Noted(AtomicBool::new(false)));
    let waker = Waker::from(noted.clone());
    let mut task = run(2, move || {
        let mut task = spawn(pending::<()>());
        let poll = Pin::new(&mut task).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
        task
    });
    assert!(noted.0.load(Ordering::Acquire));
    let poll = Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(poll, Poll::Ready(Err(error)) if error.is_cancelled()));
}

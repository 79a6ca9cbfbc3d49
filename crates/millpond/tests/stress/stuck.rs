//! Goroutines that block their threads in the kernel: the others go on, threads come and go.

use crate::harness::{Run, Table, as_main_with, eventually};
use crate::table;
use millpond::net::UnixStream;
use millpond::{Builder, chan, go, spawn, yield_now};
use millpond_sys::task::waking_thread_count as thread_count;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

pub const TESTS: Table = table![
    fifty_blocked_threads_keep_nobody_from_work_and_end_later,
    what_waits_behind_a_blocked_thread_runs_though_all_others_are_busy,
    the_poller_behind_a_blocked_thread_is_served_for_tasks,
    timers_behind_a_blocked_thread_fire_for_tasks,
    a_stuck_goroutine_is_reported_when_asked_for,
    a_socket_that_was_registered_on_a_retired_thread_is_served,
];

pub const SCENARIOS: Table = table![
    fifty_blocked,
    left_behind,
    orphaned_poller,
    orphaned_timers,
    stuck_for_long,
    retired_home
];

/// Opens once; until then who comes blocks his *thread*.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

fn fifty_blocked() {
    // The goroutine that watches is not at home on a thread that gets stuck: it is on a plain one.
    let before = go(|| thread_count().unwrap()).join().unwrap();
    let gate = Arc::new(Gate::default());
    let blocked: Vec<_> = (0..50)
        .map(|i| {
            let gate = gate.clone();
            go(move || {
                gate.pass();
                i
            })
        })
        .collect();
    // All of them come to the gate, though there are two Ps.
    while gate.waiting.load(Ordering::SeqCst) < 50 {
        std::thread::yield_now();
    }
    let during = thread_count().unwrap();
    assert!(during >= before + 48, "each sits on its thread: {before}, then {during}");
    // And the others go on: fresh goroutines, parked ones, tasks, timers.
    for round in 0..20 {
        let (tx, rx) = chan::bounded(0);
        let handles: Vec<_> = (0..50u64)
            .map(|i| {
                let tx = tx.clone();
                go(move || {
                    millpond::time::sleep(Duration::from_micros(50));
                    tx.send(i).unwrap();
                })
            })
            .collect();
        let sum: u64 = (0..50).map(|_| rx.recv().unwrap()).sum();
        assert_eq!(sum, 1_225);
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        assert_eq!(spawn(async move { round }).join().unwrap(), round);
    }
    gate.open();
    let sum: i32 = blocked.into_iter().map(|handle| handle.join().unwrap()).sum();
    assert_eq!(sum, 1_225);
    let limit = Duration::from_secs(20);
    eventually("surplus threads end", limit, || thread_count().unwrap() <= before);
    // And the runtime is as good as before.
    assert_eq!(go(|| 5).join().unwrap(), 5);
}

fn fifty_blocked_threads_keep_nobody_from_work_and_end_later() {
    Run::of("fifty_blocked").env("MILLPOND_PROCS", "2").passes();
}

fn left_behind() {
    as_main_with(1, || {
        let over = Arc::new(AtomicUsize::new(0));
        let yielder = || {
            let over = over.clone();
            go(move || {
                while over.load(Ordering::SeqCst) == 0 {
                    yield_now();
                }
            })
        };
        // A thief takes these first, and always has something to do from then on.
        let yielders: Vec<_> = (0..4).map(|_| yielder()).collect();
        let (tx, rx) = mpsc::channel();
        for i in 0..64u64 {
            let tx = tx.clone();
            drop(go(move || tx.send(i).unwrap()));
        }
        // Blocks the thread in whose queue they are.
        assert_eq!((0..64).map(|_| rx.recv().unwrap()).sum::<u64>(), 2_016);
        over.store(1, Ordering::SeqCst);
        yielders.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

fn what_waits_behind_a_blocked_thread_runs_though_all_others_are_busy() {
    Run::of("left_behind").passes();
}

fn orphaned_poller() {
    as_main_with(1, || {
        let (near, far) = UnixStream::pair().unwrap();
        let (tx, rx) = mpsc::channel();
        let task = spawn(async move {
            for _ in 0..10 {
                let mut byte = [0];
                assert_eq!(near.read_async(&mut byte).await.unwrap(), 1);
                tx.send(byte[0]).unwrap();
            }
        });
        // The task waits, registered with the poller of the one thread there is.
        let mut far = far;
        for i in 0..10 {
            millpond::time::sleep(Duration::from_millis(1));
            far.write_all(&[i]).unwrap();
            // Blocks that thread until the task has been served, by another.
            assert_eq!(rx.recv().unwrap(), i);
        }
        task.join().unwrap();
    });
}

fn the_poller_behind_a_blocked_thread_is_served_for_tasks() {
    Run::of("orphaned_poller").passes();
}

fn orphaned_timers() {
    as_main_with(1, || {
        for i in 0..10 {
            let (tx, rx) = mpsc::channel();
            let task = spawn(async move {
                millpond::time::sleep_async(Duration::from_millis(3)).await;
                tx.send(i).unwrap();
            });
            // Lets it set its timer here.
            millpond::yield_now();
            assert_eq!(rx.recv().unwrap(), i);
            task.join().unwrap();
        }
    });
}

fn timers_behind_a_blocked_thread_fire_for_tasks() {
    Run::of("orphaned_timers").passes();
}

fn stuck_for_long() {
    as_main_with(2, || {
        let stuck = Builder::new().name("sleeper").go(|| {
            std::thread::sleep(Duration::from_millis(1_300));
        });
        stuck.join().unwrap();
    });
}

fn a_stuck_goroutine_is_reported_when_asked_for() {
    let ended = Run::of("stuck_for_long").env("MILLPOND_DEBUG", "stuck").passes();
    ended.says(&["(sleeper), started at", "stuck.rs:", "blocks its thread in the kernel"]);
    assert_eq!(ended.stderr.matches("(sleeper)").count(), 1, "once: {ended}");
    Run::of("stuck_for_long").env("MILLPOND_DEBUG", "").passes().says_not("sleeper");
}

/// A descriptor stays registered where it was first waited for, even when that thread has ended.
fn retired_home() {
    as_main_with(1, || {
        let before = thread_count().unwrap();
        let gate = Arc::new(Gate::default());
        let (near, mut far) = UnixStream::pair().unwrap();
        let (waits, is_waiting) = chan::bounded(0);
        let task = {
            let gate = gate.clone();
            spawn(async move {
                // On the second thread: the first is stuck, below.
                gate.open();
                waits.send_async(()).await.unwrap();
                let mut sum = 0u32;
                for _ in 0..3 {
                    let mut byte = [0];
                    assert_eq!(near.read_async(&mut byte).await.unwrap(), 1);
                    sum += u32::from(byte[0]);
                }
                sum
            })
        };
        gate.pass();
        is_waiting.recv().unwrap();
        let limit = Duration::from_secs(20);
        eventually("the second thread ends", limit, || thread_count().unwrap() <= before);
        for i in 1..=3 {
            far.write_all(&[i]).unwrap();
            millpond::time::sleep(Duration::from_millis(2));
        }
        assert_eq!(task.join().unwrap(), 6);
    });
}

fn a_socket_that_was_registered_on_a_retired_thread_is_served() {
    Run::of("retired_home").passes();
}

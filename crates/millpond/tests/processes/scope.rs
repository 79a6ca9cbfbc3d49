//! Scopes: what a process says of their panics and deadlocks, and what they do when a runtime ends.

use crate::harness::{Run, Table, as_main, until_parked};
use crate::table;
use millpond::debug::WaitReason;
use millpond::{Builder, chan, runtime, scope};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

pub const TESTS: Table = table![
    a_panic_of_a_child_names_it_and_comes_out_of_the_scope,
    a_child_that_waits_for_ever_is_a_deadlock,
    a_child_that_waits_for_ever_under_a_plain_thread_is_a_deadlock,
    children_that_use_up_the_places_they_need_are_a_deadlock,
    a_scope_of_a_plain_thread_never_returns_before_a_frozen_child,
    a_child_that_the_end_kept_from_starting_is_dropped_and_reported,
    a_scope_of_a_plain_thread_starts_a_runtime_if_there_is_none,
];

pub const SCENARIOS: Table = table![
    child_panics,
    child_waits,
    child_waits_under_a_thread,
    places_used_up,
    frozen_child,
    unstarted_children,
    without_a_runtime,
];

fn child_panics() {
    as_main(|| {
        let text = String::from("on purpose");
        scope(|s| drop(Builder::new().name("worker").go_scoped(s, || panic!("{text}"))));
    });
}

fn a_panic_of_a_child_names_it_and_comes_out_of_the_scope() {
    let ended = Run::of("child_panics").end();
    let place = format!("processes/scope.rs:{}:", line_of("Builder::new().name(\"worker\")"));
    ended.has_code(101).says(&["(worker), started at ", &place, "on purpose"]);
    // The scope panics where it was called.
    ended.says(&["(main), started at", &place, "a scoped goroutine panicked"]);
    let traced = Run::of("child_panics").env("RUST_BACKTRACE", "1").end();
    traced.says(&["stack backtrace:", "child_panics"]).says_not("scope::child::Child");
}

fn child_waits() {
    as_main(|| {
        let (_tx, rx) = chan::bounded::<()>(0);
        scope(|s| drop(s.go(|| rx.recv())));
    });
}

fn deadlocks(scenario: &str, says: &[&str]) {
    let ended = Run::of(scenario).end();
    ended.has_code(2).says(&["all goroutines are asleep - deadlock!"]).says(says);
}

fn a_child_that_waits_for_ever_is_a_deadlock() {
    deadlocks("child_waits", &["(main) [join", "[chan receive"]);
}

fn child_waits_under_a_thread() {
    let (_tx, rx) = chan::bounded::<()>(0);
    scope(|s| drop(s.go(|| rx.recv())));
}

fn a_child_that_waits_for_ever_under_a_plain_thread_is_a_deadlock() {
    deadlocks("child_waits_under_a_thread", &["[chan receive"]);
}

fn places_used_up() {
    as_main(|| {
        millpond::scope::Builder::new().limit(1).run(|s| {
            s.go(move || s.go(|| unreachable!("its starter has the only place")));
        });
    });
}

fn children_that_use_up_the_places_they_need_are_a_deadlock() {
    deadlocks("places_used_up", &["(main) [join", "[sync.Semaphore"]);
}

/// Aborts the process if the frame that it lies in is left.
struct Frame(u32);

impl Drop for Frame {
    fn drop(&mut self) {
        std::process::abort();
    }
}

fn frozen_child() {
    let (say, hear) = mpsc::channel();
    runtime::Builder::new()
        .run(move || {
            std::thread::spawn(move || {
                let frame = Frame(7);
                scope(|s| {
                    let child = s.go(|| {
                        let (_tx, rx) = chan::bounded::<()>(0);
                        let _ = rx.recv();
                        frame.0
                    });
                    let never_started = || ();
                    assert!(child.join().unwrap_err().is_cancelled());
                    // A runtime of its own: the other has ended.
                    s.go(never_started).join().unwrap();
                    say.send("the body has ended").unwrap();
                });
                say.send("the scope has returned").unwrap();
            });
            until_parked(1, WaitReason::ChanRecv);
        })
        .unwrap();
    assert_eq!(hear.recv(), Ok("the body has ended"));
    // Nobody announces that something never happens. A machine that is slow makes this test weaker,
    // never wrong.
    let after = hear.recv_timeout(Duration::from_millis(300));
    assert_eq!(after, Err(mpsc::RecvTimeoutError::Timeout));
}

fn a_scope_of_a_plain_thread_never_returns_before_a_frozen_child() {
    Run::of("frozen_child").passes();
}

/// What the closures of children that never start see in the frame that they borrow from.
#[derive(Default)]
struct Seen {
    drops: AtomicUsize,
    /// Their joiners know; or there are none.
    told: AtomicBool,
}

struct Captured<'a>(&'a Seen);

impl Drop for Captured<'_> {
    fn drop(&mut self) {
        while !self.0.told.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        self.0.drops.fetch_add(1, Ordering::Relaxed);
    }
}

/// A child holds its thread until the runtime has ended; what it has placed on that thread never
/// starts. Returns how many of three were dropped when the scope returned, or its panic.
fn unstarted(joined: bool) -> Result<usize, String> {
    let (release, released) = mpsc::channel::<()>();
    let thread = runtime::Builder::new()
        .procs(2)
        .run(move || {
            let (ready, is_ready) = mpsc::channel::<()>();
            let thread = std::thread::spawn(move || {
                let seen = Seen::default();
                seen.told.store(!joined, Ordering::Relaxed);
                let scoped = || {
                    scope(|s| {
                        let (handles, theirs) = mpsc::channel();
                        let seen = &seen;
                        s.go(move || {
                            for _ in 0..3 {
                                let captured = Captured(seen);
                                let child = move || {
                                    let _captured = captured;
                                    unreachable!("its thread ends before its turn comes");
                                };
                                // The body may have gone on; then the handle is dropped here.
                                let _ = handles.send(Builder::new().local().go_scoped(s, child));
                            }
                            drop(handles);
                            ready.send(()).unwrap();
                            released.recv().unwrap();
                        });
                        if joined {
                            let mut errors = theirs.iter().map(|child| child.join().unwrap_err());
                            assert!(errors.all(|error| error.is_cancelled()));
                            seen.told.store(true, Ordering::Release);
                        }
                    });
                };
                let ended = catch_unwind(AssertUnwindSafe(scoped));
                let said = ended.map_err(|payload| *payload.downcast::<&str>().unwrap());
                said.map(|()| seen.drops.into_inner()).map_err(String::from)
            });
            is_ready.recv().unwrap();
            thread
        })
        .unwrap();
    release.send(()).unwrap();
    thread.join().unwrap()
}

fn unstarted_children() {
    assert_eq!(unstarted(true), Ok(3), "a join that was told has dealt with it");
    let said = unstarted(false).unwrap_err();
    assert!(said.contains("a scoped goroutine did not run"), "{said}");
}

fn a_child_that_the_end_kept_from_starting_is_dropped_and_reported() {
    Run::of("unstarted_children").passes();
}

fn without_a_runtime() {
    let numbers = [1, 2, 3];
    let sum = scope(|s| {
        let parts: Vec<_> = numbers.iter().map(|number| s.go(move || number * 2)).collect();
        parts.into_iter().map(|part| part.join().unwrap()).sum::<i32>()
    });
    assert_eq!(sum, 12);
}

fn a_scope_of_a_plain_thread_starts_a_runtime_if_there_is_none() {
    Run::of("without_a_runtime").passes();
}

fn line_of(text: &str) -> usize {
    let lines = include_str!("scope.rs").lines();
    1 + lines.enumerate().find(|(_, line)| line.contains(text)).expect("it is in this file").0
}

//! Parking while unwinding: a destructor that waits, run by a panic.
//!
//! The standard library counts panics per thread. A goroutine that parks in the middle of its
//! unwinding leaves the count raised for its neighbours on the thread, and takes it down when it
//! has come to its end, on the same thread, since it never moves. So the sum is right at every
//! moment, and these tests show what that means:
//! - neighbours may panic and catch, to any depth, in any order: nothing aborts, nothing is lost;
//! - `std::thread::panicking()` may be true in a neighbour that does not panic;
//! - a `std::sync::Mutex` that a neighbour unlocks meanwhile is poisoned if it was locked before
//!   (`millpond::sync::Mutex` knows no poison).

use crate::harness::{Run, Table, as_main_with};
use crate::table;
use millpond::chan::{self, Receiver, Sender};
use millpond::{go, go_local, yield_now};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::panicking;

pub const TESTS: Table = table![
    a_destructor_may_park_while_its_goroutine_unwinds,
    neighbours_panic_and_catch_meanwhile,
    unwindings_that_overlap_may_end_in_any_order,
    the_count_of_panics_is_zero_after_all,
    a_lock_that_a_neighbour_unlocks_meanwhile_is_poisoned,
    a_thousand_unwindings_interleave,
];

pub const SCENARIOS: Table =
    table![waits_in_drop, neighbours, any_order, count_afterwards, poison, a_thousand_interleave];

/// Receives once when it is dropped, and says that it has begun to.
struct WaitsInDrop {
    begun: Sender<bool>,
    go_on: Receiver<u32>,
}

impl Drop for WaitsInDrop {
    fn drop(&mut self) {
        self.begun.send(panicking()).unwrap();
        assert_eq!(self.go_on.recv(), Ok(7));
        assert!(panicking(), "it still unwinds");
    }
}

/// A goroutine of this thread that unwinds and waits in the middle.
struct Unwinding {
    handle: millpond::LocalJoinHandle<()>,
    go_on: Sender<u32>,
}

impl Unwinding {
    fn begin() -> Self {
        let (begun, has_begun) = chan::bounded(0);
        let (go_on, may_go_on) = chan::bounded(0);
        let handle = go_local(move || {
            let _waits = WaitsInDrop { begun, go_on: may_go_on };
            panic!("the unwinding one");
        });
        assert_eq!(has_begun.recv(), Ok(true));
        Self { handle, go_on }
    }

    fn end(self) {
        self.go_on.send(7).unwrap();
        let error = self.handle.join().unwrap_err();
        assert!(error.to_string().contains("the unwinding one"));
    }
}

fn waits_in_drop() {
    as_main_with(1, || {
        Unwinding::begin().end();
        assert!(!panicking());
        println!("done");
    });
}

fn a_destructor_may_park_while_its_goroutine_unwinds() {
    passes("waits_in_drop");
}

fn neighbours() {
    as_main_with(1, || {
        let unwinding = Unwinding::begin();
        assert!(panicking(), "documented: the count is the thread's");
        for depth in 1..5 {
            assert_eq!(nested(depth), depth);
        }
        let neighbour = go_local(|| {
            yield_now();
            panic!("a neighbour")
        });
        assert!(neighbour.join().unwrap_err().to_string().contains("a neighbour"));
        // Channels, sockets, timers: as ever.
        let (tx, rx) = chan::bounded(1);
        let echo = go(move || tx.send(5).unwrap());
        assert_eq!(rx.recv(), Ok(5));
        echo.join().unwrap();
        millpond::time::sleep(std::time::Duration::from_millis(2));
        unwinding.end();
        assert!(!panicking());
        println!("done");
    });
}

/// Panics, and catches, and panics in the catching, so deep. Each level parks in its destructor.
fn nested(depth: u32) -> u32 {
    struct Yields;
    impl Drop for Yields {
        fn drop(&mut self) {
            yield_now();
        }
    }
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _yields = Yields;
        let below = if depth > 1 { nested(depth - 1) } else { 0 };
        std::panic::panic_any(below + 1);
    }));
    *caught.unwrap_err().downcast_ref::<u32>().expect("the payload of this very panic")
}

fn neighbours_panic_and_catch_meanwhile() {
    passes("neighbours");
}

fn any_order() {
    as_main_with(1, || {
        // First in, first out: the opposite of what one stack could do.
        let overlapping: Vec<_> = (0..20).map(|_| Unwinding::begin()).collect();
        overlapping.into_iter().for_each(Unwinding::end);
        assert!(!panicking());
        // Every other one first.
        let (even, odd): (Vec<_>, Vec<_>) =
            (0..20).map(|i| (i, Unwinding::begin())).partition(|(i, _)| i % 2 == 0);
        odd.into_iter().rev().chain(even).for_each(|(_, unwinding)| unwinding.end());
        assert!(!panicking());
        println!("done");
    });
}

fn unwindings_that_overlap_may_end_in_any_order() {
    passes("any_order");
}

fn count_afterwards() {
    as_main_with(1, || {
        for _ in 0..100 {
            let unwinding = Unwinding::begin();
            let _ = catch_unwind(|| panic!("in between"));
            unwinding.end();
            assert!(!panicking());
        }
        // A panic is fatal in a destructor only if this goroutine unwinds; it does not.
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("dropped in peace");
            }
        }
        let unwinding = Unwinding::begin();
        assert!(catch_unwind(|| drop(Panics)).is_err());
        unwinding.end();
        assert!(!panicking());
        println!("done");
    });
}

fn the_count_of_panics_is_zero_after_all() {
    passes("count_afterwards");
}

fn poison() {
    as_main_with(1, || {
        let (before, meanwhile) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(1)));
        let ours = millpond::sync::Mutex::new(1);
        let locked_before = before.lock().unwrap();
        let ours_locked = ours.lock();
        let unwinding = Unwinding::begin();
        *meanwhile.lock().unwrap() += 1;
        drop(locked_before);
        drop(ours_locked);
        assert!(before.is_poisoned(), "locked in peace, unlocked while the thread counts a panic");
        assert!(!meanwhile.is_poisoned(), "locked and unlocked while it counts one");
        assert_eq!(*ours.lock(), 1);
        unwinding.end();
        // The flag is a flag: the value is as it was left.
        before.clear_poison();
        assert_eq!(*before.lock().unwrap(), 1);
        assert_eq!(*meanwhile.lock().unwrap(), 2);
        println!("done");
    });
}

fn a_lock_that_a_neighbour_unlocks_meanwhile_is_poisoned() {
    passes("poison");
}

fn a_thousand_interleave() {
    millpond::__private::main(millpond::runtime::Builder::new(), || {
        let handles: Vec<_> = (0..1_000u32)
            .map(|i| {
                go(move || {
                    assert_eq!(nested(1 + i % 5), 1 + i % 5);
                    yield_now();
                    i
                })
            })
            .collect();
        let sum: u32 = handles.into_iter().map(|handle| handle.join().unwrap()).sum();
        assert_eq!(sum, 499_500);
        assert!(!panicking());
        println!("done");
    });
}

fn a_thousand_unwindings_interleave() {
    passes("a_thousand_interleave");
}

fn passes(scenario: &str) {
    let ended = Run::of(scenario).passes();
    assert!(ended.stdout.contains("done"), "{ended}");
    ended.says_not("poisoned").says_not("destructor");
}

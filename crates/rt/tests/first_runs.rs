//! Goroutines that have their first run one after the other on one stack: whatever each of them does,
//! it is a goroutine of its own.

use millpond_rt::{Builder, GoBuilder, JoinHandle, blocking, go, go_local, spawn, yield_now};
use proptest::prelude::*;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// For what comes at once or never.
const LONG: Duration = Duration::from_secs(60);

/// On one P, where all that is fresh has its first run on one M.
fn run<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    Builder::new().procs(1).private().run(body).expect("the runtime starts")
}

/// Where the caller's stack is: the address of something on it.
#[inline(never)]
fn address() -> usize {
    let here = 0u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

#[test]
fn those_that_end_without_waiting_share_a_stack() {
    let addresses = run(|| {
        let handles: Vec<_> = (0..4).map(|_| go(address)).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect::<Vec<_>>()
    });
    // The newest is apart from the others: its maker's joining comes between.
    let shared = addresses.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert!(shared >= 2, "{addresses:x?}");
}

#[test]
fn the_one_that_suspends_keeps_the_stack_and_what_is_on_it() {
    run(|| {
        let handles: Vec<_> = (0..1_000u64)
            .map(|i| {
                go(move || {
                    let on_stack = Cell::new(i);
                    let seen = std::hint::black_box(&on_stack);
                    let before = address();
                    (0..i % 4).for_each(|_| {
                        yield_now();
                        seen.set(seen.get() + 1);
                    });
                    assert_eq!(before, address());
                    seen.get()
                })
            })
            .collect();
        for (i, handle) in handles.into_iter().enumerate() {
            let i = i as u64;
            assert_eq!(handle.join().unwrap(), i + i % 4);
        }
    });
}

/// A chain of goroutines, each of which starts the next, goes on for ever; who was readied runs all the same.
#[test]
fn those_that_have_started_get_their_turn_beside_those_that_have_not() {
    run(|| {
        fn chain(stop: Arc<AtomicBool>, count: Arc<AtomicU64>) {
            count.fetch_add(1, Ordering::Relaxed);
            if !stop.load(Ordering::Relaxed) {
                drop(go(move || chain(stop, count)));
            }
        }
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (for_chain, counted) = (stop.clone(), count.clone());
        drop(go(move || chain(for_chain, counted)));
        for turn in 1..100 {
            yield_now();
            // 32 whole turns of the newest in a row, each with 7 on one stack.
            let limit = turn * 40 * 8;
            assert!(count.load(Ordering::Relaxed) <= limit, "turn {turn}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_panic_in_one_is_its_own() {
    run(|| {
        let handles: Vec<_> = (0..100)
            .map(|i| {
                go(move || {
                    assert!(i % 3 != 0, "on purpose");
                    i
                })
            })
            .collect();
        for (i, handle) in handles.into_iter().enumerate() {
            match handle.join() {
                Ok(value) => assert!(value == i && i % 3 != 0),
                Err(error) => assert!(error.is_panic() && i % 3 == 0),
            }
        }
    });
}

/// A result that nobody wants is dropped on a goroutine's stack, where its drop may wait.
#[test]
fn an_unwanted_result_in_a_row_is_dropped_where_it_may_wait() {
    struct Waits(Arc<AtomicU64>);
    impl Drop for Waits {
        fn drop(&mut self) {
            go(|| ()).join().unwrap();
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    run(|| {
        let dropped = Arc::new(AtomicU64::new(0));
        for _ in 0..100 {
            let dropped = dropped.clone();
            drop(go(move || Waits(dropped)));
        }
        while dropped.load(Ordering::Relaxed) < 100 {
            yield_now();
        }
    });
}

/// A row ends at a task, which cannot follow on the same stack; then one that was placed here has its first
/// run, whose row ends at a task as well.
#[test]
fn tasks_at_which_rows_end_are_polled() {
    run(|| {
        for _ in 0..200 {
            let first = go(|| {
                drop(go_local(|| drop(spawn(async {}))));
                spawn(async { 7 })
            });
            assert_eq!(first.join().unwrap().join().unwrap(), 7);
        }
    });
}

#[test]
fn goroutines_of_another_size_at_which_rows_end_run() {
    run(|| {
        let (ran, count) = mpsc::channel();
        for _ in 0..200 {
            let (first, second) = (ran.clone(), ran.clone());
            let large = GoBuilder::new().stack_size(1 << 20);
            let also = large.clone();
            let row = go(move || {
                drop(go_local(move || drop(also.go(move || first.send(()).unwrap()))));
                large.go(move || second.send(()).unwrap())
            });
            row.join().unwrap().join().unwrap();
        }
        drop(ran);
        assert_eq!(blocking(move || count.iter().count()), 400);
    });
}

/// A runner that goes from task to task stops at a goroutine, and may be in its own first run then.
#[test]
fn goroutines_at_which_a_runner_stops_run() {
    run(|| {
        let (ran, count) = mpsc::channel();
        for _ in 0..200 {
            let (first, second) = (ran.clone(), ran.clone());
            let row = spawn(async move {
                drop(go_local(move || drop(go(move || first.send(()).unwrap()))));
                drop(go(move || second.send(()).unwrap()));
            });
            row.join().unwrap();
        }
        drop(ran);
        assert_eq!(blocking(move || count.iter().count()), 400);
    });
}

/// What a row ended at is not kept from others by who has the M to itself after it.
#[test]
fn work_at_which_a_row_ends_is_for_others_while_a_goroutine_blocks_the_thread() {
    let runtime = Builder::new().procs(2).private();
    let came = runtime.run(|| {
        let (ran, seen) = mpsc::channel();
        let (done, result) = mpsc::channel();
        drop(go(move || {
            drop(go_local(move || done.send(seen.recv_timeout(LONG).is_ok()).unwrap()));
            drop(spawn(async move { ran.send(()).unwrap() }));
        }));
        blocking(move || result.recv().unwrap())
    });
    assert!(came.unwrap(), "the task was not polled although a processor was idle");
}

/// One that is joined again and again, all of one size, does not keep the ring from one of another.
#[test]
fn one_of_another_size_has_its_turn_among_many_that_are_joined() {
    run(|| {
        let ran = Arc::new(AtomicBool::new(false));
        let mark = ran.clone();
        let large = GoBuilder::new().stack_size(1 << 20);
        let handle = large.go(move || mark.store(true, Ordering::Relaxed));
        let turns = (0..10_000).take_while(|_| {
            go(|| ()).join().unwrap();
            !ran.load(Ordering::Relaxed)
        });
        assert!(turns.count() < 10_000);
        handle.join().unwrap();
    });
}

#[derive(Debug, Clone, Copy)]
enum Act {
    End,
    Yield(u8),
    Panic,
    Start,
    Join,
    Large,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::End),
        2 => (1..4u8).prop_map(Act::Yield),
        1 => Just(Act::Panic),
        1 => Just(Act::Start),
        1 => Just(Act::Join),
        1 => Just(Act::Large),
    ]
}

/// Does `act` and says how many goroutines have run for it.
fn perform(act: Act) -> u64 {
    match act {
        Act::End => 1,
        Act::Yield(times) => {
            (0..times).for_each(|_| yield_now());
            1
        }
        Act::Panic => panic!("on purpose"),
        Act::Start => {
            let handles = [1u64, 2].map(|n| go(move || n));
            1 + handles.map(|handle| handle.join().unwrap()).iter().sum::<u64>()
        }
        Act::Join => 1 + go(|| 1).join().unwrap(),
        // Of another size class: it cannot follow on the same stack.
        Act::Large => {
            let large = GoBuilder::new().stack_size(256 << 10).go(|| {
                let room = [1u8; 100 << 10];
                u64::from(std::hint::black_box(&room)[50_000])
            });
            1 + large.join().unwrap()
        }
    }
}

fn expected(act: Act) -> Option<u64> {
    match act {
        Act::End | Act::Yield(_) => Some(1),
        Act::Panic => None,
        Act::Start => Some(4),
        Act::Join | Act::Large => Some(2),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_mixture_gives_each_its_own_result(
        acts in proptest::collection::vec(act(), 1..60),
        procs in 1..3usize,
    ) {
        let started = acts.clone();
        let results = Builder::new().procs(procs).private().run(move || {
            let handles: Vec<JoinHandle<u64>> =
                started.into_iter().map(|act| go(move || perform(act))).collect();
            handles.into_iter().map(|handle| handle.join().ok()).collect::<Vec<_>>()
        });
        let expected: Vec<_> = acts.into_iter().map(expected).collect();
        prop_assert_eq!(results.expect("the runtime starts"), expected);
    }
}

//! Panics: isolated, attributed to their goroutine, and with room for their message.

use crate::harness::{Run, Table, as_main};
use crate::table;
use millpond::{Builder, go, go_local, spawn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub const TESTS: Table = table![
    a_panic_in_a_detached_goroutine_is_reported_and_nothing_else_happens,
    a_backtrace_needs_no_room_on_a_small_stack,
    a_panic_in_main_is_status_101,
    a_panic_in_main_passes_through_run_with_its_payload,
    an_error_from_main_is_status_1,
    a_panic_in_a_task_is_reported,
    a_panic_on_a_larger_stack_is_reported_and_caught,
    a_panic_in_a_destructor_that_runs_while_unwinding_aborts,
    a_panic_in_the_drop_of_an_unwanted_result_ends_nothing_else,
    a_panic_in_a_blocking_job_comes_out_where_it_was_asked_for,
    many_goroutines_that_panic_at_once_are_all_counted,
];

pub const SCENARIOS: Table = table![
    detached,
    small_stack,
    main_panics,
    payload,
    main_fails,
    task_panics,
    larger_stack_panics,
    destructor_panics,
    result_panics,
    job_panics,
    a_thousand_panics,
];

const SIGABRT: i32 = 6;

fn detached() {
    as_main(|| {
        let (tx, rx) = millpond::chan::bounded::<()>(0);
        drop(Builder::new().name("worker").go(move || {
            let _open = tx;
            panic!("on purpose")
        }));
        // Closed by the unwinding.
        assert!(rx.recv().is_err());
        assert_eq!(go(|| 6 * 7).join().unwrap(), 42);
        println!("goes on");
    });
}

fn a_panic_in_a_detached_goroutine_is_reported_and_nothing_else_happens() {
    let ended = Run::of("detached").passes();
    let place = format!("processes/panics.rs:{}:", line_of("drop(Builder::new().name(\"worker\")"));
    let at = format!("processes/panics.rs:{}:", line_of("panic!(\"on purpose\")"));
    ended.says(&["goroutine ", " (worker), started at ", &place, &at, "on purpose"]);
    assert!(ended.stdout.contains("goes on"), "{ended}");
}

fn small_stack() {
    as_main(|| {
        let small = Builder::new().name("small").stack_size(16 << 10);
        let error = small.go(|| panics_in_here(5)).join().unwrap_err();
        assert!(error.is_panic());
        // The stack is whole afterwards.
        assert_eq!(small.go(|| 1).join().unwrap(), 1);
    });
}

#[inline(never)]
fn panics_in_here(n: u32) -> u32 {
    assert_ne!(n, 5, "deep inside");
    n
}

fn a_backtrace_needs_no_room_on_a_small_stack() {
    for form in ["1", "full"] {
        let ended = Run::of("small_stack").env("RUST_BACKTRACE", form).passes();
        ended.says(&["(small), started at", "deep inside", "stack backtrace:", "panics_in_here"]);
    }
}

fn main_panics() {
    as_main(|| {
        let (tx, rx) = millpond::chan::bounded::<()>(0);
        go(move || rx.recv());
        drop(tx);
        panic!("main had enough")
    });
}

fn a_panic_in_main_is_status_101() {
    let place = "(main), started at crates/millpond/tests/processes/panics.rs:";
    Run::of("main_panics").end().has_code(101).says(&[place, "main had enough"]);
}

fn payload() {
    let run = || millpond::runtime::Builder::new().run(|| std::panic::panic_any(77u64));
    let payload = std::panic::catch_unwind(run).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&77u64));
    // And the next runtime is as good as new.
    assert_eq!(millpond::runtime::Builder::new().run(|| go(|| 5).join().unwrap()).unwrap(), 5);
}

fn a_panic_in_main_passes_through_run_with_its_payload() {
    Run::of("payload").passes();
}

fn main_fails() {
    #[millpond::main]
    fn main() -> Result<(), std::num::ParseIntError> {
        "seven".parse::<i32>().map(drop)
    }
    // What the real `main` does with it.
    std::process::exit(i32::from(main() != std::process::ExitCode::SUCCESS));
}

fn an_error_from_main_is_status_1() {
    Run::of("main_fails").end().has_code(1).says(&["ParseIntError"]);
}

fn task_panics() {
    as_main(|| {
        let error = spawn(async { panic!("in a task") }).join().unwrap_err();
        assert!(error.is_panic());
        assert_eq!(spawn(async { 3 }).join().unwrap(), 3);
    });
}

fn a_panic_in_a_task_is_reported() {
    Run::of("task_panics").passes().says(&[
        "task, spawned at ",
        "processes/panics.rs:",
        "in a task",
    ]);
}

fn larger_stack_panics() {
    as_main(|| {
        let error = go(|| {
            let caught = std::panic::catch_unwind(|| {
                millpond::with_stack(1 << 20, || panics_in_here(5));
            });
            assert!(caught.is_err());
            assert!(!std::thread::panicking());
            millpond::with_stack(1 << 20, || panics_in_here(5))
        })
        .join()
        .unwrap_err();
        assert!(error.to_string().contains("deep inside"));
    });
}

fn a_panic_on_a_larger_stack_is_reported_and_caught() {
    let ended = Run::of("larger_stack_panics").env("RUST_BACKTRACE", "1").passes();
    assert_eq!(ended.stderr.matches("deep inside").count(), 2, "{ended}");
}

struct PanicsWhenDropped(&'static str);

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

fn destructor_panics() {
    as_main(|| {
        let _ = go(|| {
            let _second = PanicsWhenDropped("the second");
            panic!("the first");
        })
        .join();
        println!("not reached");
    });
}

fn a_panic_in_a_destructor_that_runs_while_unwinding_aborts() {
    let ended = Run::of("destructor_panics").end();
    ended.has_signal(SIGABRT).says(&["the first", "the second", "panic in a destructor"]);
    assert!(!ended.stdout.contains("not reached"), "{ended}");
}

fn result_panics() {
    as_main(|| {
        drop(go(|| PanicsWhenDropped("nobody wants it")));
        for _ in 0..10 {
            millpond::yield_now();
        }
        // By the holder of the handle, when the goroutine has ended.
        let handle = go_local(|| PanicsWhenDropped("its handle is dropped"));
        while !handle.is_finished() {
            millpond::yield_now();
        }
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(handle)));
        assert!(!std::thread::panicking());
        println!("goes on after {}", if dropped.is_ok() { "a report" } else { "a panic" });
    });
}

fn a_panic_in_the_drop_of_an_unwanted_result_ends_nothing_else() {
    let ended = Run::of("result_panics").passes();
    ended.says(&["nobody wants it", "its handle is dropped"]);
    assert!(ended.stdout.contains("goes on after"), "{ended}");
}

fn job_panics() {
    as_main(|| {
        let error = go(|| millpond::blocking(|| panic!("in a job"))).join().unwrap_err();
        assert!(error.to_string().contains("in a job"));
        assert_eq!(millpond::blocking(|| 4), 4);
    });
}

fn a_panic_in_a_blocking_job_comes_out_where_it_was_asked_for() {
    Run::of("job_panics").passes();
}

fn a_thousand_panics() {
    as_main(|| {
        let unwound = Arc::new(AtomicUsize::new(0));
        struct Count(Arc<AtomicUsize>);
        impl Drop for Count {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let handles: Vec<_> = (0..1_000)
            .map(|i| {
                let count = Count(unwound.clone());
                go(move || {
                    let _count = count;
                    millpond::yield_now();
                    assert!(i % 2 == 0, "number {i}");
                    i
                })
            })
            .collect();
        let panicked = handles.into_iter().map(|handle| handle.join());
        assert_eq!(panicked.filter(Result::is_err).count(), 500);
        assert_eq!(unwound.load(Ordering::Relaxed), 1_000);
        assert!(!std::thread::panicking());
    });
}

fn many_goroutines_that_panic_at_once_are_all_counted() {
    let ended = Run::of("a_thousand_panics").passes();
    assert_eq!(ended.stderr.matches("\ngoroutine ").count(), 500, "{ended}");
}

fn line_of(text: &str) -> usize {
    let lines = include_str!("panics.rs").lines();
    1 + lines.enumerate().find(|(_, line)| line.contains(text)).expect("it is in this file").0
}

//! A stack that is too small: whose it was, where that one started, how large it was, what to set.

use crate::endless;
use crate::harness::{Run, Table, as_main};
use crate::table;
use millpond::{Builder, go, spawn, with_stack};
use std::hint::black_box;

pub const TESTS: Table = table![
    recursion_without_end_is_reported_and_aborts,
    one_huge_frame_is_reported_and_aborts,
    overflow_of_a_larger_stack_names_that_size,
    overflow_of_a_task_names_where_it_was_spawned,
    overflow_on_a_plain_thread_is_reported_too,
    overflow_of_an_unnamed_goroutine_has_its_number_and_place,
    overflow_while_others_run_names_the_right_one,
    the_stack_that_the_environment_sets_is_used,
];

pub const SCENARIOS: Table = table![
    recursion,
    huge_frame,
    larger_stack,
    task,
    plain_thread,
    unnamed,
    among_others,
    deep_but_not_endless,
];

const SIGABRT: i32 = 6;

const ADVICE: [&str; 3] = ["Builder::stack_size", "MILLPOND_STACK", "millpond::with_stack"];

/// Each page of the frame is touched in turn, as rustc's probes see to.
#[inline(never)]
fn huge() -> u8 {
    let frame = [1u8; 12 << 20];
    black_box(&frame)[black_box(77)]
}

fn recursion() {
    as_main(|| {
        let deep = Builder::new().name("parser").stack_size(64 << 10);
        let _ = deep.go(|| endless(0)).join();
    });
}

fn recursion_without_end_is_reported_and_aborts() {
    let here = format!("processes/overflow.rs:{}", line_of("deep.go(|| endless(0))"));
    Run::of("recursion")
        .end()
        .has_signal(SIGABRT)
        .says(&["stack overflow in goroutine ", " (parser), started at ", &here])
        .says(&["its stack has 6"])
        .says(&ADVICE);
}

fn huge_frame() {
    as_main(|| {
        let wide = Builder::new().name("wide").stack_size(16 << 10);
        let _ = wide.go(huge).join();
    });
}

fn one_huge_frame_is_reported_and_aborts() {
    Run::of("huge_frame")
        .end()
        .has_signal(SIGABRT)
        .says(&["stack overflow in goroutine ", " (wide), started at "])
        .says(&ADVICE);
}

fn larger_stack() {
    as_main(|| {
        let _ = go(|| with_stack(1 << 20, || endless(0))).join();
    });
}

fn overflow_of_a_larger_stack_names_that_size() {
    let ended = Run::of("larger_stack").end();
    ended.has_signal(SIGABRT).says(&["stack overflow in goroutine ", "its stack has 10"]);
    ended.says(&["raise the bytes given to millpond::with_stack"]);
}

fn task() {
    as_main(|| {
        let _ = spawn(async { endless(0) }).join();
    });
}

fn overflow_of_a_task_names_where_it_was_spawned() {
    let ended = Run::of("task").end();
    let here = format!("processes/overflow.rs:{}", line_of("spawn(async { endless(0) })"));
    ended.has_signal(SIGABRT).says(&["stack overflow in a task, spawned at ", &here]);
}

fn plain_thread() {
    with_stack(16 << 10, || endless(0));
}

fn overflow_on_a_plain_thread_is_reported_too() {
    let ended = Run::of("plain_thread").end();
    ended.has_signal(SIGABRT).says(&["stack overflow in code that runs on a goroutine's stack"]);
}

fn unnamed() {
    as_main(|| {
        let _ = go(|| endless(0)).join();
    });
}

fn overflow_of_an_unnamed_goroutine_has_its_number_and_place() {
    let here = format!("processes/overflow.rs:{}", line_of("let _ = go(|| endless(0)).join()"));
    let ended = Run::of("unnamed").end();
    ended.has_signal(SIGABRT).says(&[&here]).says_not("()");
}

fn among_others() {
    as_main(|| {
        let (tx, rx) = millpond::chan::bounded::<()>(0);
        for i in 0..100 {
            let rx = rx.clone();
            let _parked = Builder::new().name(format!("bystander {i}")).go(move || rx.recv());
        }
        let guilty = Builder::new().name("guilty").go(|| {
            millpond::yield_now();
            endless(0)
        });
        let _ = guilty.join();
        drop(tx);
    });
}

fn overflow_while_others_run_names_the_right_one() {
    let ended = Run::of("among_others").end();
    ended.has_signal(SIGABRT).says(&["(guilty), started at"]).says_not("bystander");
}

fn deep_but_not_endless() {
    fn depth(n: u32) -> u32 {
        let frame = black_box([n; 256]);
        if n == 0 { 0 } else { 1 + depth(n - 1) + frame[7] - n }
    }
    as_main(|| {
        // Over 400 KiB in any build.
        assert_eq!(go(|| depth(400)).join().unwrap(), 400);
    });
}

fn the_stack_that_the_environment_sets_is_used() {
    Run::of("deep_but_not_endless").env("MILLPOND_STACK", "8M").passes();
    let ended = Run::of("deep_but_not_endless").env("MILLPOND_STACK", "64K").end();
    ended.has_signal(SIGABRT).says(&["its stack has 6"]);
}

/// The line of this file that contains `text` first.
fn line_of(text: &str) -> usize {
    let lines = include_str!("overflow.rs").lines();
    1 + lines.enumerate().find(|(_, line)| line.contains(text)).expect("it is in this file").0
}

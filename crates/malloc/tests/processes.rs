//! What a process does to its allocator: `fork` while others allocate, threads that end in every order, libraries
//! that come and go, signals, constructors; and what the allocator does for it: memory that goes back, the sheet when
//! it is asked for.

#[allow(dead_code, reason = "no test program uses all of it")]
mod common;

use common::{command, compile, library, passes};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

fn case(name: &str, with: &str) {
    let program = compile("processes.c", &format!("processes {name}"), &[]);
    passes(command(&program, true).args([name, with]));
    passes(command(&program, true).args([name, with]).env("MILLPOND_HEAP_CHECK", "50"));
}

#[test]
fn a_child_of_fork_allocates_whatever_other_threads_were_doing() {
    case("forks", "");
}

#[test]
fn destructors_of_keys_allocate_whenever_they_run() {
    case("thread ends", "");
}

#[test]
fn libraries_that_allocate_come_and_go() {
    let plugin = compile("plugin.c", "plugin.so", &["-shared", "-fPIC"]);
    case("libraries", plugin.to_str().unwrap());
}

#[test]
fn the_library_itself_may_come_late_and_stays_when_it_is_closed() {
    let program = compile("processes.c", "processes late", &[]);
    passes(command(&program, false).args(["late", library().to_str().unwrap()]));
}

#[test]
fn signals_that_land_in_the_allocator_do_no_harm() {
    case("signals", "");
}

#[test]
fn constructors_allocate_before_the_library_s_own_has_run() {
    case("constructors", "");
}

#[test]
fn memory_of_a_burst_goes_back_while_the_program_does_nothing() {
    let program = compile("processes.c", "processes burst", &[]);
    passes(command(&program, true).arg("burst"));
}

#[test]
fn a_program_that_asks_for_it_has_no_thread_but_its_own_and_memory_goes_back_all_the_same() {
    let program = compile("processes.c", "processes alone", &[]);
    passes(command(&program, true).arg("alone").env("MILLPOND_SCAVENGER", "off"));
    passes(command(&program, true).arg("alone").env("MILLPOND_SCAVENGER", "0"));
    // The case can fail: there is a thread otherwise.
    passes(command(&program, true).arg("served"));
    passes(command(&program, true).arg("served").env("MILLPOND_SCAVENGER", "on"));
}

#[test]
fn a_word_for_the_scavenger_that_is_none_is_said() {
    let program = compile("processes.c", "processes word", &[]);
    let text = passes(command(&program, true).arg("served").env("MILLPOND_SCAVENGER", "maybe"));
    assert!(text.contains("MILLPOND_SCAVENGER=maybe: `on` or `off` was expected"), "{text}");
}

#[test]
fn the_sheet_comes_at_a_signal_in_children_too_and_at_exit() {
    let program = compile("processes.c", "processes sheets", &[]);
    let mut command = command(&program, true);
    command.arg("sheets").env("MILLPOND_DEBUG", "heap,heap-usr1");
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut answers = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next = |what: &str| {
        let found = lines.by_ref().map(Result::unwrap).find(|line| line.contains(what));
        assert!(found.is_some(), "expected {what:?}");
    };
    for _ in 0..3 {
        next("millpond heap, in bytes");
        next("obtained from the system");
        // The program holds one block of 12,345 bytes.
        next("12800 B: 1 blocks in use");
        answers.write_all(b"read\n").unwrap();
    }
    next("millpond heap at exit");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_signal_that_nobody_asked_for_ends_the_process_as_ever() {
    use std::os::unix::process::ExitStatusExt;
    let program = compile("processes.c", "processes unasked", &[]);
    let mut command = command(&program, true);
    let status = command.arg("sheets").stdin(Stdio::null()).status().unwrap();
    // `timeout` ends as its program did.
    assert!(status.signal() == Some(10) || status.code() == Some(128 + 10), "{status}");
}

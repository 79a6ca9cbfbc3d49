//! Without memory: every function says so as it should, what was there stays, and all works when there is memory again.
//! The kernel is made to refuse: each call for memory in turn, all of them from each one on, and by `ulimit -v`.

#[allow(dead_code, reason = "no test program uses all of it")]
mod common;

use common::{command_within, compile, library, text};

/// Runs the supervisor. `setting` is one of the environment.
fn supervise(arguments: &[&str], setting: Option<(&str, &str)>) {
    let name = format!("refusals {} {}", arguments[0], setting.map_or("", |(name, _)| name));
    let program = compile("refusals.cc", &name, &["-std=c++17", "-Wno-unused-parameter"]);
    let mut command = command_within("600", &program, false);
    command.arg(arguments[0]).arg(library()).args(&arguments[1..]).envs(setting);
    let output = command.output().unwrap();
    let text = text(&output);
    if output.status.code() == Some(77) {
        eprintln!(
            "skipped: the kernel, or what stands before it, allows no filter for system calls"
        );
        return;
    }
    assert!(output.status.success() && text.contains("failures: 0"), "{}\n{text}", output.status);
}

#[test]
fn each_refusal_by_the_kernel_alone_does_no_harm() {
    supervise(&["once", "1"], None);
}

#[test]
fn from_any_moment_on_all_may_be_refused_and_come_back() {
    supervise(&["from", "1"], None);
}

#[test]
fn the_same_holds_when_memory_is_given_back_all_the_time() {
    supervise(&["from", "2"], Some(("MILLPOND_MEMORY_LIMIT", "2M")));
}

#[test]
fn the_same_holds_for_guarded_objects() {
    supervise(&["once", "5"], Some(("MILLPOND_HEAP_CHECK", "300")));
    supervise(&["from", "19"], Some(("MILLPOND_HEAP_CHECK", "300")));
}

#[test]
fn the_same_holds_while_a_profile_is_made() {
    let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/refused.pb.gz,16K");
    supervise(&["from", "2"], Some(("MILLPOND_HEAP_PROFILE", file)));
}

#[test]
fn under_a_limit_of_addresses_there_is_an_end_and_it_is_said() {
    supervise(&["limits"], None);
}

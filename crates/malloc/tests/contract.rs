//! The contract of each function, as programs of C and C++ see it: on the C library's allocator, on this one, and on
//! this one in its checked mode. The same programs pass on all of them.

#[allow(dead_code, reason = "no test program uses all of it")]
mod common;

use common::{command, compile, passes};

/// Runs a program that is told where its `malloc` comes from.
fn on_all(source: &str, name: &str, flags: &[&str]) {
    let program = compile(source, name, flags);
    let fine = |text: &str| assert!(text.contains(" checks, 0 failures"), "{text}");
    fine(&passes(command(&program, false).arg("libc")));
    fine(&passes(command(&program, true).arg("millpond_malloc")));
    for rate in ["1", "7"] {
        let mut checked = command(&program, true);
        fine(&passes(checked.arg("millpond_malloc").env("MILLPOND_HEAP_CHECK", rate)));
    }
}

#[test]
fn every_function_of_c_keeps_its_contract_at_its_corners() {
    on_all("conformance.c", "conformance", &[]);
}

#[test]
fn every_new_and_delete_keeps_its_contract_also_without_memory() {
    on_all("operators.cc", "operators", &["-std=c++17", "-Wno-unused-parameter"]);
}

//! What a process of this runtime says, and with which status it ends.

#[path = "../harness/mod.rs"]
mod harness;

mod alive;
mod deadlock;
mod faults;
mod overflow;
mod panics;
mod scope;
mod settings;
mod shutdown;
mod unwinding;

fn main() {
    harness::main(
        &[
            alive::TESTS,
            deadlock::TESTS,
            faults::TESTS,
            overflow::TESTS,
            panics::TESTS,
            scope::TESTS,
            settings::TESTS,
            shutdown::TESTS,
            unwinding::TESTS,
        ],
        &[
            alive::SCENARIOS,
            deadlock::SCENARIOS,
            faults::SCENARIOS,
            overflow::SCENARIOS,
            panics::SCENARIOS,
            scope::SCENARIOS,
            settings::SCENARIOS,
            shutdown::SCENARIOS,
            unwinding::SCENARIOS,
        ],
    );
}

/// Recursion that no stack holds.
pub fn endless(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 32]);
    if frame[0] == u64::MAX { 0 } else { 1 + endless(n + 1) + frame[n as usize % 32] }
}

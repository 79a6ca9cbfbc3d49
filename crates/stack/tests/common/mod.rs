//! Running one test of this file again, alone in a process of its own.
//!
//! Signals, guard modes and memory figures belong to the process, so a test of them cannot share
//! one. Such a test calls [`alone`]: in the parent it starts the same test in a child and returns
//! what came of it; in the child it returns `None`, and the body runs.

use std::process::{Command, Output};

const CHILD: &str = "MILLPOND_TEST_CHILD";

/// `None` in the child; in the parent, what the child did.
#[allow(dead_code, reason = "each test file uses its own part")]
pub fn alone(test: &str, environment: &[(&str, &str)]) -> Option<Output> {
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let program = std::env::current_exe().expect("the test knows its own path");
    let output = Command::new(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .envs(environment.iter().copied())
        .env(CHILD, "1")
        .output()
        .expect("the child starts");
    Some(output)
}

/// Runs the rest of the test in a child, which must succeed; `true` in the parent.
#[allow(dead_code, reason = "each test file uses its own part")]
pub fn passed_alone(test: &str, environment: &[(&str, &str)]) -> bool {
    let Some(output) = alone(test, environment) else {
        return false;
    };
    assert!(output.status.success(), "{test} {environment:?}: {}", text(&output));
    true
}

/// Everything that a child said.
#[allow(dead_code, reason = "each test file uses its own part")]
pub fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    format!("{}\n{}", output.status, String::from_utf8_lossy(&both))
}

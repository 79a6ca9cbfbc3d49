//! Programs that are on every machine that builds Rust, with the library and without it: the same answers. What takes
//! programs that have to be installed is `cargo xtask realprogs`.

#[allow(dead_code, reason = "no test program uses all of it")]
mod common;

use common::library;
use std::process::{Command, Stdio};

/// What a script prints; `RUN` puts the library before what stands behind it, or nothing.
fn answer(script: &str, preloaded: bool) -> Vec<u8> {
    let run = match preloaded {
        true => format!("env LD_PRELOAD={}", library().display()),
        false => "env".to_owned(),
    };
    let mut shell = Command::new("timeout");
    shell.args(["-s", "KILL", "120", "sh", "-ec", script]).env("RUN", run).env("LC_ALL", "C");
    let output = shell.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{script}: {}: {text}", output.status);
    output.stdout
}

fn same(script: &str) {
    let wanted = answer(script, false);
    assert!(!wanted.is_empty(), "{script}");
    for _ in 0..3 {
        assert!(answer(script, true) == wanted, "{script}");
    }
}

#[test]
fn the_compiler_makes_the_same_object() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance.c");
    let object = concat!(env!("CARGO_TARGET_TMPDIR"), "/same.o");
    same(&format!("$RUN cc -O2 -c -o {object} {source} && cat {object}"));
}

#[test]
fn threads_of_sort_and_awk_s_tables_give_the_same_lines() {
    let made = "$RUN awk 'BEGIN { x = 1; for (i = 0; i < 60000; i++) { x = x * 16807 % 2147483647; t[x % 5000] = x } \
                for (k in t) print t[k], k; for (i = 0; i < 60000; i++) print i * 7919 % 60000 }'";
    same(&format!("{made} | $RUN sort --parallel=2 -S 1M -k2,2n -k1,1n"));
}

#[test]
fn a_shell_that_forks_says_the_same() {
    let script = "for n in 1 2 3 4 5; do x=$(echo $n; (echo $n$n | cat)); echo \"$x\" | tr 1 2; done; ls / | sort";
    same(&format!("$RUN sh -c '{script}'"));
}

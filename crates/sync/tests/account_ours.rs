//! What pools keep, under Millpond's own allocator: inside the lines of what is in use, and on the sheet at the
//! end of the process.

use millpond_heap::{Pooled, stats};
use millpond_sync::pool::Pool;
use std::process::{Command, Output};

#[cfg(not(millpond_alloc))]
#[global_allocator]
static ALLOC: millpond_heap::Alloc = millpond_heap::Alloc;

const EACH: usize = 50_000;

fn buffers(count: usize) -> Pool<Box<[u8]>> {
    let make = || vec![1u8; EACH - size_of::<Box<[u8]>>()].into_boxed_slice();
    let pool = Pool::builder(make).owned_bytes(|buffer| buffer.len()).build();
    let out: Vec<_> = (0..count).map(|_| pool.get()).collect();
    drop(out);
    pool
}

/// Runs [`child`] in a process of its own.
fn run(case: &str, debug: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env("CASE", case).env("MILLPOND_DEBUG", debug).output().unwrap()
}

#[test]
fn child() {
    let Ok(case) = std::env::var("CASE") else { return };
    let pool = buffers(20);
    match &case[..] {
        "in use" => {
            let sheet = stats();
            let pooled = Pooled { pools: 1, objects: 20, bytes: 20 * EACH };
            assert_eq!(sheet.pooled, Some(pooled));
            assert_eq!(sheet.obtained, sheet.accounted(), "it is no term of the sum");
            assert!(sheet.in_use() >= 20 * EACH, "{sheet}");
            assert!(sheet.to_string().contains("1000000  of these, idle in pools"), "{sheet}");
            drop(pool);
            let after = stats();
            assert_eq!(after.pooled, Some(Pooled::default()));
            assert!(after.in_use() + 20 * (EACH - 100) <= sheet.in_use(), "{after}");
        }
        // At the end it still exists.
        "exit" => std::mem::forget(pool),
        case => panic!("no case {case}"),
    }
}

#[test]
fn what_idles_in_pools_is_part_of_what_is_in_use() {
    let output = run("in use", "");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_sheet_at_exit_has_the_line_of_pools_and_adds_up_without_it() {
    let output = run("exit", "heap");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let sheet: Vec<&str> =
        text.lines().skip_while(|line| !line.contains("millpond heap at exit")).collect();
    let lines: Vec<(u64, &str)> = sheet[1..]
        .iter()
        .map_while(|line| {
            let (bytes, name) = line.trim_start().split_once("  ")?;
            Some((bytes.parse().ok()?, name))
        })
        .collect();
    let (idle, terms): (Vec<(u64, &str)>, Vec<_>) =
        lines.into_iter().partition(|(_, name)| name.starts_with("of these, idle in pools"));
    assert_eq!(idle, [(20 * EACH as u64, "of these, idle in pools: not a term of the sum")]);
    assert_eq!(terms[0].0, terms[1..].iter().map(|(bytes, _)| *bytes).sum::<u64>(), "{text}");
}

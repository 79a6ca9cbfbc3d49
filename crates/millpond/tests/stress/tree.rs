//! A tree of a million goroutines, ten times in one process: the sums are right, and the memory
//! after each round is that after the first.
//!
//! The tree is the "skynet" benchmark's: each inner goroutine starts ten, joins them, adds up.

use crate::harness::{Run, Table, as_main};
use crate::table;
use millpond::go;
use millpond_sys::task::memory;
use std::time::{Duration, Instant};

pub const TESTS: Table = table![ten_trees_of_a_million_leave_what_one_left];

pub const SCENARIOS: Table = table![ten_trees];

/// Leaves. The million takes a debug build too long.
const LEAVES: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

/// A small tree does not fill the caches of stacks in its first round, so that they may still grow.
const WARM_BYTES: u64 = if cfg!(debug_assertions) { 16 << 20 } else { 0 };

/// For all ten.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 30 } else { 60 });

fn tree(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let part = leaves / 10;
    let children: Vec<_> = (0..10).map(|i| go(move || tree(first + i * part, part))).collect();
    children.into_iter().map(|child| child.join().expect("a child ends well")).sum()
}

fn ten_trees() {
    as_main(|| {
        let began = Instant::now();
        let mut totals = Vec::new();
        for round in 1..=10 {
            let round_began = Instant::now();
            let sum = go(|| tree(0, LEAVES)).join().unwrap();
            assert_eq!(sum, LEAVES * (LEAVES - 1) / 2);
            let memory = memory().unwrap();
            println!(
                "round {round}: {:?}, RSS {} KiB, page tables {} KiB",
                round_began.elapsed(),
                memory.rss_bytes >> 10,
                memory.page_table_bytes >> 10
            );
            totals.push(memory.total_bytes());
        }
        assert!(began.elapsed() < LIMIT, "{:?} for ten rounds", began.elapsed());
        let (first, last) = (totals[0], totals[9]);
        let allowed = (first / 10).max(WARM_BYTES);
        assert!(last <= first + allowed, "the first left {first} B, the last {last} B");
        assert_eq!(millpond::debug::goroutines().len(), 1, "main alone is left");
    });
}

fn ten_trees_of_a_million_leave_what_one_left() {
    Run::of("ten_trees").passes();
}

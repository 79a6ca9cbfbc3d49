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

/// What a warm stack may hold: the pages that a goroutine of the tree touches.
const WARM_STACK_BYTES: u64 = 3 * 4096;

/// What the runtime keeps of goroutines' memory, up to half a MiB for each M, and what `malloc` cannot
/// give back because such pieces lie in between.
const CELLS_BYTES: u64 = 2 << 20;

/// For all ten.
const LIMIT: Duration = Duration::from_secs(240);

fn tree(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let part = leaves / 10;
    let children: Vec<_> = (0..10).map(|i| go(move || tree(first + i * part, part))).collect();
    children.into_iter().map(|child| child.join().expect("a child ends well")).sum()
}

/// How many of a tree's goroutines live at once is the scheduler's luck, and glibc keeps what the
/// most of them needed. That is glibc's; the test is about what the runtime keeps.
fn return_what_malloc_keeps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes any number, touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Stacks that the Ms keep for the next goroutine: up to a budget each, which a round leaves more
/// or less full.
fn warm_stacks() -> u64 {
    millpond_stack::Pool::global().expect("stacks").stats().cached() as u64
}

fn ten_trees() {
    as_main(|| {
        let began = Instant::now();
        let (mut totals, mut first_warm) = (Vec::new(), None);
        for round in 1..=10 {
            let round_began = Instant::now();
            let sum = go(|| tree(0, LEAVES)).join().unwrap();
            assert_eq!(sum, LEAVES * (LEAVES - 1) / 2);
            let took = round_began.elapsed();
            let with_malloc = memory().unwrap().total_bytes();
            return_what_malloc_keeps();
            let (memory, stacks) = (memory().unwrap(), warm_stacks());
            let (rss, tables) = (memory.rss_bytes >> 10, memory.page_table_bytes >> 10);
            let malloc = with_malloc.saturating_sub(memory.total_bytes()) >> 10;
            println!(
                "round {round}: {took:?}, RSS {rss} KiB, page tables {tables} KiB, {stacks} \
                 stacks warm; malloc had kept {malloc} KiB"
            );
            totals.push(memory.total_bytes());
            first_warm.get_or_insert(stacks);
        }
        assert!(began.elapsed() < LIMIT, "{:?} for ten rounds", began.elapsed());
        // What the last one left goes back when the Ms are idle, which this sleep lets them be.
        let first = totals[0];
        let is_back = || {
            return_what_malloc_keeps();
            let warmer = warm_stacks().saturating_sub(first_warm.unwrap_or(0)) * WARM_STACK_BYTES;
            memory().unwrap().total_bytes() <= first + first / 10 + warmer + CELLS_BYTES
        };
        while !is_back() {
            assert!(began.elapsed() < LIMIT, "of the first {first} B were left, later {totals:?}");
            millpond::time::sleep(Duration::from_millis(10));
        }
        assert_eq!(millpond::debug::goroutines().len(), 1, "main alone is left");
    });
}

fn ten_trees_of_a_million_leave_what_one_left() {
    Run::of("ten_trees").passes();
}

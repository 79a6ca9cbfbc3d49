//! What a burst of stacks costs afterwards: next to nothing, page tables included.
// A sanitizer's shadow memory counts as this process's own, so there the figures mean nothing.
#![cfg(not(millpond_asan))]

mod common;

use common::passed_alone;
use millpond_stack::{Cache, Pool, SizeClass, Stack};
use millpond_sys::task::{Memory, memory};

const BURST: usize = 200_000;
const CLASS: SizeClass = SizeClass::Kib64;

/// Writes to the top page, as a goroutine that starts does.
fn touch(stack: &Stack) {
    // SAFETY: the top word of a stack that the test holds.
    unsafe { ((stack.base_addr() - 8) as *mut u64).write_volatile(1) };
}

fn burst(cache: &mut Cache, count: usize) -> (Vec<Stack>, Memory) {
    let mut stacks = Vec::with_capacity(count);
    for _ in 0..count {
        let stack = cache.take(CLASS).unwrap();
        touch(&stack);
        stacks.push(stack);
    }
    (stacks, memory().unwrap())
}

fn grown(from: Memory, to: Memory) -> (u64, u64) {
    (
        to.rss_bytes.saturating_sub(from.rss_bytes),
        to.page_table_bytes.saturating_sub(from.page_table_bytes),
    )
}

fn memory_falls_back(test: &str, mode: &str, count: usize) {
    if passed_alone(test, &[("MILLPOND_GUARD", mode)]) {
        return;
    }
    let pool = Pool::global().unwrap();
    let mut cache = Cache::new(pool);
    // Two bursts: what the first leaves behind in the heap is not the second's.
    for round in 0..2 {
        let before = memory().unwrap();
        let (stacks, peak) = burst(&mut cache, count);
        let (rss, tables) = grown(before, peak);
        assert!(rss >= (count * 4096) as u64, "{count} stacks were touched: {rss}");
        // 125 bytes of page tables per stack: 32 stacks share the page that maps a chunk.
        assert!(tables >= (count * 100) as u64, "{tables} B of page tables");
        stacks.into_iter().for_each(|stack| cache.give(stack));
        let after = memory().unwrap();
        let (rss, tables) = grown(before, after);
        println!("round {round}: {before:?} -> {peak:?} -> {after:?}");
        // Warm stacks stay (768 of them at most), each with a page and in its own chunk at worst.
        assert!(rss < 12 << 20, "round {round}: {rss} B of RSS are left");
        assert!(tables < 4 << 20, "round {round}: {tables} B of page tables are left");
        cache.trim(0);
        let (rss, tables) = grown(before, memory().unwrap());
        assert!(rss < 8 << 20 && tables < 1 << 20, "round {round}: {rss} B, {tables} B");
    }
    let stats = pool.stats().classes[CLASS.index()];
    assert_eq!((stats.live, stats.cached, stats.open_chunks, stats.close_failures), (0, 0, 0, 0));
    assert_eq!(stats.accounted_bytes(), stats.reserved_bytes);
}

#[test]
fn a_burst_leaves_neither_pages_nor_page_tables_behind() {
    memory_falls_back("a_burst_leaves_neither_pages_nor_page_tables_behind", "", BURST);
}

#[test]
fn a_burst_under_mprotect_leaves_neither_pages_nor_page_tables_behind() {
    let test = "a_burst_under_mprotect_leaves_neither_pages_nor_page_tables_behind";
    memory_falls_back(test, "mprotect", 25_000);
}

#[test]
fn a_million_stacks_are_live_at_once_in_one_region() {
    let test = "a_million_stacks_are_live_at_once_in_one_region";
    if passed_alone(test, &[]) {
        return;
    }
    let pool = Pool::global().unwrap();
    if pool.guard_mode() == millpond_stack::GuardMode::Mprotect {
        assert!(pool.describe().contains("vm.max_map_count"));
        return;
    }
    let maps = millpond_sys::mem::map_count().unwrap();
    let mut cache = Cache::new(pool);
    // Not touched: addresses and guards are what is asked for here.
    let stacks: Vec<_> = (0..1_000_000).map(|_| cache.take(CLASS).unwrap()).collect();
    assert_eq!(pool.stats().live(), 1_000_000);
    assert_eq!(pool.stats().classes[CLASS.index()].regions, 1);
    assert!(millpond_sys::mem::map_count().unwrap() < maps + 16);
    stacks.into_iter().for_each(|stack| cache.give(stack));
    assert_eq!(pool.stats().live(), 0);
}

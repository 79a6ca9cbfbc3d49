//! What can be given back when 95 % of the blocks of a size are freed at random: whole pages in which nobody lives.
//!
//! A page stays if one of the blocks that reach into it lives. With a share `p` of blocks that live, each on its own,
//! a page that `n` blocks reach into stays with `1 - (1 - p)^n`. The table that this makes is printed (`--nocapture`)
//! and stands in ARCHITECTURE.md.

use millpond_heap::{heap, release, stats};
use std::collections::HashSet;

#[cfg(not(millpond_alloc))]
#[global_allocator]
static ALLOC: millpond_heap::Alloc = millpond_heap::Alloc;

const PAGE: usize = 4096;
const LIVING: f64 = 0.05;

/// Pages that are expected to stay for each page that the blocks of one span fill.
fn theory(block: usize, span: usize) -> f64 {
    let blocks = span / block;
    let stays = |page: usize| {
        let (first, last) = (page * PAGE / block, ((page + 1) * PAGE - 1) / block);
        let reaching = (last.min(blocks - 1) + 1).saturating_sub(first);
        1.0 - (1.0 - LIVING).powi(reaching as i32)
    };
    (0..span / PAGE).map(stays).sum::<f64>() * PAGE as f64 / (blocks * block) as f64
}

/// The pages that some blocks lie in.
fn pages(blocks: &[usize], bytes: usize) -> HashSet<usize> {
    blocks.iter().flat_map(|&at| at / PAGE..=(at + bytes - 1) / PAGE).collect()
}

fn is_resident(page: usize) -> bool {
    let mut state = 0u8;
    // SAFETY: a page of the heap, which is mapped for ever, and a byte for its state.
    let done = unsafe { libc::mincore((page * PAGE) as *mut libc::c_void, PAGE, &raw mut state) };
    done == 0 && state & 1 == 1
}

#[test]
fn of_each_class_the_pages_in_which_nobody_lives_go_back() {
    let mut seed = 7u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as f64 / f64::from(1u32 << 31)
    };
    for (class, fresh) in stats().classes.iter().enumerate() {
        let bytes = fresh.block_bytes;
        let count = (8 << 20) / bytes;
        let before = stats().classes[class];
        let blocks: Vec<usize> = (0..count).map(|_| heap::alloc(bytes, 8) as usize).collect();
        let full = stats().classes[class];
        let span = (full.span_bytes - before.span_bytes) / (full.spans - before.spans);
        let all = pages(&blocks, bytes);
        let (live, dead): (Vec<usize>, Vec<usize>) =
            blocks.into_iter().partition(|_| random() < LIVING);
        // SAFETY: allocated above, and not used again.
        dead.iter().for_each(|&at| unsafe { heap::dealloc(at as *mut u8) });
        release();
        let floor = pages(&live, bytes).len();
        let kept = all.iter().filter(|&&page| is_resident(page)).count();
        // Pages that have gone to other spans since are somebody else's.
        assert!(kept <= floor + floor / 20 + 64, "{bytes} B: {kept} pages of {floor}");
        let (found, expected) =
            ((floor * PAGE) as f64 / (count * bytes) as f64, theory(bytes, span));
        println!("{bytes} B: {:.0} % stay, {:.0} % expected", found * 100.0, expected * 100.0);
        assert!((found - expected).abs() < 0.05, "{bytes} B: {found:.2} of {expected:.2}");
        // SAFETY: as above.
        live.iter().for_each(|&at| unsafe { heap::dealloc(at as *mut u8) });
    }
}

/// A table whose entries outgrow a size: of that size two blocks are freed for each one that is allocated.
#[test]
fn spans_of_a_class_that_is_used_less_and_less_become_empty() {
    const BYTES: usize = 208;
    let mut seed = 7usize;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let spans = || {
        let class = stats().classes.into_iter().find(|class| class.block_bytes == BYTES);
        class.unwrap().spans
    };
    let alloc = || heap::alloc(BYTES, 8) as usize;
    // SAFETY: allocated by the line above, and not used again.
    let free = |at: usize| unsafe { heap::dealloc(at as *mut u8) };
    let mut blocks: Vec<usize> = (0..20_000).map(|_| alloc()).collect();
    let all = spans();
    while blocks.len() > 1000 {
        for _ in 0..2 {
            free(blocks.swap_remove(random(blocks.len())));
        }
        blocks.push(alloc());
    }
    let left = spans();
    assert!(left < all / 2, "{left} of {all} spans for a twentieth of the blocks");
    blocks.into_iter().for_each(free);
}

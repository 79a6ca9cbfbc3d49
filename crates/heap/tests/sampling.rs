//! Samples: that each byte is as likely as any other, and that allocation and free are told of once.

use millpond_heap::{Hook, Sample, set_hook, set_sampling_mean};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

#[cfg(not(millpond_alloc))]
#[global_allocator]
static ALLOC: millpond_heap::Alloc = millpond_heap::Alloc;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static FREED: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static LIVE: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

fn allocated(sample: &Sample<'_>) {
    assert!(!sample.stack.is_empty());
    ALLOCATED.fetch_add(1, Relaxed);
    // What one sample stands for, in bytes: the estimate is unbiased whatever the size.
    let share = 1.0 - (-(sample.bytes as f64) / sample.mean_bytes as f64).exp();
    BYTES.fetch_add((sample.bytes as f64 / share) as u64, Relaxed);
    // A hook may allocate.
    LIVE.lock().unwrap().push((sample.address, sample.bytes));
}

fn freed(sample: &Sample<'_>) {
    FREED.fetch_add(1, Relaxed);
    let mut live = LIVE.lock().unwrap();
    let at = live.iter().position(|&known| known == (sample.address, sample.bytes)).unwrap();
    live.swap_remove(at);
}

static HOOK: Hook = Hook { allocated, freed };

#[test]
fn samples_stand_for_all_bytes_and_each_is_freed_once() {
    set_sampling_mean(16 << 10);
    set_hook(Some(&HOOK));
    let before = BYTES.load(Relaxed);
    // A thread of its own: its countdown begins with the hook set.
    let total = std::thread::spawn(|| {
        let mut total = 0u64;
        for round in 0..20 {
            let blocks: Vec<Vec<u8>> = (0..4000)
                .map(|n| {
                    let bytes = [16, 100, 1000, 5000, 40_000][(n + round) % 5];
                    total += bytes as u64;
                    vec![round as u8; bytes]
                })
                .collect();
            assert!(blocks.iter().all(|block| block.iter().all(|&byte| byte == round as u8)));
        }
        total
    })
    .join()
    .unwrap();
    // Long lists are blocks as well, so the estimate may be above, and chance is some per cent.
    let estimate = BYTES.load(Relaxed) - before;
    assert!(estimate > total / 10 * 9 && estimate < total / 10 * 13, "{estimate} of {total}");
    let counted = ALLOCATED.load(Relaxed);
    assert!(counted > 10_000, "{counted}");
    // Every block of that thread is freed; a growing list may have been sampled and moved.
    assert!(counted - FREED.load(Relaxed) <= 4, "{counted} {}", FREED.load(Relaxed));
    set_hook(None);
}

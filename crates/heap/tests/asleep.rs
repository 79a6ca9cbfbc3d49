//! What is freed while the scavenger sleeps wakes it, though no page is free: half of each span's blocks.

use millpond_heap::stats;
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

#[cfg(not(millpond_alloc))]
#[global_allocator]
static ALLOC: millpond_heap::Alloc = millpond_heap::Alloc;

/// The file in which the kernel counts how often the scavenger has gone to sleep; `None` before it exists.
fn status_of_the_scavenger() -> Option<String> {
    std::fs::read_dir("/proc/self/task").unwrap().find_map(|task| {
        let task = task.unwrap().path();
        let name = std::fs::read_to_string(task.join("comm")).ok()?;
        (name == "millpond-heap\n").then(|| task.join("status").to_str().unwrap().to_owned())
    })
}

/// The count in that file: it grows ten times a second, or no more. Allocates nothing, which would be work for
/// the scavenger.
fn sleeps(status: &str) -> u64 {
    let mut buffer = [0; 4096];
    let bytes = File::open(status).unwrap().read(&mut buffer).unwrap();
    let text = std::str::from_utf8(&buffer[..bytes]).unwrap();
    let count = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}

/// Waits until the scavenger looks parked. If it only was slow, the test shows less and does not fail.
fn wait_until_parked() {
    let until = Instant::now() + Duration::from_secs(60);
    let status = loop {
        match status_of_the_scavenger() {
            // Its free would wake the scavenger.
            Some(status) => break status.leak(),
            None => std::thread::yield_now(),
        }
    };
    loop {
        let before = sleeps(status);
        std::thread::sleep(Duration::from_secs(1));
        if before == sleeps(status) {
            return;
        }
        assert!(Instant::now() < until, "the scavenger does not park");
    }
}

#[test]
fn holes_of_a_thread_that_then_sleeps_go_back_though_the_scavenger_slept() {
    // Every other block, so no span becomes free. The last span is not full: as one without an owner it would tell.
    const BYTES: usize = 4096;
    let mut blocks: Vec<Option<Vec<u8>>> = (0..16_005).map(|_| Some(vec![1; BYTES])).collect();
    wait_until_parked();
    let before = stats().resident_at_most();
    for (number, block) in blocks.iter_mut().enumerate() {
        if number % 2 == 0 {
            *block = None;
        }
    }
    let until = Instant::now() + Duration::from_secs(60);
    while stats().resident_at_most() > before - 8000 * BYTES / 10 * 9 {
        assert!(Instant::now() < until, "{}", stats());
        std::thread::yield_now();
    }
    assert!(blocks.iter().flatten().all(|block| block.iter().all(|&byte| byte == 1)));
}

//! One row of the allocator's benchmark, on the allocator that this binary was built with.
//!
//! `bench-alloc ROW` runs the row once and prints one line:
//! `row allocator ns start_kib peak_kib end_kib live_kib floor_kib`. Time is that of the work; `start` is what was
//! resident before it, `end` after it, some time later for the rows that are about giving back; `live` is what the
//! program still holds then, `floor` the pages that hold some of it. Ratios are made by whoever runs all of them, in
//! turns. `bench-alloc ROW n` does an n-th of the rounds, for runs under a tool that counts instructions. `bench-alloc
//! ROW settle` waits two seconds before `end` is read, whatever the row.
//!
//! Rows are generated from a fixed seed, so that every allocator sees the same requests. Rejected: a harness that
//! repeats until the figures are steady, which hides what the first touch of memory costs.

#![forbid(unsafe_code)]

mod memory;
mod time;

use std::time::{Duration, Instant};

#[cfg(feature = "millpond")]
#[global_allocator]
static ALLOC: millpond::Alloc = millpond::Alloc;
#[cfg(any(feature = "mimalloc2", feature = "mimalloc3"))]
#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOC: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
#[cfg(feature = "snmalloc")]
#[global_allocator]
static ALLOC: snmalloc_rs::SnMalloc = snmalloc_rs::SnMalloc;
#[cfg(feature = "rpmalloc")]
#[global_allocator]
static ALLOC: rpmalloc::RpMalloc = rpmalloc::RpMalloc;

const ALLOCATOR: &str = if cfg!(feature = "millpond") {
    "millpond"
} else if cfg!(feature = "mimalloc2") {
    "mimalloc2"
} else if cfg!(feature = "mimalloc3") {
    "mimalloc3"
} else if cfg!(feature = "jemalloc") {
    "jemalloc"
} else if cfg!(feature = "snmalloc") {
    "snmalloc"
} else if cfg!(feature = "rpmalloc") {
    "rpmalloc"
} else {
    // glibc's, or what `LD_PRELOAD` names.
    "system"
};

/// A whole number of rounds, or the part of it that the command line asks for.
pub fn rounds(count: usize) -> usize {
    let part = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(1);
    (count / part).max(1)
}

/// A generator of numbers.
pub struct Random(pub u64);

impl Random {
    /// The next number, below a bound.
    pub fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below
    }

    /// Small more often than large: uniform in the number of bits.
    pub fn size(&mut self, least: u32, most: u32) -> usize {
        let bits = least + self.next((most - least) as usize) as u32;
        (1 << bits) + self.next(1 << bits)
    }
}

/// What a row says besides its time.
#[derive(Default)]
pub struct Outcome {
    /// How long the work took, if the row waited after it.
    pub work: Option<Duration>,
    /// Resident at the end, in KiB, if the row has a moment of its own for it.
    pub end_kib: Option<usize>,
    /// Still held then.
    pub live_kib: usize,
    /// Pages that hold some of that.
    pub floor_kib: usize,
}

/// A number of `/proc/self/status`, in KiB.
pub fn status_kib(name: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0)
}

fn main() {
    let row = std::env::args().nth(1).unwrap_or_default();
    let rows = time::ROWS.iter().chain(memory::ROWS);
    let Some((name, run)) = rows.clone().find(|(name, _)| *name == row) else {
        let names: Vec<&str> = rows.map(|(name, _)| *name).collect();
        eprintln!("usage: bench-alloc ROW; rows: {}", names.join(" "));
        std::process::exit(2);
    };
    let settles = std::env::args().nth(2).is_some_and(|word| word == "settle");
    let start_kib = status_kib("VmRSS:");
    let started = Instant::now();
    let outcome = run();
    let took = outcome.work.unwrap_or_else(|| started.elapsed()).as_nanos();
    let peak_kib = status_kib("VmHWM:");
    if settles && outcome.end_kib.is_none() {
        std::thread::sleep(Duration::from_secs(2));
    }
    let end_kib = outcome.end_kib.unwrap_or_else(|| status_kib("VmRSS:"));
    let Outcome { live_kib, floor_kib, .. } = outcome;
    println!("{name} {ALLOCATOR} {took} {start_kib} {peak_kib} {end_kib} {live_kib} {floor_kib}");
}

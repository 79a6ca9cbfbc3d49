//! What workers cost in memory: resident pages and page tables over the process's base, while ten
//! thousand jobs go through fifty workers.
//!
//! Each scenario runs in a process of its own, which prints what it measured; the test reads that
//! and judges. Stacks are of the smallest class in release builds, whose frames fit there.

use millpond_sync::chan;
use millpond_sync::pool::Workers;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const JOBS: u64 = 10_000;
const WORKERS: usize = 50;
const SCENARIO: &str = "MILLPOND_TEST_SCENARIO";

/// KiB of resident memory and page tables.
fn footprint_kib() -> i64 {
    let field = |file: &str, name: &str| -> i64 {
        let text = std::fs::read_to_string(file).expect("Linux has it");
        let line = text.lines().find(|line| line.starts_with(name)).expect("a known field");
        line.split_whitespace().nth(1).expect("a number").parse().expect("KiB")
    };
    field("/proc/self/smaps_rollup", "Rss:") + field("/proc/self/status", "VmPTE:")
}

fn workers() -> Workers {
    let builder = Workers::builder(WORKERS).queue(WORKERS);
    // Debug frames do not fit into the smallest class.
    if cfg!(debug_assertions) { builder.build() } else { builder.stack_size(16 << 10).build() }
}

/// Something for the processor that is not optimised away.
fn compute(n: u64) -> u64 {
    (0..200).fold(n, |x, i| (x ^ i).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31))
}

/// Base of the process: every M has run a goroutine, the way of measuring is warm.
fn base_kib() -> i64 {
    for _ in 0..8 {
        let warm: Vec<_> = (0..8).map(|n| millpond_rt::go(move || compute(n))).collect();
        let sum = warm.into_iter().fold(0, |sum, warm| warm.join().unwrap() ^ sum);
        assert_ne!(sum, 0);
    }
    (0..4).map(|_| footprint_kib()).max().expect("measured")
}

/// Jobs that compute. The peak over the base, the number of workers at its end.
fn computing() -> (i64, usize) {
    let base = base_kib();
    let (workers, sum) = (workers(), Arc::new(AtomicU64::new(0)));
    let mut peak = 0;
    for n in 0..JOBS {
        let sum = sum.clone();
        workers.execute(move || sum.fetch_add(compute(n) | 1, Ordering::Relaxed)).unwrap();
        if n % 250 == 249 {
            peak = peak.max(footprint_kib() - base);
        }
    }
    let started = workers.workers();
    workers.shutdown();
    assert_ne!(sum.load(Ordering::Relaxed), 0);
    (peak.max(footprint_kib() - base), started)
}

/// Jobs that park: all fifty are parked, and the queue is full, when the peak is measured.
fn parking() -> (i64, usize) {
    let base = base_kib();
    let (workers, ran) = (workers(), Arc::new(AtomicU64::new(0)));
    let (begun, seen) = chan::bounded::<()>(WORKERS);
    let (open, gate) = chan::bounded::<()>(0);
    let mut peak = 0;
    for round in 0..JOBS / WORKERS as u64 {
        for _ in 0..WORKERS {
            let (begun, gate, ran) = (begun.clone(), gate.clone(), ran.clone());
            let job = move || {
                begun.send(()).unwrap();
                gate.recv().unwrap();
                ran.fetch_add(1, Ordering::Relaxed);
            };
            workers.execute(job).unwrap();
        }
        (0..WORKERS).for_each(|_| seen.recv().unwrap());
        if round % 20 == 0 {
            peak = peak.max(footprint_kib() - base);
        }
        (0..WORKERS).for_each(|_| open.send(()).unwrap());
    }
    let started = workers.workers();
    workers.shutdown();
    assert_eq!(ran.load(Ordering::Relaxed), JOBS);
    (peak, started)
}

/// Runs `test` again as the process under test; what it measured.
fn measured(test: &str, scenario: &str) -> (i64, usize) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(SCENARIO, scenario)
        .output()
        .expect("the test can run itself");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let (_, numbers) = text.split_once("measured: ").unwrap_or_else(|| panic!("{text}"));
    let mut numbers = numbers.split_whitespace().map(|n| n.parse::<i64>().expect("a number"));
    (numbers.next().unwrap(), numbers.next().unwrap() as usize)
}

/// `true` in the process under test, after it has printed what it measured.
fn is_scenario(scenario: &str, run: fn() -> (i64, usize)) -> bool {
    let is = std::env::var(SCENARIO).is_ok_and(|name| name == scenario);
    if is {
        let runtime = millpond_rt::Builder::new().procs(2).private();
        let (peak_kib, workers) = runtime.run(run).expect("the runtime starts");
        println!("measured: {peak_kib} {workers}");
    }
    is
}

#[test]
fn ten_thousand_jobs_that_compute_stay_under_200_kib() {
    if is_scenario("computing", computing) {
        return;
    }
    let test = "ten_thousand_jobs_that_compute_stay_under_200_kib";
    let (peak_kib, workers) = measured(test, "computing");
    println!("computing: {peak_kib} KiB over the base, {workers} workers of {WORKERS}");
    // Millpond's allocator has spans of each class per thread, of which some pages are touched.
    let spans_kib = if cfg!(millpond_alloc) { 100 } else { 0 };
    assert!(peak_kib < 200 + spans_kib, "{peak_kib} KiB over the base, {workers} workers");
}

#[test]
fn fifty_parked_jobs_cost_little_more_than_a_page_each() {
    if is_scenario("parking", parking) {
        return;
    }
    let test = "fifty_parked_jobs_cost_little_more_than_a_page_each";
    let (peak_kib, workers) = measured(test, "parking");
    println!("parking: {peak_kib} KiB over the base, {workers} workers of {WORKERS}");
    assert_eq!(workers, WORKERS);
    // A page of stack is 4 KiB, so fifty parked stacks are 200 KiB before anything else. Where the
    // colour of a stack leaves little of its first page, a second is touched; frames of debug builds
    // need one or two more.
    let most = WORKERS as i64 * if cfg!(debug_assertions) { 14 } else { 8 };
    assert!(peak_kib < most, "{peak_kib} KiB over the base, expected below {most}");
}

//! Runtimes that come and go in one process leave nothing behind.

use crate::harness::{Run, Table};
use crate::table;
use millpond::net::{TcpListener, TcpStream};
use millpond::runtime::Builder;
use millpond::{chan, go, spawn};
use millpond_sys::task::{memory, waking_thread_count as thread_count};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

pub const TESTS: Table = table![
    two_hundred_runtimes_leave_no_thread_descriptor_or_page,
    runtimes_side_by_side_do_not_meet,
];

pub const SCENARIOS: Table = table![two_hundred, side_by_side];

#[derive(Debug)]
struct Footprint {
    threads: usize,
    descriptors: usize,
    bytes: u64,
}

impl Footprint {
    fn now() -> Self {
        Self {
            threads: thread_count().unwrap(),
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            bytes: memory().unwrap().total_bytes(),
        }
    }
}

/// A little of everything.
fn a_working_day(day: u64) {
    let sum: u64 = (0..100).map(|i| go(move || i)).map(|part| part.join().unwrap()).sum();
    assert_eq!(sum, 4_950);
    let (tx, rx) = chan::bounded(3);
    let task = spawn(async move {
        millpond::time::sleep_async(Duration::from_micros(200)).await;
        tx.send_async(day).await.unwrap();
    });
    assert_eq!(rx.recv(), Ok(day));
    task.join().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = go(move || {
        let (mut conn, _) = listener.accept().unwrap();
        let mut byte = [0];
        conn.read_exact(&mut byte).unwrap();
        conn.write_all(&byte).unwrap();
    });
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(&[day as u8]).unwrap();
    let mut byte = [0];
    client.read_exact(&mut byte).unwrap();
    assert_eq!(byte, [day as u8]);
    server.join().unwrap();
    // Left over when the runtime ends: a task at its await, and a goroutine that may not have
    // started yet.
    drop(spawn(std::future::pending::<()>()));
    drop(millpond::Builder::new().local().go(|| ()));
}

fn two_hundred() {
    let mut after_twenty = None;
    for day in 1..=200 {
        Builder::new().run(move || a_working_day(day)).unwrap();
        if day == 20 {
            after_twenty = Some(settled(Footprint { threads: 1, descriptors: 0, bytes: 0 }));
        }
    }
    let before = after_twenty.unwrap();
    let after = settled(Footprint { ..before });
    println!("after 20: {before:?}\nafter 200: {after:?}");
    assert!(after.threads <= before.threads, "threads");
    assert!(after.descriptors <= before.descriptors, "descriptors");
    // Millpond's allocator keeps up to 1 MiB of free pages, which fills after the first twenty.
    let kept = if cfg!(millpond_alloc) { 1 << 20 } else { 0 };
    assert!(after.bytes <= before.bytes + before.bytes / 10 + kept, "memory");
}

/// A runtime's threads end after `run` has returned (nobody needs to wait for the last of them), so
/// look until there are no more than `wanted`, for a while.
fn settled(wanted: Footprint) -> Footprint {
    let deadline = Instant::now() + Duration::from_secs(5);
    while thread_count().unwrap() > wanted.threads && Instant::now() < deadline {
        std::thread::yield_now();
    }
    Footprint::now()
}

fn two_hundred_runtimes_leave_no_thread_descriptor_or_page() {
    Run::of("two_hundred").passes();
}

fn side_by_side() {
    let threads: Vec<_> = (0..8u64)
        .map(|i| std::thread::spawn(move || Builder::new().run(move || a_working_day(i))))
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
}

fn runtimes_side_by_side_do_not_meet() {
    Run::of("side_by_side").passes();
}

//! Rows about memory: what is resident when the load has gone.
//!
//! A row makes a load, lets it go, and waits as long as the row says; its time is that of the work, without the wait.
//! What is read is the kernel's figure, so an allocator that only marks its pages as free for the taking gets no
//! credit for it.

use crate::{Outcome, Random, status_kib};
use std::collections::HashSet;
use std::time::{Duration, Instant};

type Row = (&'static str, fn() -> Outcome);

/// All rows of this file.
pub const ROWS: &[Row] = &[
    ("tiny", Outcome::default),
    ("server", server),
    ("freed-95", || freed_95(Duration::ZERO)),
    ("freed-95-later", || freed_95(Duration::from_secs(2))),
    ("freed-all", || freed_all(Duration::ZERO)),
    ("freed-all-later", || freed_all(Duration::from_secs(2))),
    ("idle-threads", idle_threads),
];

/// The work that began then is done: what is resident after a pause?
fn later(began: Instant, pause: Duration) -> Outcome {
    let work = Some(began.elapsed());
    std::thread::sleep(pause);
    Outcome { work, end_kib: Some(status_kib("VmRSS:")), ..Outcome::default() }
}

/// Adds what is still held, and the pages that hold some of it, or of the list (its address and bytes, once filled):
/// nobody can give those back.
fn holding<'a>(
    mut outcome: Outcome,
    list: (usize, usize),
    blocks: impl Iterator<Item = &'a Vec<u8>>,
) -> Outcome {
    let pages_of = |first: usize, bytes: usize| first / 4096..=(first + bytes - 1) / 4096;
    let mut pages: HashSet<usize> = pages_of(list.0, list.1).collect();
    for block in blocks {
        outcome.live_kib += block.len();
        pages.extend(pages_of(block.as_ptr() as usize, block.len()));
    }
    outcome.live_kib >>= 10;
    outcome.floor_kib = pages.len() * 4;
    outcome
}

fn touched(bytes: usize) -> Vec<u8> {
    vec![1; bytes]
}

/// A connection: its state, a context, and a buffer while it is active.
struct Connection {
    state: Vec<u8>,
    context: Vec<u8>,
    buffer: Option<Vec<u8>>,
}

/// 100,000 connections open, churn and close, but for one in ten; then it is quiet.
fn server() -> Outcome {
    let began = Instant::now();
    let mut random = Random(7);
    let open = |active: bool| Connection {
        state: touched(256),
        context: touched(512),
        buffer: active.then(|| touched(8192)),
    };
    let mut connections: Vec<Option<Connection>> =
        (0..100_000).map(|n| Some(open(n % 2 == 0))).collect();
    for _ in 0..300_000 {
        let which = random.next(connections.len());
        connections[which] = Some(open(random.next(2) == 0));
    }
    for connection in &mut connections {
        if random.next(10) > 0 {
            *connection = None;
        } else if let Some(connection) = connection {
            connection.buffer = None;
        }
    }
    let outcome = later(began, Duration::from_millis(1500));
    assert!(connections.iter().flatten().all(|one| one.state[0] + one.context[511] == 2));
    let list = (connections.as_ptr() as usize, size_of_val(&connections[..]));
    let live = connections.iter().flatten();
    holding(outcome, list, live.flat_map(|one| [&one.state, &one.context]))
}

/// 2 GiB of blocks of all small sizes, of which one in twenty stays.
fn freed_95(pause: Duration) -> Outcome {
    let began = Instant::now();
    let mut random = Random(7);
    let mut blocks = Vec::new();
    let mut total = 0;
    while total < 2 << 30 {
        let block = touched(random.size(4, 13));
        total += block.len();
        blocks.push(block);
    }
    let list = (blocks.as_ptr() as usize, size_of_val(&blocks[..]));
    blocks.retain(|_| random.next(20) == 0);
    holding(later(began, pause), list, blocks.iter())
}

fn freed_all(pause: Duration) -> Outcome {
    let began = Instant::now();
    let mut random = Random(7);
    let blocks: Vec<Vec<u8>> = (0..500_000).map(|_| touched(random.size(4, 12))).collect();
    drop(blocks);
    later(began, pause)
}

/// 64 threads allocate 10 MiB each, free it, and sleep.
fn idle_threads() -> Outcome {
    let began = Instant::now();
    let (send, receive) = std::sync::mpsc::channel();
    for seed in 0..64 {
        let send = send.clone();
        std::thread::spawn(move || {
            let mut random = Random(seed + 1);
            let mut total = 0;
            let mut blocks = Vec::new();
            while total < 10 << 20 {
                let block = touched(random.size(4, 14));
                total += block.len();
                blocks.push(block);
            }
            drop(blocks);
            send.send(()).unwrap();
            std::thread::park();
        });
    }
    (0..64).for_each(|_| receive.recv().unwrap());
    later(began, Duration::from_secs(2))
}

//! Rows about time: what allocation and free cost, alone and among threads.
//!
//! Each row is one function with its numbers in the table at the head. A block is always written to once, since
//! memory that nobody touches is not what allocators are for. Rows with threads are as noisy as the machine: pair
//! them round by round, and do not read differences below a third.

use crate::{Outcome, Random, rounds};
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::sync::Mutex;
use std::sync::mpsc;

type Row = (&'static str, fn() -> Outcome);

/// All rows of this file.
pub const ROWS: &[Row] = &[
    ("pairs-16", || pairs(16, 20_000_000)),
    ("pairs-64", || pairs(64, 20_000_000)),
    ("pairs-1024", || pairs(1024, 20_000_000)),
    ("lifo-64", || batches(64, 1000, 8000, false)),
    ("random-64", || batches(64, 1000, 8000, true)),
    ("random-64-wide", || batches(64, 100_000, 40, true)),
    ("mixed", || mixed(100_000, 6_000_000)),
    ("larson-1", || larson(1)),
    ("larson-2", || larson(2)),
    ("larson-4", || larson(4)),
    ("producer-2", || producer(1)),
    ("producer-4", || producer(2)),
    ("stress-1", || stress(1)),
    ("stress-2", || stress(2)),
    ("stress-4", || stress(4)),
    ("false-sharing-active", active_sharing),
    ("false-sharing-passive", passive_sharing),
    ("large", large),
    ("growth-vec", growth_vec),
    ("growth-string", growth_string),
    ("json", json),
    ("btree", btree),
    ("hashmap", hashmap),
    ("regex", regex),
];

fn block(bytes: usize) -> Vec<u8> {
    let mut block = Vec::with_capacity(bytes);
    block.push(1);
    black_box(block)
}

fn pairs(bytes: usize, count: usize) -> Outcome {
    for _ in 0..rounds(count) {
        drop(block(bytes));
    }
    Outcome::default()
}

fn batches(bytes: usize, size: usize, count: usize, shuffled: bool) -> Outcome {
    let mut random = Random(7);
    let mut blocks = Vec::with_capacity(size);
    for _ in 0..rounds(count) {
        blocks.extend((0..size).map(|_| block(bytes)));
        if shuffled {
            while !blocks.is_empty() {
                let which = random.next(blocks.len());
                blocks.swap_remove(which);
            }
        }
        while blocks.pop().is_some() {}
    }
    Outcome::default()
}

fn mixed(live: usize, count: usize) -> Outcome {
    let mut random = Random(7);
    let mut blocks: Vec<Vec<u8>> = (0..live).map(|_| block(random.size(3, 15))).collect();
    for _ in 0..rounds(count) {
        let which = random.next(live);
        blocks[which] = block(random.size(3, 15));
    }
    Outcome::default()
}

/// Larson and Krishnan's server: threads hand their blocks on to the next generation of threads.
fn larson(threads: usize) -> Outcome {
    const SLOTS: usize = 1000;
    const ROUNDS: usize = 10;
    let mut sets: Vec<Vec<Vec<u8>>> = (0..threads)
        .map(|seed| {
            let mut random = Random(seed as u64 + 1);
            (0..SLOTS).map(|_| block(8 + random.next(1000))).collect()
        })
        .collect();
    for round in 0..ROUNDS {
        let running: Vec<_> = sets
            .drain(..)
            .enumerate()
            .map(|(thread, mut blocks)| {
                std::thread::spawn(move || {
                    let mut random = Random((round * 10 + thread) as u64 + 1);
                    for _ in 0..600_000 {
                        let which = random.next(SLOTS);
                        blocks[which] = block(8 + random.next(1000));
                    }
                    blocks
                })
            })
            .collect();
        sets.extend(running.into_iter().map(|thread| thread.join().unwrap()));
        sets.rotate_left(1);
    }
    Outcome::default()
}

/// Every block is freed by another thread.
fn producer(pairs: usize) -> Outcome {
    std::thread::scope(|scope| {
        for seed in 0..pairs {
            let (send, receive) = mpsc::sync_channel::<Vec<Vec<u8>>>(16);
            scope.spawn(move || {
                let mut random = Random(seed as u64 + 1);
                for _ in 0..20_000 {
                    let batch = (0..200).map(|_| block(random.size(3, 9))).collect();
                    send.send(batch).unwrap();
                }
            });
            scope.spawn(move || receive.into_iter().for_each(drop));
        }
    });
    Outcome::default()
}

/// Blocks of all sizes and ages, exchanged between threads (after mimalloc's mstress).
fn stress(threads: usize) -> Outcome {
    let shared: Vec<Mutex<Vec<u8>>> = (0..1000).map(|_| Mutex::new(Vec::new())).collect();
    let shared = &shared;
    for round in 0..8 {
        std::thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || {
                    let mut random = Random((round * 10 + thread) as u64 + 1);
                    let mut mine: Vec<Vec<u8>> = Vec::new();
                    for _ in 0..200_000 {
                        match random.next(100) {
                            0..50 => mine.push(block(random.size(3, 10))),
                            50..52 => mine.push(block(random.size(10, 16))),
                            52..90 if !mine.is_empty() => {
                                let which = random.next(mine.len());
                                mine.swap_remove(which);
                            }
                            _ => {
                                let slot = &shared[random.next(shared.len())];
                                let other = mine.pop().unwrap_or_default();
                                let other = std::mem::replace(&mut *slot.lock().unwrap(), other);
                                mine.push(other);
                            }
                        }
                    }
                });
            }
        });
    }
    Outcome::default()
}

/// Two threads that write to small blocks of their own, again and again.
fn active_sharing() -> Outcome {
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..200_000 {
                    let mut small = Box::new(0u8);
                    for n in 0..500 {
                        *black_box(&mut *small) = n as u8;
                    }
                }
            });
        }
    });
    Outcome::default()
}

/// As above, but each thread begins with the free of a small block that the first thread allocated beside the
/// other's: an allocator that hands it out again has two threads write to one line. (Hoard's cache-scratch.)
fn passive_sharing() -> Outcome {
    let write = |small: &mut u8| {
        (0..500).for_each(|n| *black_box(&mut *small) = n as u8);
    };
    for _ in 0..20 {
        let mut given: Vec<Box<u8>> = (0..2).map(|_| Box::new(0)).collect();
        std::thread::scope(|scope| {
            for mut small in given.drain(..) {
                scope.spawn(move || {
                    write(&mut small);
                    drop(small);
                    for _ in 0..10_000 {
                        write(&mut Box::new(0u8));
                    }
                });
            }
        });
    }
    Outcome::default()
}

fn large() -> Outcome {
    let mut random = Random(7);
    for _ in 0..rounds(60_000) {
        let mut block: Vec<u8> = Vec::with_capacity(random.size(15, 22));
        let touched = block.capacity();
        for page in (0..touched).step_by(4096) {
            block.spare_capacity_mut()[page].write(1);
        }
        black_box(&block);
    }
    Outcome::default()
}

fn growth_vec() -> Outcome {
    for _ in 0..rounds(20) {
        let mut numbers: Vec<u64> = Vec::new();
        (0..2_000_000).for_each(|n| numbers.push(black_box(n)));
    }
    Outcome::default()
}

fn growth_string() -> Outcome {
    for _ in 0..rounds(400) {
        let mut texts = vec![String::new(); 20];
        for n in 0..20_000 {
            texts[n % 20].push_str(black_box("some text "));
        }
    }
    Outcome::default()
}

fn json() -> Outcome {
    let mut text = String::from("[");
    for n in 0..60_000 {
        let entry = format!(
            "{{\"id\":{n},\"name\":\"entry {n}\",\"tags\":[\"a\",\"b{n}\"],\"size\":{}.5}},",
            n * 7
        );
        text.push_str(&entry);
    }
    text.push_str("null]");
    for _ in 0..rounds(6) {
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        black_box(value.to_string().len());
    }
    Outcome::default()
}

fn btree() -> Outcome {
    let mut random = Random(7);
    let mut tree = BTreeMap::new();
    for n in 0..rounds(2_000_000) {
        tree.insert(random.next(200_000), n.to_string());
        if n % 3 == 0 {
            tree.remove(&random.next(200_000));
        }
    }
    black_box(tree.len());
    Outcome::default()
}

fn hashmap() -> Outcome {
    let mut random = Random(7);
    let mut map: HashMap<usize, Vec<usize>> = HashMap::new();
    for n in 0..rounds(3_000_000) {
        map.entry(random.next(100_000)).or_default().push(n);
        if n % 100 == 0 {
            map.remove(&random.next(100_000));
        }
    }
    black_box(map.len());
    Outcome::default()
}

/// Compiles patterns, as a service does that gets them from its users, and looks for them in a text.
fn regex() -> Outcome {
    let words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"];
    let mut random = Random(7);
    let text: String = (0..2000)
        .map(|n| format!("{}-{n}@{}.org; ", words[random.next(8)], words[random.next(8)]))
        .collect();
    for n in 0..rounds(300) {
        let word = words[n % words.len()];
        let pattern = format!(r"(?i)\b({word}|x{n})-(\d+)@(\w+)\.(org|net)\b");
        let pattern = regex::Regex::new(&pattern).unwrap();
        let found: Vec<String> =
            pattern.captures_iter(&text).take(100).map(|found| found[3].to_owned()).collect();
        assert_eq!(black_box(found).len(), 100);
    }
    Outcome::default()
}

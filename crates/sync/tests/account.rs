//! What pools keep is on the sheet of memory, whatever the program's allocator is. One test in a program of its
//! own, since the line is about all pools of the process.

mod common;

use bytes::BytesMut;
use common::runtime;
use millpond_heap::{Pooled, stats};
use millpond_sync::pool::{BlockPool, Pool, shrink_all};

fn line() -> Pooled {
    stats().pooled.expect("there is a pool, and nobody holds its locks")
}

fn pooled(pools: usize, objects: usize, bytes: usize) -> Pooled {
    Pooled { pools, objects, bytes }
}

#[test]
fn the_line_follows_whatever_pools_keep() {
    assert_eq!(stats().pooled, None, "no pool yet");
    let plain = Pool::new(|| [0u8; 100]);
    assert_eq!(line(), pooled(1, 0, 0));
    let (one, other) = (plain.get(), plain.get());
    assert_eq!(line(), pooled(1, 0, 0), "what is out is not idle");
    drop((one, other));
    assert_eq!(line(), pooled(1, 2, 200));
    plain.put([1; 100]);
    assert_eq!(line(), pooled(1, 3, 300));
    assert_eq!(plain.get().into_inner(), [1; 100]);
    assert_eq!(line(), pooled(1, 2, 200));

    assert_eq!(plain.trim(), 0);
    assert_eq!(line(), pooled(1, 2, 200), "marked, and there still");
    assert_eq!(plain.trim(), 2);
    assert_eq!(line(), pooled(1, 0, 0));

    let each = size_of::<BytesMut>() + 4096;
    let buffers = Pool::builder(|| BytesMut::with_capacity(4096))
        .owned_bytes(BytesMut::capacity)
        .max_idle(2)
        .build();
    drop((buffers.get(), buffers.get(), buffers.get()));
    assert_eq!(line(), pooled(2, 2, 2 * each), "as many as may be idle");
    shrink_all(0.0);
    assert_eq!(shrink_all(0.0).bytes, 2 * each);
    assert_eq!(line(), pooled(2, 0, 0));
    drop(buffers.get());
    let same = buffers.clone();
    drop(buffers);
    assert_eq!(line(), pooled(2, 1, each));
    drop(same);
    assert_eq!(line(), pooled(1, 0, 0), "with its last handle a pool has left");

    let blocks = BlockPool::builder(1024, 8).slab(4).build();
    let block = blocks.take();
    assert_eq!(line(), pooled(2, 3, 3 * 1024), "the rest of the slab");
    drop(block);
    assert_eq!(line(), pooled(2, 4, 4 * 1024));
    blocks.close();
    assert_eq!(line(), pooled(2, 0, 0));
    drop(blocks);

    plain.put([2; 100]);
    plain.close();
    assert_eq!(line(), pooled(1, 0, 0));
    drop(plain);
    assert_eq!(line(), pooled(0, 0, 0));

    goroutines_and_threads();
}

/// When all are done, the line is what the pool says of itself.
fn goroutines_and_threads() {
    let pool = Pool::builder(|| vec![0u8; 64]).owned_bytes(Vec::capacity).build();
    let use_it = |pool: &Pool<Vec<u8>>, turns: usize| {
        for turn in 0..turns {
            let mut value = pool.get();
            value.resize(64 + turn % 7 * 100, 1);
            if turn % 5 == 0 {
                millpond_rt::yield_now();
            }
        }
    };
    let theirs = pool.clone();
    let thread = std::thread::spawn(move || use_it(&theirs, 500));
    let ours = pool.clone();
    runtime(2, move || {
        let users: Vec<_> = (0..8)
            .map(|_| {
                let pool = ours.clone();
                millpond_rt::go(move || use_it(&pool, 500))
            })
            .collect();
        for turn in 0..50 {
            let seen = line();
            assert!(seen.pools == 1 && seen.objects <= 9, "{seen:?}");
            ours.shrink(f64::from(turn % 2));
            millpond_rt::yield_now();
        }
        users.into_iter().for_each(|user| user.join().unwrap());
    });
    thread.join().unwrap();
    let own = pool.stats();
    assert_eq!(line(), pooled(1, own.idle, own.idle_bytes));
    assert!(own.idle_bytes >= own.idle * (64 + size_of::<Vec<u8>>()));
}

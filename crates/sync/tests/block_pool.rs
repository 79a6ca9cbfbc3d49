//! Blocks under goroutines, tasks and plain threads: one body, three runners.

mod common;

use common::{Goroutines, Runner, Tasks, Threads, runtime};
use millpond_sync::pool::{Block, BlockPool};

async fn take<R: Runner>(_: R, pool: &BlockPool) -> Block {
    if R::ASYNC { pool.take_async().await } else { pool.take() }
}

/// More users than blocks: nobody sees what another wrote, and everyone gets a turn.
fn blocks_are_shared_out_clean<R: Runner>(runner: R) {
    let pool = BlockPool::builder(64, 3).slab(2).build();
    let users: Vec<_> = (1..=8u8)
        .map(|user| {
            let pool = pool.clone();
            runner.start(async move {
                for _ in 0..50 {
                    let mut block = take(runner, &pool).await;
                    assert_eq!(*block, [0; 64]);
                    block.fill(user);
                    millpond_rt::yield_async().await;
                    assert_eq!(*block, [user; 64]);
                    pool.shrink(0.5);
                }
            })
        })
        .collect();
    users.into_iter().for_each(|join| join());
    let stats = pool.stats();
    assert_eq!((stats.takes, stats.gives, stats.out), (400, 400, 0));
    assert!(stats.blocks <= 3);
}

/// One holds the only block until another is in line.
fn one_who_waits_is_handed_the_block<R: Runner>(runner: R) {
    let pool = BlockPool::new(4, 1);
    let mut held = pool.take();
    held.copy_from_slice(b"mine");
    let waiter = {
        let pool = pool.clone();
        runner.start(async move { take(runner, &pool).await[0] })
    };
    while pool.stats().waits == 0 {
        std::thread::yield_now();
        millpond_rt::yield_now();
    }
    drop(held);
    assert_eq!(waiter(), 0);
}

fn all<R: Runner>(runner: R) {
    blocks_are_shared_out_clean(runner);
    one_who_waits_is_handed_the_block(runner);
}

#[test]
fn plain_threads() {
    all(Threads);
}

#[test]
fn goroutines() {
    runtime(2, || all(Goroutines));
}

#[test]
fn tasks() {
    runtime(2, || all(Tasks));
}

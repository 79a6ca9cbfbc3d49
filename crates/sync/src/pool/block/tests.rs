//! What a block pool does step by step, against a model of it.
//!
//! One thread only: what is concurrent is in `models` and in `tests/block_pool.rs`. Checked after
//! every step: the invariants of the free list, the bound, and that blocks come out clean.

use super::{Block, BlockPool};
use proptest::prelude::*;
use std::panic::catch_unwind;
use std::time::Duration;

#[derive(Debug, Clone)]
enum Op {
    Take,
    Give(usize),
    Shrink(u8),
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => Just(Op::Take),
        8 => any::<usize>().prop_map(Op::Give),
        3 => (0u8..=4).prop_map(Op::Shrink),
        1 => any::<u8>().prop_filter_map("rarely", |n| (n < 32).then_some(Op::Close)),
    ]
}

fn check(pool: &BlockPool, out: &[Block]) {
    pool.shared().state.lock().check();
    let stats = pool.stats();
    assert_eq!((stats.out, stats.idle + stats.out), (out.len(), stats.blocks));
    assert!(!pool.is_closed() || stats.idle == 0);
}

proptest! {
    /// A block comes out exactly while fewer than `max` are out, clean, and no other's.
    #[test]
    fn a_block_pool_is_a_bounded_set_of_clean_blocks(
        ops in proptest::collection::vec(op(), 1..150),
        max in 1usize..9,
        slab in 1usize..5,
    ) {
        let pool = BlockPool::builder(8, max).slab(slab).build();
        let mut out: Vec<Block> = Vec::new();
        for (n, op) in ops.into_iter().enumerate() {
            match op {
                Op::Take => {
                    let taken = pool.try_take();
                    prop_assert_eq!(taken.is_some(), out.len() < max);
                    if let Some(mut block) = taken {
                        prop_assert_eq!(&*block, &[0; 8]);
                        block.fill(n as u8 | 1);
                        out.push(block);
                    }
                }
                Op::Give(at) if !out.is_empty() => {
                    let block = out.swap_remove(at % out.len());
                    prop_assert!(block.iter().all(|byte| *byte == block[0] && *byte != 0));
                }
                Op::Give(_) => {}
                Op::Shrink(quarters) => {
                    let before = pool.stats();
                    let gone = pool.shrink(f64::from(quarters) / 4.0);
                    prop_assert_eq!(before.blocks - gone, pool.stats().blocks);
                }
                Op::Close => pool.close(),
            }
            check(&pool, &out);
        }
        out.clear();
        pool.shrink(0.0);
        pool.shrink(0.0);
        prop_assert_eq!((pool.stats().blocks, pool.stats().slabs), (0, 0), "all is given back");
    }
}

#[test]
fn a_slab_that_is_used_between_two_steps_stays() {
    let pool = BlockPool::builder(8, 8).slab(4).build();
    let all: Vec<_> = (0..8).map(|_| pool.take()).collect();
    drop(all);
    assert_eq!(pool.shrink(0.0), 0, "the first step only marks");
    drop(pool.take());
    assert_eq!(pool.shrink(0.0), 4, "the other slab");
    assert_eq!((pool.stats().slabs, pool.stats().bytes), (1, 32));
    assert_eq!(pool.shrink(1.0), 4, "marked by the second step");
}

#[test]
fn a_block_that_was_not_to_be_zeroed_shows_what_was_there() {
    let pool = BlockPool::builder(4, 1).zeroed(false).build();
    pool.take().copy_from_slice(b"left");
    assert_eq!(&*pool.take(), b"left");
}

#[test]
fn time_outs_and_dropped_futures_leave_no_entry() {
    let pool = BlockPool::new(4, 1);
    let only = pool.take();
    for _ in 0..50 {
        assert!(pool.take_timeout(Duration::ZERO).is_none());
        let mut future = Box::pin(pool.take_async());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(future.as_mut().poll(&mut cx).is_pending());
    }
    drop(only);
    check(&pool, &[]);
    assert!(pool.take_timeout(Duration::ZERO).is_some());
}

#[test]
fn sizes_that_make_no_sense_say_so() {
    for (bytes, blocks, slab) in [(0, 1, 1), (1, 0, 1), (usize::MAX / 2, 4, 4), (8, 1 << 33, 1)] {
        let built = catch_unwind(|| BlockPool::builder(bytes, blocks).slab(slab).build());
        let panic = built.unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().starts_with("BlockPool: "));
    }
}
